"""Live jobs per second against the simulator, beside what a user would write without pixmill; all in one run.

    python benchmarks/throughput.py [JOBS]     # default: 8000

1. no latency, 32 in flight: pixmill with its full ledger and `output.images: url`, a bare thread pool over
   `requests.Session`, and a plain Prefect `task.map` with retries and `persist_result` (a tenth of the jobs);
2. one second of latency, 200 in flight: pixmill against the ideal rate of 200 per second.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from pixmill.config_file import load_config
from pixmill.prefect_server import EmbeddedServer, configure_prefect
from pixmill.runs import prepare

KEY = "benchmark"
THREADS = 32
TURNS = 3


@contextmanager
def simulator(folder: Path, latency: float) -> Iterator[str]:
    """Run the simulator as a process of its own and yield its URL."""
    command = ["simulate", "--port", "0", "--latency", str(latency), "--bill", str(folder / "bill.jsonl")]
    process = subprocess.Popen([sys.executable, "-m", "pixmill", *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        yield next(line for line in process.stderr if "simulator at" in line).split()[2]
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def ours(folder: Path, url: str, jobs: int, concurrency: int) -> float:
    """Return the jobs per second of a run, from its first chunk to its last."""
    table = "".join(f"https://images.example.com/{at}.jpg,cat {at}\n" for at in range(jobs))
    (folder / "table.csv").write_text("photo,text\n" + table)
    config = {
        "name": "bench",
        "store": str(folder / f"out-{time.monotonic_ns()}"),
        "input": {"path": str(folder / "table.csv"), "columns": {"image_url": "photo", "prompt": "text"}},
        "provider": {"kind": "simulator", "base_url": url},
        "limits": {"qps": 100_000, "concurrency": concurrency},
        "output": {"images": "url"},
    }
    (folder / "bench.yaml").write_text(yaml.safe_dump(config))
    with prepare(load_config(folder / "bench.yaml")) as run:
        run.begin()
        before = time.perf_counter()
        with ThreadPoolExecutor(run.window) as tasks:
            list(tasks.map(run.process, run.chunks()))
        seconds = time.perf_counter() - before
        if run.finish()["succeeded"] != jobs:
            raise SystemExit("some jobs did not succeed")
    return jobs / seconds


def request_body(at: int) -> dict[str, object]:
    """The request that a user would send."""
    return {
        "req_key": "high_aes_scheduler_svr_controlnet_v2.0",
        "image_urls": [f"https://images.example.com/{at}.jpg"],
        "prompt": f"cat {at}",
        "seed": at,
        "scale": 3,
        "ddim_steps": 16,
        "controlnet_args": [{"type": "depth", "strength": 0.6, "binary_data_index": 0}],
        "return_url": True,
    }


def new_session() -> requests.Session:
    """A session with a connection for every thread."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {KEY}"
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
    return session


def ask(session: requests.Session, url: str, at: int) -> int:
    """Make one call as the loop of a script does."""
    target = f"{url}/volcv/v1?Action=CVProcess&Version=2022-08-31"
    return int(session.post(target, json=request_body(at), timeout=60).json()["code"])


def bare(url: str, jobs: int) -> float:
    """Return the calls per second of a thread pool over one session: no ledger, no retries, nothing kept."""
    before = time.perf_counter()
    with new_session() as session, ThreadPoolExecutor(THREADS) as pool:
        codes = list(pool.map(lambda at: ask(session, url, at), range(jobs)))
    assert set(codes) == {10000}
    return jobs / (time.perf_counter() - before)


def task_map(url: str, jobs: int) -> float:
    """Return the calls per second of a plain Prefect flow that maps a task with retries and persisted results."""
    from prefect import flow, task, unmapped

    session = new_session()

    @task(retries=3, retry_delay_seconds=1, persist_result=True)
    def call(at: int, target: str) -> int:
        return ask(session, target, at)

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
        with simulator(folder, latency=0) as url:
            pairs = [(ours(folder, url, jobs, THREADS), bare(url, jobs)) for _ in range(TURNS)]
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
            print(f"no latency: Prefect task.map {mapped:,.0f} calls/s: pixmill is {best / mapped:.1f} x")
        with simulator(folder, latency=1) as url:
            rate = ours(folder, url, 10_000, 200)
            print(f"1 s latency, 200 in flight: {rate:.1f} jobs/s of an ideal 200: {rate / 200:.3f}", flush=True)
    os._exit(0)  # what task.map left undelivered would be retried for minutes


if __name__ == "__main__":
    main()
