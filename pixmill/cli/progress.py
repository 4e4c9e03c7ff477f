"""The progress of a run on a terminal: one block that is worth watching, or one plain
line every few seconds.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from pixmill.cli.console import PLAIN_SECONDS, SIMULATED, PeriodicLine, echo
from pixmill.text import counted, duration, in_words, money
from pixmill.threads import start_thread

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pixmill.execution.prepare import PreparedRun
    from pixmill.execution.progress import Progress
    from pixmill.planning.input_images import InputCounts

FRAME_SECONDS = 0.25
_DOWN = "the service is down; single calls check whether it is back"

_IN_WORDS = {
    "input_unreachable": "unreachable",
    "input_not_found": "not found",
    "input_forbidden": "forbidden",
    "input_address": "at an address that pixmill does not fetch from",
    "input_type": "neither JPEG nor PNG",
    "input_damaged": "damaged",
    "input_too_large": "too large",
    "input_dimensions": "with too many pixels",
    "input_ratio": "too long or too wide",
}


class InputLook:
    """How far the look at input images is: one plain line every few seconds, and one at its end."""

    def __init__(self) -> None:
        self._counts: InputCounts | None = None
        self._line = PeriodicLine(
            lambda counts: f"checking input images: {_looked_at(counts)}"
        )

    def show(self, counts: "InputCounts") -> None:
        """Print `counts`, the latest ones, if it is time again."""
        self._counts = counts
        self._line.show(counts)

    def end(self) -> None:
        """Print what was found, if there was anything to look at."""
        if self._counts:
            echo(f"checked {_looked_at(self._counts)}")


def _looked_at(counts: "InputCounts") -> str:
    found = ", ".join(
        f"{count:,} {_IN_WORDS[code]}" for code, count in counts.problems.most_common()
    )
    return f"{counts.asked:,} input images: {found or 'all good'}"


Show = Callable[["PreparedRun", threading.Event], None]
"""Shows the progress of a run until the event is set."""


@contextmanager
def show_progress(run: "PreparedRun", show: Show | None = None) -> Iterator[None]:
    """Show the progress of `run` while the body goes on: on stderr, unless `show` shows it."""
    ended = threading.Event()
    if show is None:
        show = _show_live if sys.stderr.isatty() else _show_plain
    thread = None
    try:
        thread = start_thread(partial(show, run, ended), "pixmill-progress")
        yield
    finally:
        # Also of one whose start was interrupted.
        ended.set()
        if thread:
            thread.join()


def _show_plain(run: "PreparedRun", ended: threading.Event) -> None:
    while not ended.wait(PLAIN_SECONDS):
        if run.started:
            badge = SIMULATED if run.config.simulated else ""
            echo(badge + plain_line(run.started.executor.progress()))


def _show_live(run: "PreparedRun", ended: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live

    with (
        # The terminal may be closed, which ends no run.
        suppress(OSError),
        # Drawn by this thread alone: rich's own would draw between two looks at the counts.
        Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live,
    ):
        while not ended.wait(FRAME_SECONDS):
            if run.started:
                now = run.started.executor.progress()
                live.update(block(now), refresh=True)


def plain_line(now: "Progress") -> str:
    """Return a moment of a run as one line."""
    counts = ", ".join(
        f"{count:,} {in_words(name)}" for name, count in now.done.items()
    )
    parts = [
        f"{sum(now.done.values()):,}/{now.to_do:,}",
        counts or "starting",
        f"{now.cached:,} cached",
        f"{now.in_flight} in flight",
        *([f"{counted(now.tasks, 'task')} working"] if now.tasks else []),
        f"{now.rate:.1f} calls/s",
        _eta(now),
        *([f"cost {money(now.cost, now.currency)}"] if now.cost is not None else []),
        *(
            [f"{counted(now.images_waiting, 'image')} waiting"]
            if now.images_waiting
            else []
        ),
        *(f"{code} × {count}" for code, count in now.codes),
        *([_DOWN] if now.service_is_down else []),
        *([_describe_stop(now)] if now.stopping else []),
    ]
    return " · ".join(parts)


def _describe_stop(now: "Progress") -> str:
    """Say why a run stops, and what it still waits for."""
    calls = now.in_flight - now.tasks
    waits = []
    if calls or not now.tasks:
        waits.append(f"finishing {counted(calls, 'call')} in flight")
    if now.tasks:
        tasks = counted(now.tasks, "task")
        waits.append(
            f"waiting for {tasks} at the provider; Ctrl-C again leaves them to the next run"
        )
    return f"stopping: {now.stopping}; {', '.join(waits)}"


def block(now: "Progress") -> "RenderableType":
    """Return a moment of a run as a block of a few lines for a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done = sum(now.done.values())
    top = Table.grid(padding=(0, 1))
    top.add_row(
        ProgressBar(total=max(now.to_do, 1), completed=done, width=40),
        Text(f"{done:,} / {now.to_do:,}", style="bold"),
        Text(_eta(now)),
    )
    good = now.done["succeeded"]
    outcomes = Text(f"{good:,} done  {now.cached:,} cached")
    # Of the sixteen colours of a terminal only these two are read on white and on black.
    for name, style in (
        ("failed", "red"),
        ("refused", "magenta"),
        ("in_doubt", "bold magenta"),
        ("skipped", ""),
    ):
        if now.done[name]:
            outcomes.append(f"  {now.done[name]:,} {in_words(name)}", style)
    limits = Text(
        f"{now.in_flight} of {now.limit} in flight"
        + (f" ({counted(now.tasks, 'task')} working)" if now.tasks else "")
        + f"  {now.rate:.1f} of {now.qps:g} calls/s"
        + (
            f"  {counted(now.images_waiting, 'image')} waiting"
            if now.images_waiting
            else ""
        )
        + (f"  {money(now.cost, now.currency)}" if now.cost is not None else "")
    )
    lines: list[RenderableType] = [top, outcomes, limits]
    if now.codes:
        lines.append(Text("  ".join(f"{code} × {count}" for code, count in now.codes)))
    if now.service_is_down:
        lines.append(Text(_DOWN, style="bold magenta"))
    if now.stopping:
        lines.append(Text(_describe_stop(now), style="bold magenta"))
    return Group(*lines)


def _eta(now: "Progress") -> str:
    return (
        "ETA …"
        if now.eta_seconds is None
        else f"ETA {duration(max(0, round(now.eta_seconds)))}"
    )
