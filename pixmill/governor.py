"""The governor: how many calls are in flight and how fast they go out.

Calls go through one turnstile: the first in line waits for a slot, then for its turn, and only then is the next one
looked at, so that a change of either limit holds for the very next call. What the answers say moves both limits
(`pace`, `slots`); faults of the service stop their growth for a while. Cached jobs never come here.
"""

import threading
import time
from collections.abc import Callable

from pixmill.pace import RATE_MARGIN, Departure, Pace
from pixmill.provider.codes import Verdict
from pixmill.slots import Slots

CALM_CALLS = 20
"""Answers without a fault after which the limits grow again: a service in trouble is not asked for more."""


class Governor:
    """Paces the calls of one process on one account, within `qps` and `concurrency`.

    `start` is the in-flight limit to begin with, by default the ceiling: who names a number knows the account, and
    doubling up to 200 calls of a second each would cost a run of 10,000 a twentieth of its time. `first_alone` lets a
    single call through until one was answered by the service itself, so that a wrong key or a missing entitlement
    costs one call. `wait` sleeps for seconds, or until the event is set.
    """

    def __init__(
        self,
        qps: float,
        concurrency: int,
        *,
        start: int | None = None,
        first_alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float | None], object] = threading.Event.wait,
    ) -> None:
        self._clock, self._wait = clock, wait
        self._pace, self._slots = Pace(qps, clock()), Slots(start or concurrency, concurrency)
        self._alone = first_alone
        self._turnstile, self._lock = threading.Lock(), threading.Lock()
        self._stopped, self._freed = threading.Event(), threading.Event()
        self._in_flight = self._sent = self._voided = 0
        self._calm = CALM_CALLS

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """The in-flight limit in force."""
        return 1 if self._alone else self._slots.limit

    @property
    def qps(self) -> float:
        """The rate limit in force, in calls per second, margin included."""
        return round(self._pace.rate / RATE_MARGIN, 2)

    def enter(self) -> Departure | None:
        """Wait for a slot and for this call's turn. None: the run stops, and no slot was taken."""
        ready = self._clock()
        with self._turnstile:
            while not self._stopped.is_set():
                if self._wait_for_slot():
                    ready = self._clock()
                if call := self._go_in_turn(ready):
                    return call
        return None

    def leave(self, call: Departure, verdict: Verdict | None = None, *, answered: bool = False) -> None:
        """Give the slot back, and learn from the verdict on the answer; None: nothing was sent.

        `answered`: the service itself answered, so the account works.
        """
        with self._lock:
            self._in_flight -= 1
            self._alone = self._alone and not answered
            if verdict:
                self._learn(call, verdict)
            self._freed.set()

    def hold(self, seconds: float) -> None:
        """Hold back every call of the account for `seconds`, the one that waits for its turn included."""
        with self._lock:
            self._pace.hold(seconds, self._clock())
            self._voided += 1

    def stop(self) -> None:
        """Let nobody through any more; calls in flight go on."""
        self._stopped.set()
        self._freed.set()

    def _wait_for_slot(self) -> bool:
        """Return once a slot is free or the run stops; say whether that took a wait."""
        waited = False
        while True:
            self._freed.clear()  # first: what is freed from here on sets it again
            if self._stopped.is_set() or self._in_flight < self.limit:
                return waited
            self._wait(self._freed, None)
            waited = True

    def _go_in_turn(self, ready: float) -> Departure | None:
        """Wait for a turn and take a slot; None if meanwhile the run stopped or a limit was cut."""
        with self._lock:
            now, voided = self._clock(), self._voided
            turn = self._pace.turn(ready, now)
        if turn > now:
            self._wait(self._stopped, turn - now)
        with self._lock:
            if self._stopped.is_set() or voided != self._voided or self._in_flight >= self.limit:
                return None
            self._in_flight += 1
            self._sent += 1
            return Departure(self._sent, self._clock(), self._in_flight - 1, turn > ready)

    def _learn(self, call: Departure, verdict: Verdict) -> None:
        match verdict:
            case Verdict.THROTTLE_RATE:
                self._voided += self._pace.cut(call, self._sent, self._clock())
            case Verdict.THROTTLE_CONCURRENCY:
                self._slots.cut(call, self._sent)
            case Verdict.RETRY | Verdict.IN_DOUBT:
                self._calm = 0
            case Verdict.SUCCEEDED | Verdict.REFUSED | Verdict.FAILED:
                self._calm += 1
                if self._calm >= CALM_CALLS:
                    self._pace.grow(call, self._clock())
                    self._slots.grow(call, self._sent)
