"""What a view of a store costs: its first page and memory with 100,000 jobs, and what it takes from a run under way.

    python benchmarks/view.py large [JOBS]            # default: 100000; about three minutes
    python benchmarks/view.py live [JOBS [TURNS]]     # default: 8000 3; about three minutes

`large` makes a dataset of so many jobs with a full ledger, starts `pixmill view` anew and asks for the page of the
store, the first page of the dataset and its last; memory is the most that the process ever had (VmHWM).

`live` runs `pixmill run` against a server that answers at once, as `whole_run.py` does, in turns without a view and
with one that a browser follows: it asks for what has changed of the first page as often as the page's script does. The
seconds are those from the first call sent to the last one answered.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import geometric_mean

import requests
from account import KEY, begun, pay, write_config
from whole_run import THREADS, answering, run

LEAST_PAUSE = 1.0
MOST_PAUSE = 1.8
"""Between two questions of the page's script."""


@contextmanager
def view(store: Path) -> Iterator[tuple[str, int]]:
    """Run `pixmill view`; yield its address and its process id."""
    command = [sys.executable, "-m", "pixmill", "view", str(store), "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "http://" in line)
        found = re.search(r"http://\S+", line)
        assert found
        yield found[0], process.pid
        process.terminate()


def seconds_of(address: str) -> float:
    """Return how long a page takes to be here as a whole."""
    begun = time.perf_counter()
    answer = requests.get(address, timeout=60)
    answer.raise_for_status()
    return time.perf_counter() - begun


def memory_of(pid: int) -> float:
    """Return the most memory that a process had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1000


def processor_of(pid: int) -> float:
    """Return the seconds of a processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Behind the name: user and system time are the 12th and 13th.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_large(jobs: int) -> None:
    """Print seconds of pages and the memory of the process that made them."""
    with tempfile.TemporaryDirectory() as name, answering() as url:
        folder = Path(name) / "large"
        folder.mkdir()
        limits = {"qps": 100_000, "concurrency": THREADS}
        with begun(write_config(folder, url, jobs, limits)) as made:
            pay(made)
            made.finish()
        with view(folder / "out") as (address, pid):
            pages = {
                "the store": address,
                "the dataset": f"{address}s/bench/",
                "the dataset again": f"{address}s/bench/",
                "its last page": f"{address}s/bench/?page={jobs // 1000}",
            }
            for page, where in pages.items():
                print(f"{page}: {seconds_of(where):.2f} s", flush=True)
            print(f"memory: {memory_of(pid):.0f} MB", flush=True)


def follow(
    store: Path, name: str, ready: threading.Event, over: threading.Event
) -> None:
    """Ask a view of a store as the script of a page does, until the run is over."""
    seen = 0
    with view(store) as (address, pid):
        # Once, as what is loaded with the first question is loaded before the run.
        requests.get(address, timeout=60).raise_for_status()
        before = processor_of(pid)
        start = time.perf_counter()
        ready.set()
        while not over.is_set():
            begun = time.perf_counter()
            page = f"{address}s/{name}/live?page=1&seen={seen}"
            answer = requests.get(page, timeout=60)
            if answer.ok:
                seen = answer.json().get("seen", 0)
            taken = time.perf_counter() - begun
            over.wait(min(MOST_PAUSE, max(LEAST_PAUSE, 10 * taken)))
        used = processor_of(pid) - before
        seconds = time.perf_counter() - start
        print(f"the view used {used:.2f} s of a processor in {seconds:.1f} s")


def measure_live(jobs: int, turns: int) -> None:
    """Print the throughput of runs without a view and with one."""
    ratios = []
    with tempfile.TemporaryDirectory() as name, answering() as url:
        for number in range(turns):
            alone, _ = run(Path(name) / f"alone-{number}", url, jobs)
            folder = Path(name) / f"seen-{number}"
            (folder / "out").mkdir(parents=True)
            ready = threading.Event()
            over = threading.Event()
            follower = threading.Thread(
                target=follow, args=(folder / "out", "bench", ready, over)
            )
            follower.start()
            ready.wait()
            followed, _ = run(folder, url, jobs)
            over.set()
            follower.join()
            ratios.append(alone / followed)
            print(
                f"alone {jobs / alone:,.0f} jobs/s, followed {jobs / followed:,.0f} jobs/s",
                flush=True,
            )
    print(f"followed: {geometric_mean(ratios):.3f} of the throughput")


def main() -> None:
    """Measure what the arguments name."""
    os.environ["PIXMILL_API_KEY"] = KEY
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    figures = [int(text) for text in sys.argv[2:]]
    if what == "large":
        measure_large(*(figures or [100_000]))
    elif what == "live":
        jobs, turns = [*figures, *(8_000, 3)[len(figures) :]]  # what is not given
        measure_live(jobs, turns)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
