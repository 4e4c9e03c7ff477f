"""What a view of a store costs: its first page and memory with 100,000 jobs, and what it takes from a run under way.

    python benchmarks/view.py large [JOBS]            # default: 100000; about three minutes
    python benchmarks/view.py live [JOBS]             # default: 60000; about two minutes

`large` makes a dataset of so many jobs with a full ledger, starts `pixmill view` anew and asks for the page of the
store, the first page of the dataset and its last; memory is the most that the process ever had (VmHWM).

`live` runs `pixmill run` once, against a server that answers at once, as `whole_run.py` does. Every few seconds a page
of the run is opened or closed: none, the first page, the page at which the run is. An open one is followed as its
script does. What the throughput is with and without is thus of one run, and a slower minute of the machine is in both.
"""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import requests
from account import KEY, begun, pay, write_config
from whole_run import THREADS, answering, run

LEAST_PAUSE = 1.5
MOST_PAUSE = 1.8
"""Between two questions of the page's script."""

WATCHED = ("none", "the first page", "the page at work")
WINDOW_SECONDS = 3.0
PAGE_JOBS = 1_000


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


class Window(NamedTuple):
    """A few seconds of a run, in which a page of it was open or none was."""

    watched: str
    """Which page: one of `WATCHED`."""

    start: float
    """Of the clock, in seconds since 1970."""

    end: float

    processor: float
    """Seconds of a processor that the view had meanwhile."""


def ask(address: str, page: int, seen: int) -> dict[str, Any]:
    """Ask what has changed of a page; nothing while there is no run."""
    asked = f"{address}s/bench/live?page={page}&seen={seen}"
    answer = requests.get(asked, timeout=60)
    return answer.json() if answer.ok else {}


def watch(address: str, pid: int, watched: str) -> Window:
    """Ask a view for a while as the script of a page does, or leave it alone."""
    start = time.time()
    before = processor_of(pid)
    end = start + WINDOW_SECONDS
    page = 1
    seen = 0
    if watched == "the page at work":
        made = re.match(r"[\d,]+", ask(address, 1, 0).get("words", ""))
        page = 1 + int(made[0].replace(",", "")) // PAGE_JOBS if made else 1
    while time.time() < end:
        begun = time.perf_counter()
        if watched != "none":
            seen = ask(address, page, seen).get("seen", 0)
        taken = time.perf_counter() - begun
        pause = min(MOST_PAUSE, max(LEAST_PAUSE, 10 * taken))
        time.sleep(max(0, min(pause, end - time.time())))
    return Window(watched, start, time.time(), processor_of(pid) - before)


def measure_live(jobs: int) -> None:
    """Print the throughput of one run while no page is open, and while one is."""
    windows: list[Window] = []
    with tempfile.TemporaryDirectory() as name, answering() as url:
        folder = Path(name) / "bench"
        (folder / "out").mkdir(parents=True)
        running = threading.Thread(target=run, args=(folder, url, jobs), daemon=True)
        with view(folder / "out") as (address, pid):
            # What is loaded with the first question is loaded before the run.
            requests.get(address, timeout=60).raise_for_status()
            running.start()
            while running.is_alive():
                for watched in WATCHED:
                    windows.append(watch(address, pid, watched))
        ledger = folder / "out" / "simulated" / "ledger.db"
        with closing(sqlite3.connect(ledger)) as connection:
            found = connection.execute("SELECT answered_at / 1e6 FROM attempts")
            answered = np.sort([at for (at,) in found])
    # Without those in which the run began, and those in which it came to its end.
    inside = [
        window
        for window in windows
        if answered[0] < window.start and window.end < answered[-1]
    ]
    rates = {}
    for watched in WATCHED:
        mine = [window for window in inside if window.watched == watched]
        seconds = sum(window.end - window.start for window in mine)
        spans = [
            np.searchsorted(answered, (window.start, window.end)) for window in mine
        ]
        rates[watched] = sum(int(last - first) for first, last in spans) / seconds
        share = sum(window.processor for window in mine) / seconds
        ratio = rates[watched] / rates["none"]
        print(
            f"{watched} open, {len(mine)} × {WINDOW_SECONDS:g} s: {rates[watched]:,.0f} jobs/s, "
            f"{ratio:.3f} of none; the view had {share:.1%} of a processor",
            flush=True,
        )


def main() -> None:
    """Measure what the arguments name."""
    os.environ["PIXMILL_API_KEY"] = KEY
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    figures = [int(text) for text in sys.argv[2:]]
    if what == "large":
        measure_large(*(figures or [100_000]))
    elif what == "live":
        measure_live(*(figures or [60_000]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
