"""The governor: how many calls are in flight and how fast they go out.

Calls go through one turnstile: the first in line waits for a slot, then for its turn, and only then is the next one
looked at, so that a change of either limit holds for the very next call. What the answers say moves both limits
(`pace`, `slots`); faults of the service stop their growth for a while, and an outage all calls but a probe (`breaker`).
Cached jobs never come here.
"""

import threading
import time
from collections.abc import Callable

from pixmill.breaker import Breaker
from pixmill.pace import RATE_MARGIN, Departure, Pace
from pixmill.provider.codes import Verdict
from pixmill.retry_budget import RetryBudget
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
        self._alone, self._breaker, self._repeats = first_alone, Breaker(), RetryBudget(clock())
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

    @property
    def is_open(self) -> bool:
        """Whether the service is taken to be out, so that only probes go."""
        return self._breaker.is_open

    @property
    def is_hopeless(self) -> bool:
        """Whether the service has been out for so long that the run should end."""
        return self._breaker.is_hopeless(self._clock())

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
            if (pause := self._breaker.hear(call, verdict, self._sent, self._clock())) is not None:
                self._hold(pause)
            if verdict:
                self._learn(call, verdict)
            self._freed.set()

    def hold(self, seconds: float) -> None:
        """Hold back every call of the account for `seconds`, the one that waits for its turn included."""
        with self._lock:
            self._hold(seconds)

    def repeat(self) -> float:
        """Book the repeat of a call that met a fault; return the seconds after which it may go."""
        with self._lock:
            return self._repeats.spend(self._clock())

    def stop(self) -> None:
        """Let nobody through any more; calls in flight go on."""
        self._stopped.set()
        self._freed.set()

    def _hold(self, seconds: float) -> None:
        self._pace.hold(seconds, self._clock())
        self._voided += 1

    def _has_room(self) -> bool:
        return self._in_flight < self.limit and not self._breaker.waits

    def _wait_for_slot(self) -> bool:
        """Return once a slot is free or the run stops; say whether that took a wait."""
        waited = False
        while True:
            self._freed.clear()  # first: what is freed from here on sets it again
            if self._stopped.is_set() or self._has_room():
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
            if self._stopped.is_set() or voided != self._voided or not self._has_room():
                return None
            self._in_flight += 1
            self._sent += 1
            call = Departure(self._sent, self._clock(), self._in_flight - 1, turn > ready)
            self._breaker.depart(call)
            self._repeats.earn()
            return call

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
