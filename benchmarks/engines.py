"""Threads of one process beside worker processes on Dask, in whole flow runs on the simulator; all in one run.

    python benchmarks/engines.py [JOBS]      # default: 4000

1. What a job costs more by Dask: threads, and one Dask worker with the same limits, with 200 jobs a task, one second of
   latency and 50 calls in flight.
2. What a second worker brings: one Dask worker and two, each with the same limits of its own, far from what the
   machine can do.

Needs the extra `dask`. Rates are from the ledger, without the first and the last tenth of the jobs.
"""

import json
import os
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from account import KEY, simulator, write_config

from pixmill.cli.embedded_prefect import EmbeddedServer
from pixmill.cli.prefect_settings import configure_prefect

LATENCY = 1.0
IN_FLIGHT = 50
_numbers = count()


def rate(jobs: int, in_flight: int, execution: dict[str, Any]) -> float:
    """Return the jobs per second of a flow run, between its first and its last tenth."""
    from flows.generate import generate_dataset

    with (
        tempfile.TemporaryDirectory() as name,
        simulator(Path(name) / "bill.jsonl", latency=LATENCY) as url,
    ):
        folder = Path(name)
        limits = {"qps": 100_000, "concurrency": in_flight}
        spread = {**execution, "jobs_per_task": 200}
        config = write_config(
            folder, url, jobs, limits, name=f"bench-{next(_numbers)}", execution=spread
        )
        if generate_dataset(str(config))["succeeded"] != jobs:
            raise SystemExit("some jobs did not succeed")
        return steady_rate(folder / "out" / "simulated" / "ledger.db", jobs)


def steady_rate(ledger: Path, jobs: int) -> float:
    """Return the jobs per second of a run from the times in its ledger, without its first and its last tenth."""
    import sqlite3

    with sqlite3.connect(ledger) as connection:
        rows = connection.execute(
            "SELECT answered_at FROM attempts ORDER BY answered_at"
        ).fetchall()
    first: int = rows[jobs // 10][0]
    last: int = rows[-jobs // 10][0]
    return 0.8 * jobs / ((last - first) / 1e6)


def main() -> None:
    """Print one line per measurement."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    os.environ["PIXMILL_API_KEY"] = KEY
    configure_prefect()
    server = EmbeddedServer()
    server.use()
    try:
        print(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {time.strftime('%H:%M')}"
        )
        threads = rate(jobs, IN_FLIGHT, {"engine": "threads"})
        one = rate(jobs, IN_FLIGHT, {"engine": "dask", "workers": 1})
        two = rate(2 * jobs, 2 * IN_FLIGHT, {"engine": "dask", "workers": 2})
        print(
            f"threads {threads:.1f} jobs/s, one Dask worker {one:.1f}: {threads / one - 1:+.1%} time per job"
        )
        print(f"one Dask worker {one:.1f} jobs/s, two {two:.1f}: {two / one:.2f} x")
        print(f"load {os.getloadavg()[0]:.1f}")
        print(json.dumps({"threads": threads, "one": one, "two": two}))
    finally:
        server.close()


if __name__ == "__main__":
    main()
