"""The in-flight limit: how many calls may be under way at once, within what the provider takes.

It doubles with every round of successes until a "too many calls at once". Such an answer tells the limit: the calls
that were under way beside the throttled one. Where that is not low enough, the limit has dropped, and the next cuts
take a share. Afterwards every round halves the distance to the number that was too many; that number itself is tried
again once, then only once in a while: if it goes well, the limit was lifted, and the doubling starts anew. (Halving
and then adding one a round, as TCP does, would use three quarters of a limit that stands.) Pure arithmetic, no locks.
"""

from typing import NamedTuple

from pixmill.limits.rate import Permit

IN_USE = 0.8
"""The share of the limit that must have been in use in a round for it to grow: otherwise successes prove nothing."""
PROBE_CALLS = 120
"""Successes between two tries of a number that was too many twice: a limit that stands throttles one call in these."""
CUT = 0.7
"""What is left of the calls in flight where the cut to their number was not enough."""


class ConcurrencyEstimate(NamedTuple):
    """What the answers have taught, after so many cuts. Of two the larger one is in force, as with `RateEstimate`."""

    cuts: int
    limit: int
    cut_was_enough: bool
    doubling: bool
    times: int
    too_many: int


class AdaptiveConcurrencyLimit:
    """The in-flight limit in force of an account, from `start` up to `ceiling`.

    A process that may use an `account_fraction` of it sees that part of the successes, so that its
    rounds are shorter. Tries of a number that was too many are not made more often for that: who is
    first to try restarts the rounds of all.
    """

    def __init__(self, start: int, ceiling: int) -> None:
        self.limit = min(start, ceiling)
        self._ceiling = ceiling
        self._portion = 1.0
        self._doubling = True
        self._too_many = 0
        self._times = 0
        self._cut_was_enough = True
        self._cuts = 0
        self._cut_at = 0
        self._round_from = 0
        self._good = 0
        self._most_used = 0

    @property
    def learnt(self) -> ConcurrencyEstimate:
        """What the answers have taught this process, or others that told it."""
        return ConcurrencyEstimate(
            self._cuts,
            self.limit,
            self._cut_was_enough,
            self._doubling,
            self._times,
            self._too_many,
        )

    def share(
        self, slots: int, ceiling: int, learnt: ConcurrencyEstimate, sent: int
    ) -> None:
        """Use `slots` of an account with that `ceiling`, and go on from what all its processes have `learnt`."""
        self._ceiling = ceiling
        if learnt > self.learnt:
            if learnt.cuts > self._cuts:
                self._cut_at = sent
            (
                self._cuts,
                limit,
                self._cut_was_enough,
                self._doubling,
                self._times,
                self._too_many,
            ) = learnt
            self._begin_round(limit, sent)
        self.limit = min(self.limit, ceiling)
        self._portion = min(1.0, slots / self.limit)

    @property
    def _probing(self) -> bool:
        return not self._doubling and self.limit >= self._too_many

    def cut(self, call: Permit, sent: int) -> bool:
        """Take in that `call` was one too many, after `sent` calls in all. True: the limit fell.

        A call from before the last cut does not cut again. Where even a lone call was too many nothing is learnt
        about the limit: others have used it up.
        """
        if call.number <= self._cut_at:
            return False
        taken = self.limit - 1 if self._probing else min(call.beside, self.limit - 1)
        self._times = self._times + 1 if self._too_many == taken + 1 else 1
        self._too_many = taken + 1
        self._doubling = not taken
        self._begin_round(taken if self._cut_was_enough else int(taken * CUT), sent)
        self._cut_was_enough = False
        self._cut_at = sent
        self._cuts += 1
        return True

    def grow(self, call: Permit, sent: int) -> None:
        """Take in that `call` went well, after `sent` calls in all."""
        used = call.beside + 1
        if call.number <= self._round_from or (self._probing and used < self.limit):
            return
        self._good = self._good + 1
        self._most_used = max(self._most_used, used)
        again = self._times > 1 and self.limit + 1 == self._too_many
        if self._good < (PROBE_CALLS if again else self.limit * self._portion):
            return
        self._cut_was_enough = True
        self._begin_round(
            self._raised() if self._most_used >= IN_USE * self.limit else self.limit,
            sent,
        )

    def _raised(self) -> int:
        self._doubling = self._doubling or self._probing
        return (
            self.limit * 2 if self._doubling else (self.limit + self._too_many + 1) // 2
        )

    def _begin_round(self, limit: int, sent: int) -> None:
        self.limit = max(1, min(limit, self._ceiling))
        self._round_from = sent
        self._good = 0
        self._most_used = 0
