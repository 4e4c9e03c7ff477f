"""Counting while a run works: what the progress display and the summary look at."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from pixmill.config.model import Config
from pixmill.execution.stop_signal import StopSignal

_RATE_CALLS = 200
"""Calls over which the rate is measured: enough to be steady, few enough to be of now."""

_JITTER = 1.05
"""How far a measured rate may be above the limit that was kept: a call is sent some milliseconds after
its turn, which is a share of a short time."""


class Outcome(StrEnum):
    """How a job ended in this run."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"
    """Not sent, or sent in vain and pending again: the next run tries it."""
    ELSEWHERE = "elsewhere"
    """Another run has it in flight."""


class ChunkCounts(NamedTuple):
    """How many jobs of one chunk ended with which `Outcome`."""

    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    in_doubt: int = 0
    skipped: int = 0
    elsewhere: int = 0


class Progress(NamedTuple):
    """A moment of a run, for people to look at. Rates are per second."""

    to_do: int
    """Jobs that it pays for or asks for, those with an outcome by now among them."""
    cached: int
    done: Counter[str]
    """Jobs that have ended, by `Outcome`."""
    in_flight: int
    limit: int
    """Calls that may be in flight at once, now."""
    qps: float
    """The rate limit in force, in calls per second."""
    calls: int
    rate: float
    cost: Decimal | None
    """What is known to be charged so far, `None` where no price is known or nothing is paid."""
    currency: str
    images_waiting: int
    codes: list[tuple[str, int]]
    """The most frequent codes of calls that were no success."""
    stopping: str | None
    """Why nothing more is sent, `None` while the run works."""
    service_is_down: bool = False
    """Whether the service is down, and only single calls look whether it is back."""
    tasks: int = 0
    """How many of those in flight are tasks that work at the provider."""

    @property
    def eta_seconds(self) -> float | None:
        """When the rest will have been paid for at this rate, `None` while there is none."""
        left = self.to_do - sum(self.done.values())
        return left / self.rate if self.rate else None


class RunCounters:
    """Thread-safe counts of the jobs and calls of one run.

    The run is to pay for or ask for `to_do` jobs; `cached` others were paid for before.
    """

    def __init__(self, config: Config, to_do: int = 0, cached: int = 0) -> None:
        self.to_do = to_do
        self.cached = cached
        self.done = Counter[str]()
        """Jobs that have ended, by `Outcome`."""
        self.codes = Counter[str]()
        """Calls that were no success, by code."""
        self.calls = 0
        self.cost = Decimal(0)
        """What was surely charged, as far as prices are known."""
        self._config = config
        self._lock = threading.Lock()
        self._sends: deque[float] = deque(maxlen=_RATE_CALLS)
        """When the last calls that have ended were sent, by the monotonic clock."""
        self._ends: deque[float] = deque(maxlen=_RATE_CALLS)
        """When they ended."""

    @property
    def percent(self) -> float:
        """How much of what is paid for has an outcome, 0 to 100."""
        if not self.to_do:
            return 100.0
        return 100.0 * sum(self.done.values()) / self.to_do

    def record_call(self, sent_at: float) -> None:
        """Count one HTTP call that has ended, with when it was sent by the monotonic clock; polls
        are none."""
        with self._lock:
            self.calls += 1
            self._sends.append(sent_at)
            self._ends.append(time.monotonic())

    def record_answer(
        self, code: str | None, *, success: bool, cost: Decimal | None
    ) -> None:
        """Count what came of a call and what it cost, which of a task is known when that has
        ended."""
        with self._lock:
            self.cost += cost or 0
            if not success:
                self.codes[code or "unknown"] += 1

    def record_job(self, outcome: str, jobs: int = 1) -> None:
        """Count jobs that have ended."""
        with self._lock:
            self.done[outcome] += jobs

    def add(
        self,
        ended: ChunkCounts,
        codes: Mapping[str, int],
        *,
        calls: int,
        cost: Decimal,
    ) -> None:
        """Count what another process made of a chunk."""
        with self._lock:
            self.done += Counter(ended._asdict())
            self.codes.update(codes)
            self.calls += calls
            self.cost += cost

    def frequent_codes(self) -> list[tuple[str, int]]:
        """Return the most frequent codes of calls that were no success, with their number."""
        with self._lock:
            return self.codes.most_common(3)

    def rate(self) -> float:
        """Calls per second over the last calls."""
        with self._lock:
            if len(self._ends) < 2:
                return 0.0
            # Calls that were sent one after the other may end at once, which is no rate; and where
            # none ends any more, it was long ago that they were sent.
            sending = max(self._sends) - min(self._sends)
            ending = time.monotonic() - self._ends[0]
            # Two calls within one tick of the clock are no division by zero.
            span = max(sending, ending, 1e-6)
            # Between two calls there is one pause.
            return (len(self._ends) - 1) / span

    def progress(
        self,
        stop: StopSignal,
        *,
        in_flight: int,
        limit: int,
        qps: float = 0.0,
        calls: int | None = None,
        rate: float | None = None,
        images_waiting: int = 0,
        service_is_down: bool = False,
        tasks: int = 0,
    ) -> Progress:
        """What the run looks like now.

        `calls` and `rate` are those that were counted here, unless somebody knows better.
        """
        measured = self.rate() if rate is None else rate
        if qps < measured <= qps * _JITTER:
            measured = qps
        budget = self._config.budget
        # What the simulator charges nobody pays.
        has_price = budget.highest_price is not None and not self._config.simulated
        return Progress(
            to_do=self.to_do,
            cached=self.cached,
            done=self.done.copy(),
            in_flight=in_flight,
            limit=limit,
            qps=qps,
            calls=self.calls if calls is None else calls,
            rate=measured,
            cost=self.cost if has_price else None,
            currency=budget.currency,
            images_waiting=images_waiting,
            codes=self.frequent_codes(),
            stopping=stop.reason.reason if stop.reason else None,
            service_is_down=service_is_down,
            tasks=tasks,
        )
