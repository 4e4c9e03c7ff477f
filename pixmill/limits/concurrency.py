"""The limit of calls in flight: how many calls may be under way at once.

It starts at the config's number, or with `auto` at 2. From there it doubles until a call is too
many, and finds the provider's limit by bisection. To halve it and add one a round, as TCP does,
would use only three quarters of a fixed limit. Nothing here locks or sleeps.

A round is as many successes as the limit. It is full if at some moment `IN_USE_SHARE` of the limit
was in flight.

| phase           | what is known                                    |
|-----------------|--------------------------------------------------|
| DOUBLING        | nothing is too many, as far as is known          |
| BISECTING       | `too_many` was too many; the limit is below it   |
| STEADY          | one more was too many twice                      |
| TRYING_ONE_MORE | the limit is at `too_many`: has it been lifted?  |

| phase           | event                                          | new phase       | new limit   |
|-----------------|------------------------------------------------|-----------------|-------------|
| DOUBLING        | a full round                                   | DOUBLING        | × 2         |
| BISECTING       | a full round                                   | BISECTING       | half way up |
| BISECTING       | a full round, with limit = `too_many` - 1      | TRYING_ONE_MORE | + 1         |
| STEADY          | `STEADY_CALLS` successes                       | TRYING_ONE_MORE | + 1         |
| TRYING_ONE_MORE | `limit` successes, each with all slots in use  | DOUBLING        | × 2         |
| TRYING_ONE_MORE | too many                                       | STEADY          | - 1         |
| all others      | too many                                       | BISECTING       | (1)         |
| all others      | `too_many` was too many again                  | STEADY          | (1)         |
| any             | too many, and no round since the last cut      | BISECTING       | (2)         |
| any             | a lone call was too many (3)                   | DOUBLING        | 1           |
| any             | another process has learnt more                | its phase       | its limit   |
| any             | any, by a call from before the last cut        | unchanged       | unchanged   |

(1) The number of other calls in flight, if that is below the old limit; otherwise one less than
the old limit. (2) `IN_FLIGHT_RECUT_KEEPS` of (1). (3) Others use all of the provider's limit just
now, so this says nothing about it, and the search begins anew. Where several rows apply, the last
one counts.

The limiter logs every new limit: `in flight 9 → 8: 50430`, `in flight 8 → 12: growth`.
"""

from enum import Enum, auto
from typing import NamedTuple

from pixmill.limits.feedback import Permit
from pixmill.tuning import IN_FLIGHT_RECUT_KEEPS, IN_USE_SHARE, STEADY_CALLS


class ConcurrencyPhase(Enum):
    """What is known of the provider's limit; see the module's table."""

    DOUBLING = auto()
    BISECTING = auto()
    STEADY = auto()
    TRYING_ONE_MORE = auto()


class ConcurrencyEstimate(NamedTuple):
    """What the answers have taught. Processes tell each other, and the larger estimate wins.

    They are compared field by field in this order, so that the one with more cuts is larger.

    The names of the fields are in the ledger, where other versions read them.
    """

    cuts: int
    """How often the limit was cut."""

    limit: int
    """Calls in flight of the whole account, now."""

    cut_was_enough: bool
    """Whether a round went well since the last cut."""

    doubling: bool
    """Whether no number of calls is known to be too many."""

    times: int
    """How often in a row the same number was too many."""

    too_many: int
    """The smallest number of calls in flight that was too many; 0 before there was one."""


class AdaptiveConcurrencyLimit:
    """The limit of calls in flight of an account, from `start` up to `ceiling`."""

    def __init__(self, start: int, ceiling: int) -> None:
        # Calls in flight of the whole account.
        self.limit = min(start, ceiling)
        # What the config allows, however many the provider takes.
        self._ceiling = ceiling
        # The part of the limit that this process has, and so the part of the successes that it
        # sees: its rounds are shorter in proportion.
        self._slot_fraction = 1.0
        # The next five are told to other processes, see `ConcurrencyEstimate`.
        self._cuts = 0
        self._cut_was_enough = True
        self._is_doubling = True
        self._times_in_a_row = 0
        self._too_many = 0
        # Throttled answers to calls up to this number are ignored: they were sent before the cut.
        self._last_call_before_cut = 0
        # The number of the last call before this round: up to it, successes are about the past.
        self._round_after = 0
        # Of this round: successes, and the most calls in flight.
        self._successes = 0
        self._most_in_flight = 0

    @property
    def learnt(self) -> ConcurrencyEstimate:
        """What the answers have taught this process, or others that told it."""
        return ConcurrencyEstimate(
            cuts=self._cuts,
            limit=self.limit,
            cut_was_enough=self._cut_was_enough,
            doubling=self._is_doubling,
            times=self._times_in_a_row,
            too_many=self._too_many,
        )

    @property
    def phase(self) -> ConcurrencyPhase:
        """What is known of the provider's limit now."""
        if self._is_doubling:
            return ConcurrencyPhase.DOUBLING
        if self.limit >= self._too_many:
            return ConcurrencyPhase.TRYING_ONE_MORE
        if self.limit + 1 == self._too_many and self._times_in_a_row > 1:
            return ConcurrencyPhase.STEADY
        return ConcurrencyPhase.BISECTING

    def use_share(
        self, slots: int, ceiling: int, learnt: ConcurrencyEstimate, sent: int
    ) -> None:
        """Use `slots` of an account with that `ceiling`, and what its processes have `learnt`.

        `sent` is how many calls this process has made.
        """
        self._ceiling = ceiling
        if learnt > self.learnt:
            if learnt.cuts > self._cuts:
                self._last_call_before_cut = sent
            self._cuts = learnt.cuts
            self._cut_was_enough = learnt.cut_was_enough
            self._is_doubling = learnt.doubling
            self._times_in_a_row = learnt.times
            self._too_many = learnt.too_many
            self._begin_round(learnt.limit, sent)
        self.limit = min(self.limit, ceiling)
        self._slot_fraction = min(1.0, slots / self.limit)

    def cut(self, permit: Permit, sent: int) -> bool:
        """Record that the call of `permit` was one too many, after `sent` calls in all.

        Returns whether the limit was cut.
        """
        if permit.number <= self._last_call_before_cut:
            return False
        fits = self.limit - 1
        if self.phase is not ConcurrencyPhase.TRYING_ONE_MORE:
            # While one more is tried, everything below the current limit is known to fit.
            fits = min(fits, permit.others_in_flight)
        is_same_number = self._too_many == fits + 1
        self._times_in_a_row = self._times_in_a_row + 1 if is_same_number else 1
        self._too_many = fits + 1
        # Where even a lone call was too many, others have used the limit up, and nothing is known.
        self._is_doubling = fits == 0
        limit = fits
        if not self._cut_was_enough:
            # The limit has dropped, so the calls in flight were counted under the old one.
            limit = int(fits * IN_FLIGHT_RECUT_KEEPS)
        self._begin_round(limit, sent)
        self._cut_was_enough = False
        self._last_call_before_cut = sent
        self._cuts += 1
        return True

    def grow(self, permit: Permit, sent: int) -> None:
        """Record that the call of `permit` went well, after `sent` calls in all."""
        in_flight = permit.others_in_flight + 1
        if permit.number <= self._round_after:
            return
        phase = self.phase
        if phase is ConcurrencyPhase.TRYING_ONE_MORE and in_flight < self.limit:
            return
        self._successes += 1
        self._most_in_flight = max(self._most_in_flight, in_flight)
        round_length = self.limit * self._slot_fraction
        if phase is ConcurrencyPhase.STEADY:
            # Not shorter for a process that sees a part of them, because the first process to try
            # one more restarts the round for all of them.
            round_length = STEADY_CALLS
        if self._successes < round_length:
            return
        self._cut_was_enough = True
        if self._most_in_flight < IN_USE_SHARE * self.limit:
            # Successes with a part of the limit in use prove nothing about the rest.
            self._begin_round(self.limit, sent)
            return
        match phase:
            case ConcurrencyPhase.DOUBLING:
                grown = self.limit * 2
            case ConcurrencyPhase.TRYING_ONE_MORE:
                # What was too many went well: the provider's limit was lifted.
                self._is_doubling = True
                grown = self.limit * 2
            case ConcurrencyPhase.BISECTING | ConcurrencyPhase.STEADY:
                grown = (self.limit + self._too_many + 1) // 2
        self._begin_round(grown, sent)

    def _begin_round(self, limit: int, sent: int) -> None:
        self.limit = max(1, min(limit, self._ceiling))
        self._round_after = sent
        self._successes = 0
        self._most_in_flight = 0
