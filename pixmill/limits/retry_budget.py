"""The retry budget: how many calls may be repeats.

A repeat costs a token. Every call brings a part of one, every second another, and a few are
there from the start, so that small runs never notice. Repeats that find none wait, and first
calls use their turns meanwhile. Without it `retry.max_attempts` multiplies the calls just when
the service can't take them.
"""

from pixmill.tuning import REPEATS_AT_ONCE, REPEATS_PER_CALL, REPEATS_PER_SECOND


class RetryBudget:
    """Says when repeats may go. Times are seconds of one clock, which `now` reads."""

    def __init__(self, now: float) -> None:
        # Below zero once repeats are booked ahead: the next one waits until it is paid back.
        self._tokens = REPEATS_AT_ONCE
        # When the tokens of the passing time were last added.
        self._filled_at = now

    def record_call(self) -> None:
        """Record that a call was made, which allows a part of a repeat."""
        self._tokens = min(REPEATS_AT_ONCE, self._tokens + REPEATS_PER_CALL)

    def book_repeat(self, now: float) -> float:
        """Book a repeat and return the seconds after which it may go."""
        earned = (now - self._filled_at) * REPEATS_PER_SECOND
        self._tokens = min(REPEATS_AT_ONCE, self._tokens + earned) - 1
        self._filled_at = now
        return max(0.0, -self._tokens / REPEATS_PER_SECOND)
