"""Live jobs per second against the simulator, beside what a user would write without pixmill; all in one run.

    python benchmarks/throughput.py [JOBS]     # default: 8000

1. no latency, 32 in flight: pixmill with its full ledger and `output.images: url`, a bare thread pool over
   `requests.Session`, and a plain Prefect `task.map` with retries and `persist_result` (a tenth of the jobs);
2. one second of latency, 200 in flight: pixmill against the ideal rate of 200 per second.
"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from account import KEY, ask, begun, pay, session, simulator, write_config

from pixmill.cli.embedded_prefect import EmbeddedServer
from pixmill.cli.prefect_settings import configure_prefect

THREADS = 32
TURNS = 3


def ours(folder: Path, url: str, jobs: int, concurrency: int) -> float:
    """Return the jobs per second of a run, from its first chunk to its last."""
    limits = {"qps": 100_000, "concurrency": concurrency}
    config = write_config(
        folder, url, jobs, limits, store=str(folder / f"out-{time.monotonic_ns()}")
    )
    with begun(config) as run:
        before = time.perf_counter()
        pay(run)
        seconds = time.perf_counter() - before
        if run.finish().succeeded != jobs:
            raise SystemExit("some jobs did not succeed")
    return jobs / seconds


def bare(url: str, jobs: int) -> float:
    """Return the calls per second of a thread pool over one session: no ledger, no retries, nothing kept."""
    before = time.perf_counter()
    with session(THREADS) as connections, ThreadPoolExecutor(THREADS) as pool:
        codes = list(pool.map(lambda at: ask(connections, url, at), range(jobs)))
    assert set(codes) == {10000}
    return jobs / (time.perf_counter() - before)


def task_map(url: str, jobs: int) -> float:
    """Return the calls per second of a plain Prefect flow that maps a task with retries and persisted results."""
    from prefect import flow, task, unmapped

    connections = session(THREADS)

    @task(retries=3, retry_delay_seconds=1, persist_result=True)
    def call(at: int, target: str) -> int:
        return ask(connections, target, at)

    @flow
    def everything() -> list[int]:
        return [future.result() for future in call.map(range(jobs), unmapped(url))]

    before = time.perf_counter()
    assert set(everything()) == {10000}
    return jobs / (time.perf_counter() - before)


def main() -> None:
    """Print one line per measurement."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    os.environ["PIXMILL_API_KEY"] = KEY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with simulator(folder / "bill.jsonl", latency=0) as url:
            pairs = [
                (ours(folder, url, jobs, THREADS), bare(url, jobs))
                for _ in range(TURNS)
            ]
            best, loop = max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
            print(
                f"no latency: pixmill {best:,.0f} jobs/s, bare requests loop {loop:,.0f} calls/s: {best / loop:.2f} x"
            )
            configure_prefect()
            os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(folder / "results")
            server = EmbeddedServer()
            try:
                server.use()
                mapped = task_map(url, jobs // 10)
            finally:
                server.close()
            print(
                f"no latency: Prefect task.map {mapped:,.0f} calls/s: pixmill is {best / mapped:.1f} x"
            )
        with simulator(folder / "bill.jsonl", latency=1) as url:
            rate = ours(folder, url, 10_000, 200)
            print(
                f"1 s latency, 200 in flight: {rate:.1f} jobs/s of an ideal 200: {rate / 200:.3f}",
                flush=True,
            )
    os._exit(0)  # what task.map left undelivered would be retried for minutes


if __name__ == "__main__":
    main()
