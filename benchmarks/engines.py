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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from pixmill.prefect_server import EmbeddedServer, configure_prefect

KEY = "benchmark"
LATENCY = 1.0
IN_FLIGHT = 50
_numbers = count()


@contextmanager
def simulator(folder: Path) -> Iterator[str]:
    """Run the simulator as a process of its own and yield its URL."""
    command = ["simulate", "--port", "0", "--latency", str(LATENCY), "--bill", str(folder / "bill.jsonl")]
    process = subprocess.Popen([sys.executable, "-m", "pixmill", *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        yield next(line for line in process.stderr if "simulator at" in line).split()[2]
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def rate(jobs: int, in_flight: int, execution: dict[str, Any]) -> float:
    """Return the jobs per second of a flow run, between its first and its last tenth."""
    from flows.generate import generate_dataset

    with tempfile.TemporaryDirectory() as name, simulator(Path(name)) as url:
        folder = Path(name)
        table = "".join(f"https://images.example.com/{at}.jpg,cat {at}\n" for at in range(jobs))
        (folder / "table.csv").write_text("photo,text\n" + table)
        config = {
            "name": f"bench-{next(_numbers)}",
            "store": str(folder / "out"),
            "input": {"path": str(folder / "table.csv"), "columns": {"image_url": "photo", "prompt": "text"}},
            "provider": {"kind": "simulator", "base_url": url},
            "limits": {"qps": 100_000, "concurrency": in_flight},
            "execution": {**execution, "jobs_per_task": 200},
            "output": {"images": "url"},
        }
        (folder / "bench.yaml").write_text(yaml.safe_dump(config))
        if generate_dataset(str(folder / "bench.yaml"))["succeeded"] != jobs:
            raise SystemExit("some jobs did not succeed")
        return steady_rate(folder / "out" / "simulated" / "ledger.db", jobs)


def steady_rate(ledger: Path, jobs: int) -> float:
    """Return the jobs per second of a run from the times in its ledger, without its first and its last tenth."""
    import sqlite3

    with sqlite3.connect(ledger) as connection:
        rows = connection.execute("SELECT answered_at FROM attempts ORDER BY answered_at").fetchall()
    first, last = rows[jobs // 10][0], rows[-jobs // 10][0]
    return 0.8 * jobs / ((last - first) / 1e6)


def main() -> None:
    """Print one line per measurement."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    os.environ["PIXMILL_API_KEY"] = KEY
    configure_prefect()
    server = EmbeddedServer()
    server.use()
    try:
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {time.strftime('%H:%M')}")
        threads = rate(jobs, IN_FLIGHT, {"engine": "threads"})
        one = rate(jobs, IN_FLIGHT, {"engine": "dask", "workers": 1})
        two = rate(2 * jobs, 2 * IN_FLIGHT, {"engine": "dask", "workers": 2})
        print(f"threads {threads:.1f} jobs/s, one Dask worker {one:.1f}: {threads / one - 1:+.1%} time per job")
        print(f"one Dask worker {one:.1f} jobs/s, two {two:.1f}: {two / one:.2f} x")
        print(f"load {os.getloadavg()[0]:.1f}")
        print(json.dumps({"threads": threads, "one": one, "two": two}))
    finally:
        server.close()


if __name__ == "__main__":
    main()
