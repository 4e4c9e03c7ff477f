"""The in-flight limit: how many calls may be under way at once, within what the provider takes.

It doubles with every round of successes until a "too many calls at once". Such an answer tells the limit: the calls
that were under way beside the throttled one. Where that is not low enough, the limit has dropped, and the next cuts
take a share. Afterwards every round halves the distance to the number that was too many; that number itself is tried
again once, then only once in a while: if it goes well, the limit was lifted, and the doubling starts anew. (Halving
and then adding one a round, as TCP does, would use three quarters of a limit that stands.) Pure arithmetic, no locks.
"""

from pixmill.pace import Departure

IN_USE = 0.8
"""The share of the limit that must have been in use in a round for it to grow: otherwise successes prove nothing."""
PROBE_CALLS = 120
"""Successes between two tries of a number that was too many twice: a limit that stands throttles one call in these."""
CUT = 0.7
"""What is left of the calls in flight where the cut to their number was not enough."""


class Slots:
    """The in-flight limit in force, from `start` up to `ceiling`."""

    def __init__(self, start: int, ceiling: int) -> None:
        self.limit, self._ceiling = min(start, ceiling), ceiling
        self._doubling = True
        self._too_many = self._times = 0
        self._cut_was_enough = True
        self._cut_at = self._round_from = 0
        self._good = self._most_used = 0

    @property
    def _probing(self) -> bool:
        return not self._doubling and self.limit >= self._too_many

    def cut(self, call: Departure, sent: int) -> None:
        """Take in that `call` was one too many, after `sent` calls in all.

        A call from before the last cut does not cut again. Where even a lone call was too many nothing is learnt
        about the limit: others have used it up.
        """
        if call.number <= self._cut_at:
            return
        taken = self.limit - 1 if self._probing else min(call.beside, self.limit - 1)
        self._times = self._times + 1 if self._too_many == taken + 1 else 1
        self._too_many, self._doubling = taken + 1, not taken
        self._begin_round(taken if self._cut_was_enough else int(taken * CUT), sent)
        self._cut_was_enough, self._cut_at = False, sent

    def grow(self, call: Departure, sent: int) -> None:
        """Take in that `call` went well, after `sent` calls in all."""
        used = call.beside + 1
        if call.number <= self._round_from or (self._probing and used < self.limit):
            return
        self._good, self._most_used = self._good + 1, max(self._most_used, used)
        if self._good < (PROBE_CALLS if self._times > 1 and self.limit + 1 == self._too_many else self.limit):
            return
        self._cut_was_enough = True
        self._begin_round(self._raised() if self._most_used >= IN_USE * self.limit else self.limit, sent)

    def _raised(self) -> int:
        self._doubling = self._doubling or self._probing
        return self.limit * 2 if self._doubling else (self.limit + self._too_many + 1) // 2

    def _begin_round(self, limit: int, sent: int) -> None:
        self.limit = max(1, min(limit, self._ceiling))
        self._round_from = sent
        self._good = self._most_used = 0
