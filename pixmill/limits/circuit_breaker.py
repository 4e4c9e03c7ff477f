"""The circuit breaker: stops calling a service that is out, and finds out when it is back.

Times are seconds of one clock. Nothing here locks or sleeps.

| state     | event                                     | new state | `record_answer` returns      |
|-----------|-------------------------------------------|-----------|------------------------------|
| CLOSED    | too many faults in a row (1)              | OPEN      | pause before the first probe |
| CLOSED    | any other answer                          | CLOSED    | the count starts again       |
| OPEN      | a call goes out: the probe                | HALF_OPEN |                              |
| HALF_OPEN | that call meets a fault                   | OPEN      | a longer pause               |
| HALF_OPEN | that call was not sent after all          | OPEN      |                              |
| HALF_OPEN | any other answer to it                    | CLOSED    |                              |

(1) `FAULTS_TO_OPEN` of them, once the service has worked. While it is HALF_OPEN nothing else may
go.

Answers to calls from before it opened change nothing: they say how the service was then. The
limiter logs that it opened and closed, as the limit of calls in flight falls to 1 and returns.
"""

from enum import Enum, auto

from pixmill.limits.feedback import Feedback, Permit
from pixmill.tuning import FAULTS_TO_OPEN, OUTAGE_SECONDS, PROBE_BACKOFF


class BreakerState(Enum):
    """Whether calls may go."""

    CLOSED = auto()
    """All may go."""

    OPEN = auto()
    """A single one may go, after a pause: the probe."""

    HALF_OPEN = auto()
    """None may go: the probe is out."""


class CircuitBreaker:
    """Whether calls may go, by what became of the last ones."""

    def __init__(self) -> None:
        # Before the service has been seen to work a wrong address is likelier than an outage.
        self._has_worked = False
        self._faults_in_a_row = 0
        # Since it opened: each of these makes the next pause longer.
        self._failed_probes = 0
        # The number of the last call before it opened; None while it is closed.
        self._opened_after: int | None = None
        self._opened_at = 0.0
        # The number of the call that probes.
        self._probe: int | None = None

    @property
    def state(self) -> BreakerState:
        """Whether calls may go now."""
        if self._probe is not None:
            return BreakerState.HALF_OPEN
        if self._opened_after is not None:
            return BreakerState.OPEN
        return BreakerState.CLOSED

    @property
    def is_open(self) -> bool:
        """Whether the service is taken to be out: in the states OPEN and HALF_OPEN."""
        return self._opened_after is not None

    def outage_exceeded(self, now: float) -> bool:
        """Whether the service has been out for so long that a run should end."""
        return self.is_open and now - self._opened_at > OUTAGE_SECONDS

    def record_departure(self, permit: Permit) -> None:
        """Record that the call of `permit` goes out: while the breaker is open it is the probe."""
        if self.is_open:
            self._probe = permit.number

    def record_answer(
        self, permit: Permit, feedback: Feedback | None, sent: int, now: float
    ) -> float | None:
        """Record how the call of `permit` ended (None: it was not sent), after `sent` calls in all.

        Returns the seconds until the next probe if the breaker opens or stays open by this.
        """
        if permit.number == self._probe:
            self._probe = None
        is_from_before = (
            self._opened_after is not None and permit.number <= self._opened_after
        )
        if feedback is None or is_from_before:
            return None
        if feedback is Feedback.FAULT:
            self._faults_in_a_row += 1
            is_outage = self._has_worked and self._faults_in_a_row >= FAULTS_TO_OPEN
            if not self.is_open and not is_outage:
                return None
            if self._opened_after is None:
                self._opened_after = sent
                self._opened_at = now
            self._failed_probes += 1
            return PROBE_BACKOFF.bound(self._failed_probes)
        if feedback is Feedback.OK:
            self._has_worked = True
        self._faults_in_a_row = 0
        self._failed_probes = 0
        self._opened_after = None
        return None
