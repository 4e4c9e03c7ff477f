"""The governor: how many calls are in flight and how fast they go out.

Two controls. The rate is paced by reservations: every call books the next free instant, so a late wake-up delays
one call and never lowers the rate, and nothing goes out in bursts. The in-flight limit is a ceiling that calls wait
for; it is fixed in this version, and `leave` is where answers will move it. Cached jobs never come here.
"""

import threading
import time
from collections.abc import Callable

RATE_MARGIN = 0.98
"""The share of the allowed rate that is used: the provider counts arrivals, and networks bunch them up a little."""


class Governor:
    """Paces the calls of one process on one account.

    `first_alone` lets a single call through until one was answered by the service itself, so that a wrong key or a
    missing entitlement costs one call. `wait` sleeps for seconds or until the run stops.
    """

    def __init__(
        self,
        qps: float,
        concurrency: int,
        *,
        first_alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._interval = 1 / (qps * RATE_MARGIN)
        self._ceiling = concurrency
        self._limit = 1 if first_alone else concurrency
        self._clock, self._wait = clock, wait
        self._free = threading.Condition()
        self._stopped = threading.Event()
        self._in_flight = 0
        self._next = self._held_until = clock()
        self._held = 0

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """The in-flight limit in force."""
        return self._limit

    def enter(self) -> bool:
        """Wait for a slot and for this call's turn. False: the run stops, and no slot was taken."""
        with self._free:
            while self._in_flight >= self._limit and not self._stopped.is_set():
                self._free.wait()
            if self._stopped.is_set():
                return False
            self._in_flight += 1
        if self._wait_for_turn():
            return True
        self.leave(answered=False)
        return False

    def leave(self, *, answered: bool) -> None:
        """Give the slot back. `answered`: the service itself answered, so the account works."""
        with self._free:
            self._in_flight -= 1
            if answered and self._limit < self._ceiling:
                self._limit = self._ceiling
                self._free.notify_all()
            else:
                self._free.notify()

    def hold(self, seconds: float) -> None:
        """Hold back every call of the account for `seconds`, those that wait for their turn included."""
        with self._free:
            now = self._clock()
            self._held_until = max(self._held_until, now + max(seconds, self._interval))
            self._next = self._held_until  # every turn that was booked is void, and those who booked it book anew
            self._held += 1

    def stop(self) -> None:
        """Let nobody through any more; calls in flight go on."""
        self._stopped.set()
        with self._free:
            self._free.notify_all()

    def _wait_for_turn(self) -> bool:
        while True:
            with self._free:
                now = self._clock()
                turn = max(now, self._next)
                self._next = turn + self._interval
                held = self._held
            if turn > now:
                self._wait(self._stopped, turn - now)
            if self._stopped.is_set():
                return False
            if held == self._held:
                return True
