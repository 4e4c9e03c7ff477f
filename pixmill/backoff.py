"""Pauses that double: how long to wait before something that failed is tried again.

The bound of the pause doubles with every failure in a row, up to a cap. The pause itself is
drawn between nothing and that bound ("full jitter"): whatever failed together would otherwise
come back together, and meet the same overload once more.
Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
from collections.abc import Callable
from typing import NamedTuple

_MOST_DOUBLINGS = 60
"""Far beyond any cap; without it a float would overflow after a thousand failures."""


class Backoff(NamedTuple):
    """How long pauses are.

    >>> [Backoff(first=0.5, cap=3.0).bound(failures) for failures in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 3.0]
    """

    first: float
    """Seconds: the bound of the pause after the first failure."""

    cap: float
    """Seconds: no pause is longer."""

    def bound(self, failures: int) -> float:
        """Return the longest pause in seconds after so many `failures` in a row (1 or more)."""
        doublings = min(failures - 1, _MOST_DOUBLINGS)
        return min(self.cap, self.first * 2.0**doublings)

    def pause(
        self, failures: int, jitter: Callable[[], float] = random.random
    ) -> float:
        """Return how many seconds to wait; `jitter` returns a number in [0, 1)."""
        return jitter() * self.bound(failures)
