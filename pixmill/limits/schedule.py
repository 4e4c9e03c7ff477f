"""The schedule of calls: when the next one may go, so that they follow each other evenly.

Times are seconds of one clock; `spacing` is the seconds between two calls, one over the rate.
A call reserves a turn, which is the moment at which it may go, and waits for it. Until it has gone,
four things may move that turn. The call then reserves anew:

| event                                     | where the next turn is afterwards |
|-------------------------------------------|-----------------------------------|
| `pause`: everybody is to wait             | at the end of the pause           |
| `restart`: the rate was cut               | one new spacing from now          |
| `respace`: the rate changed otherwise     | as far off as before, in spacings |
| `take_back`: a turn before it was not used | one spacing earlier               |
"""

from typing import NamedTuple

from pixmill.tuning import CATCH_UP_SECONDS


class Schedule(NamedTuple):
    """When the next call may go. Each method returns the schedule after an event."""

    next_turn: float
    """When the next call to reserve a turn may go at the earliest."""

    paused_until: float
    """Until when nothing may go at all, as everybody is to wait."""

    reserved: float | None = None
    """The turn that a call waits for now."""

    def reserve(
        self, ready: float, now: float, spacing: float
    ) -> tuple[float, "Schedule"]:
        """Reserve the next turn for a call that could have gone since `ready`; return it too."""
        # Turns that were missed are made up for only if they are of the last moment: after a
        # long sleep all the others would go in one burst.
        turn = max(ready, self.next_turn, now - CATCH_UP_SECONDS)
        return turn, Schedule(turn + spacing, self.paused_until, reserved=turn)

    def clear_reservation(self) -> "Schedule":
        """Forget the reserved turn: its call has gone, or will reserve another."""
        return Schedule(self.next_turn, self.paused_until)

    def take_back(self, now: float, spacing: float) -> "Schedule":
        """Bring the next turn forward, as one before it was not used."""
        # Not further than what a late wake-up makes up for, or unused turns would add up.
        earliest = min(self._due, now - CATCH_UP_SECONDS)
        return self._move(max(self._due - spacing, earliest))

    def respace(self, now: float, before: float, rate: float) -> "Schedule":
        """Move the next turn as calls per second change from `before` to `rate`."""
        due = self._due
        if due > now:
            due = now + (due - now) * before / rate
        return self._move(due)

    def restart(self, now: float, spacing: float) -> "Schedule":
        """Begin anew after a cut: what was due at the old rate is not made up for."""
        return self._move(now + spacing)

    def pause(self, until: float) -> "Schedule":
        """Let nothing go before `until`; a longer pause stays."""
        paused_until = max(self.paused_until, until)
        return self._replace(paused_until=paused_until, next_turn=paused_until)

    @property
    def _due(self) -> float:
        """When the next call goes: at the reserved turn, if there is one, as whoever reserved it
        has to reserve again and may get the same."""
        return self.next_turn if self.reserved is None else self.reserved

    def _move(self, turn: float) -> "Schedule":
        return self._replace(next_turn=max(turn, self.paused_until))
