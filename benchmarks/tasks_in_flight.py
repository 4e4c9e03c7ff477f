"""What 200 tasks of 20 s in flight take of a process, beside 200 synchronous calls of the same length.

    python benchmarks/tasks_in_flight.py [JOBS]      # default: 400

Each in a process of its own, on a simulator of its own; images stay at their URLs. What a process took before its
first call is subtracted. A minute and a half.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from account import KEY, begun, simulator, write_config

IN_FLIGHT = 200
SECONDS = 20
REQUESTS = {
    "tasks": {"req_key": "jimeng_t2i_v31"},
    "synchronous calls": {"req_key": "high_aes_general_v30l_zt2i"},
}


def measure(kind: str, jobs: int) -> dict[str, float]:
    """Return the most threads of a run, and by how many MB its calls raised the process's peak."""
    with (
        tempfile.TemporaryDirectory() as name,
        simulator(Path(name) / "bill.jsonl", latency=SECONDS) as url,
    ):
        folder = Path(name)
        config = write_config(
            folder,
            url,
            jobs,
            {"qps": 100, "concurrency": IN_FLIGHT, "timeout_seconds": 120},
            request=REQUESTS[kind],
        )
        # Neither takes an input image.
        text = config.read_text().replace('"image_url": "photo", ', "")
        config.write_text(text)
        with begun(config) as run:
            idle = peak()
            most = 0
            ended = threading.Event()

            def count() -> None:
                nonlocal most
                while not ended.wait(0.5):
                    most = max(most, threading.active_count())

            counter = threading.Thread(target=count)
            counter.start()
            run.process(list(run.plan.pending_jobs()))
            ended.set()
            counter.join()
            added = peak() - idle
            if run.finish().succeeded != jobs:
                raise SystemExit("some jobs did not succeed")
    return {"threads": most, "mb": round(added, 1), "before": round(idle, 1)}


def peak() -> float:
    """Return the resident maximum of this process in MB."""
    status = Path("/proc/self/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(jobs: int) -> None:
    """Measure both at once, as they wait nearly all the time."""
    started = {
        kind: subprocess.Popen(
            [sys.executable, __file__, str(jobs), kind], stdout=subprocess.PIPE
        )
        for kind in REQUESTS
    }
    for kind, process in started.items():
        found = json.loads(process.communicate()[0])
        print(
            f"{kind}: {found['threads']} threads, {found['mb']} MB more than the {found['before']} MB before"
        )


if __name__ == "__main__":
    os.environ["PIXMILL_API_KEY"] = KEY
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[2], wanted)))
    else:
        main(wanted)
