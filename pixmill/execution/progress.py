"""Counting while a run goes on: what the progress display and the rules for stopping look at."""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from pixmill.config.model import Stop


class ChunkCounts(NamedTuple):
    """What became of the jobs of one chunk. `elsewhere` are those that another run has in flight."""

    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    in_doubt: int = 0
    skipped: int = 0
    elsewhere: int = 0


class Progress(NamedTuple):
    """A moment of a run, for people to look at. Rates are per second.

    `is_out`: the service does not work, and only single calls look whether it is back.
    """

    to_pay: int
    cached: int
    done: Counter[str]
    in_flight: int
    limit: int
    qps: float
    calls: int
    rate: float
    cost: float | None
    currency: str
    images_waiting: int
    codes: list[tuple[str, int]]
    stopping: str | None
    is_out: bool = False

    @property
    def eta_seconds(self) -> float | None:
        """When the rest will have been paid for at this rate, `None` while there is none."""
        return (
            (self.to_pay - sum(self.done.values())) / self.rate if self.rate else None
        )


@dataclass
class RunCounters:
    """Thread-safe counts of one run, and the window of outcomes that may stop it."""

    stop: Stop
    done: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    charged: int = 0
    bugs: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._window: deque[str] = deque(maxlen=self.stop.window)
        self._ends: deque[float] = deque(maxlen=200)
        self.started = time.monotonic()

    def record_call(self, code: str | None, *, success: bool, charged: bool) -> None:
        """Count one HTTP call."""
        with self._lock:
            self.calls += 1
            self.charged += charged
            self._ends.append(time.monotonic())
            if not success:
                self.codes[code or "unknown"] += 1

    def record_job(self, outcome: str, *, watched: bool = True) -> str | None:
        """Count one job's outcome; say what the run is to stop for, or `None`. What is not `watched` is no reason."""
        with self._lock:
            self.done[outcome] += 1
            if outcome in ("skipped", "elsewhere") or not watched:
                return None
            self._window.append(outcome)
            if len(self._window) < self.stop.window:
                return None
            # What is in doubt may have cost money and is no image, so it counts like a failure.
            for name, outcomes, share in (
                (
                    "failed or in doubt",
                    ("failed", "in_doubt"),
                    self.stop.failed_fraction,
                ),
                ("refused", ("refused",), self.stop.refused_fraction),
            ):
                if sum(map(self._window.count, outcomes)) > share * len(self._window):
                    return name
            return None

    def bug_met(self) -> int:
        """Count one fault of this program; return how many there were."""
        with self._lock:
            self.bugs += 1
            return self.bugs

    def rate(self) -> float:
        """Calls per second over the last calls."""
        with self._lock:
            if len(self._ends) < 2:
                return 0.0
            span = max(time.monotonic() - self._ends[0], 1e-6)
            return len(self._ends) / span
