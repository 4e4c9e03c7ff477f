"""The breaker: stops asking a service that is out, and finds out by single calls when it is back.

Faults in a row open it, once the service has been seen to work: before that a wrong address is likelier than an
outage. While it is open one call at a time goes out, after a pause that doubles; the first answer that is no fault
closes it. Calls from before it opened neither open nor close it. Pure arithmetic, no locks; times are seconds of one
clock.
"""

from pixmill.limits.rate import Permit
from pixmill.provider.error_codes import Verdict

IN_A_ROW = 5
"""Faults one after another that open it. At one call in ten failing this is chance once in 100,000 calls."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds before a probe: the longest, and a call after it, is how late the end of an outage is noticed."""
PATIENCE = 1800.0
"""Seconds of one outage after which a run gives up: a probe without an answer leaves its job in doubt."""

_FAULTS = (Verdict.RETRY, Verdict.IN_DOUBT)
_WORKS = (Verdict.SUCCEEDED, Verdict.REFUSED, Verdict.FAILED)


class CircuitBreaker:
    """Whether calls may go: all (closed), none, or a single one that probes (open)."""

    def __init__(self) -> None:
        self._seen_working = False
        self._in_a_row = 0
        self._pauses = 0
        self._opened_at: int | None = None
        self._since = 0.0
        self._probe: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the service is taken to be out."""
        return self._opened_at is not None

    def outage_exceeded(self, now: float) -> bool:
        """Whether the service has been out for so long that a run should end."""
        return self.is_open and now - self._since > PATIENCE

    @property
    def is_half_open(self) -> bool:
        """Whether nothing may go now, because a probe is under way."""
        return self._probe is not None

    def on_sent(self, call: Permit) -> None:
        """Take in that `call` goes out: of an open breaker it is the probe."""
        if self.is_open:
            self._probe = call.number

    def hear(
        self, call: Permit, verdict: Verdict | None, sent: int, now: float
    ) -> float | None:
        """Take in how `call` ended (`None`: nothing was sent), after `sent` calls in all.

        Returns the seconds until the next probe where the breaker opens or stays open by this.
        """
        if call.number == self._probe:
            self._probe = None
        if verdict is None or (
            self._opened_at is not None and call.number <= self._opened_at
        ):
            return None
        if verdict in _FAULTS:
            return self._fault(sent, now)
        self._seen_working |= verdict in _WORKS
        self._in_a_row = 0
        self._pauses = 0
        self._opened_at = None
        return None

    def _fault(self, sent: int, now: float) -> float | None:
        self._in_a_row += 1
        if not self.is_open and (self._in_a_row < IN_A_ROW or not self._seen_working):
            return None
        if self._opened_at is None:
            self._opened_at = sent
            self._since = now
        pause = min(FIRST_PAUSE * 2.0**self._pauses, LONGEST_PAUSE)
        self._pauses += 1
        return pause
