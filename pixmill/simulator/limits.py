"""The limits of an account: calls per second by a token bucket, and calls and tasks in flight of each `req_key`."""

import time
from collections import Counter
from collections.abc import Callable

TOO_FAST = 50429
TOO_MANY = 50430


class AccountLimits:
    """Counts calls against both limits; None is no limit.

    `clock` tells seconds. The bucket holds the tokens of `burst` seconds, which real accounts
    do not document, and a call takes one, whether it is let in or hits the other limit then.
    `concurrency` holds for each `req_key` separately, as client programs have measured it.
    """

    def __init__(
        self,
        qps: float | None,
        concurrency: int | None,
        clock: Callable[[], float] = time.monotonic,
        burst: float = 1.0,
    ) -> None:
        self._qps = qps
        self._concurrency = concurrency
        self._clock = clock
        self._burst = burst
        self._tokens = self._capacity
        self._filled_at = clock()
        self._in_flight: Counter[str] = Counter()

    def change(
        self,
        qps: float | None,
        concurrency: int | None,
    ) -> None:
        """Let other limits hold from now on; calls in flight stay."""
        self._concurrency = concurrency
        if qps == self._qps:
            return
        # Up to now by the old rate.
        self._fill()
        self._qps = qps
        self._tokens = min(self._capacity, self._tokens)

    def enter(self, req_key: str = "") -> int | None:
        """Let a call in and return None, or return the code of the limit that it hits.

        A call that was not let in must not leave.
        """
        if self._qps is not None:
            self._fill()
            if self._tokens < 1:
                return TOO_FAST
            self._tokens -= 1
        in_flight = self._in_flight[req_key]
        if self._concurrency is not None and in_flight >= self._concurrency:
            return TOO_MANY
        self._in_flight[req_key] += 1
        return None

    def hold(self, req_key: str) -> None:
        """A task works that was let in elsewhere."""
        self._in_flight[req_key] += 1

    def leave(self, req_key: str = "") -> None:
        """A call that was let in has been answered, or its task has ended."""
        self._in_flight[req_key] -= 1

    @property
    def _capacity(self) -> float:
        # Not less than one: a limit below one call a second would let none in.
        return max(1.0, self._burst * (self._qps or 0))

    def _fill(self) -> None:
        now = self._clock()
        new = (now - self._filled_at) * (self._qps or 0)
        self._tokens = min(self._capacity, self._tokens + new)
        self._filled_at = now
