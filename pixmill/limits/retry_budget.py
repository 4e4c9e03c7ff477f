"""The retry budget: how many calls may be repeats, so that a service in trouble is not asked twice for everything.

A repeat costs a token. Every call brings a tenth of one, every second a whole one, and a few are there from the start:
small runs never notice. What repeats have to wait for, first calls use. (Plain retries multiply the calls by
`retry.max_attempts` just when the service can't take them.) Times are seconds of one clock.
"""

SHARE = 0.1
"""Repeats for each call."""
PER_SECOND = 1.0
"""Repeats a second however few calls there are: also what is left at the end of a run has to get its turns."""
AT_ONCE = 10.0
"""Repeats that may come together."""


class RetryBudget:
    """Tells repeats when they may go, from `now` on."""

    def __init__(self, now: float) -> None:
        self._tokens = AT_ONCE
        self._at = now

    def deposit(self) -> None:
        """Take in that a call was made."""
        self._tokens = min(AT_ONCE, self._tokens + SHARE)

    def withdraw(self, now: float) -> float:
        """Book a repeat and return the seconds after which it may go."""
        self._tokens = min(AT_ONCE, self._tokens + (now - self._at) * PER_SECOND) - 1
        self._at = now
        return max(0.0, -self._tokens / PER_SECOND)
