"""What a process has made of its share, and so what it could use: its demand.

A window begins with each share and ends with the report for the next one.

Demand for slots: the most that were in flight at once and one more, or twice as many where calls
had to wait for a slot.

Demand for rate, by whether the process has kept up with what it has, now and in the window before:

| the window before | this window | it wants                                          |
|-------------------|-------------|---------------------------------------------------|
| any               | kept up     | all it can get                                    |
| kept up           | was slow    | what it has                                       |
| was slow          | was slow    | the faster of the two windows, with room above it |

Slow once may be chance, and what is not wanted goes to others at once.
"""

from pixmill.limits.fair_share import UNLIMITED
from pixmill.tuning import KEEPS_UP_SHARE

_LEAST_SECONDS = 1e-3
"""What a window lasts at least, so that a rate can be computed for one that ends at once."""


class UsageWindow:
    """The calls of one process since its last share. The limiter locks."""

    def __init__(self, *, is_idle: bool, now: float) -> None:
        # Nothing was wanted, so that the share was given back; the next call asks for one.
        self.is_idle = is_idle
        # A call waits for a slot now.
        self._lacks_slots = False
        # A call has waited for one in this window.
        self._lacked_slots = False
        # The most calls in flight at once in this window.
        self._most_in_flight = 0
        # Slots wanted in the last report.
        self._wanted_slots = 0
        # Calls sent before this window, and when it began.
        self._sent_before = 0
        self._began = now
        # What the last window came to, in calls per second.
        self._rate_before = 0.0
        self._kept_up = True

    def begin(self, in_flight: int, sent: int, now: float) -> None:
        """Begin anew with the next share."""
        self._most_in_flight = in_flight
        self._sent_before = sent
        self._began = now
        self._lacked_slots = self._lacks_slots

    def record_departure(self, in_flight: int) -> None:
        """Record that a call went out, with which so many are in flight."""
        self._most_in_flight = max(self._most_in_flight, in_flight)

    def record_slot_found(self) -> None:
        """Record that the first call in line has found a slot."""
        self._lacks_slots = False

    def record_slot_missing(self) -> None:
        """Record that the first call in line has to wait for a slot."""
        self._lacks_slots = True
        self._lacked_slots = True

    def end_idleness(self, now: float) -> bool:
        """Want calls again. Returns whether the share had been given back, so that one is
        needed."""
        if not self.is_idle:
            return False
        self.is_idle = False
        self._began = now
        return True

    def wants_nothing(self, sent: int) -> bool:
        """Whether no call was sent in this window (`sent` in all), and none waits for a slot."""
        return not self._lacks_slots and sent == self._sent_before

    def measure_slot_demand(self, ceiling: int) -> int:
        """Return how many calls in flight the process could use. The next window starts from it."""
        demand = self._most_in_flight + 1
        if self._lacked_slots or self._lacks_slots:
            demand = 2 * self._most_in_flight + 2
        # One less at a time: what comes and goes by chance would have shares wander about.
        self._wanted_slots = min(ceiling, max(self._wanted_slots - 1, demand))
        return self._wanted_slots

    def measure_rate_demand(self, own_rate: float, sent: int, now: float) -> float:
        """Return the calls per second that the process could use.

        `own_rate` is what it had, `sent` how many calls it made in all. What this window came to is
        kept, as the next one is compared with it.
        """
        seconds = max(now - self._began, _LEAST_SECONDS)
        rate = (sent - self._sent_before + 1) / seconds
        rate_before = self._rate_before
        kept_up_before = self._kept_up
        self._rate_before = rate
        self._kept_up = rate >= KEEPS_UP_SHARE * own_rate
        if self._kept_up:
            return UNLIMITED
        demand = max(rate, rate_before) / KEEPS_UP_SHARE
        if kept_up_before:
            return max(demand, own_rate)
        return demand
