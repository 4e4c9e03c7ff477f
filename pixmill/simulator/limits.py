"""The limits of an account: calls per second by a token bucket, and calls in flight."""

import time
from collections.abc import Callable

TOO_FAST = 50429
TOO_MANY = 50430


class AccountLimits:
    """Counts calls against both limits; None is no limit. `clock` tells seconds."""

    def __init__(
        self,
        qps: float | None,
        concurrency: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._qps = qps
        self._concurrency = concurrency
        self._clock = clock
        self._capacity = max(1.0, qps or 0)
        self._tokens = self._capacity
        self._filled_at = clock()
        self._in_flight = 0

    def change(self, qps: float | None, concurrency: int | None) -> None:
        """Let other limits hold from now on; calls in flight stay."""
        self._concurrency = concurrency
        if qps != self._qps:
            self._fill()
            self._qps = qps
            self._capacity = max(1.0, qps or 0)
            self._tokens = min(self._capacity, self._tokens)

    def enter(self) -> int | None:
        """Let a call in and return None, or return the code of the limit that it hits. Then it must not leave."""
        if not self._take():
            return TOO_FAST
        if self._concurrency is not None and self._in_flight >= self._concurrency:
            return TOO_MANY
        self._in_flight += 1
        return None

    def leave(self) -> None:
        """A call that was let in has been answered."""
        self._in_flight -= 1

    def _take(self) -> bool:
        if self._qps is None:
            return True
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(
            self._capacity, self._tokens + (now - self._filled_at) * (self._qps or 0)
        )
        self._filled_at = now
