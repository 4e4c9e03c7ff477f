"""The pace: how fast calls may follow each other, within the rate that the provider lets through.

It starts at its ceiling. A "too many calls per second" drops it to the goodput: the calls that got through between
two throttled ones, which is what a token bucket gives while it is empty; for the first one those since the beginning,
less what a full bucket had to give. From there the second one is soon looked for, as it tells the limit. Then the pace
climbs: slowly where the limit is thought to be, so that a limit that stands throttles one call in a hundred or two, and
quickly further up, so that a limit that was lifted is soon used. The rate is that of the account, of which a process
may have a portion. Pure arithmetic, no locks; all times are seconds of one clock.
"""

from typing import NamedTuple

RATE_MARGIN = 0.98
"""The share of the allowed rate that is used: the provider counts arrivals, and networks bunch them up a little."""
LOWEST = 0.1
LOWEST_SHARE = 0.01
"""Calls per second, or the share of the ceiling, that go out whatever the provider says: to hear when it recovers."""
CATCH_UP = 0.1
"""Seconds of turns that are made up for after a late wake-up; more would be a burst."""
SURE_CUT = 0.97
FIRST_CUT = 0.85
NEXT_CUT = 0.7
"""What a cut leaves of the rate: at most, at least, and at least where the cut before it was not enough."""
RECENT = 20
"""Calls that get through after a cut that was enough."""
SURE = 6
"""Calls between two throttled ones from which the goodput is known well enough to go slowly from there on."""
BUCKET_SECONDS = 0.75
FEW = 4
"""How many seconds' worth of calls a full bucket is taken to hold, and through how many calls that tells nothing."""
NEAR = 0.05
NEAR_CALLS = 300
NEAR_SECONDS = 120.0
"""How far the slow climb goes above the estimate, and the calls and seconds that it takes, whichever is quicker."""
SHARED_NEAR = 0.15
"""`NEAR` where others share the account: of several cuts at once the estimate is lower than need be."""
HEARD_AFTER = 2.0
"""Seconds in which others who share the account hear of a cut. What is throttled meanwhile may be their doing, and is
no measure of the goodput."""
GROWTH = 0.1
SEARCH = 0.5
"""The share by which the pace grows in a second elsewhere (it doubles in seven), and after the first cut."""


class Permit(NamedTuple):
    """A call that was let go: its number, when, how many others were in flight, and whether the pace held it up."""

    number: int
    at: float
    beside: int
    paced: bool


class RateEstimate(NamedTuple):
    """What the answers have taught: calls per second, and where the limit is thought to be, after so many cuts.

    Of two the larger one is in force: it knows of more cuts, or of more successes since the last one.
    """

    cuts: int
    rate: float
    estimate: float


class AdaptiveRateLimit:
    """Turns for calls at the rate in force: the `account_fraction` of `rate`, the account's calls per second."""

    def __init__(self, qps: float, now: float) -> None:
        self._ceiling = qps * RATE_MARGIN
        self.rate = self._ceiling
        self._lowest = min(max(LOWEST, LOWEST_SHARE * self._ceiling), self._ceiling)
        self._next = now
        self._held_until = now
        self._grown_at = now
        self.account_fraction = 1.0
        self._heard_at = now
        self._estimate = 0.0
        self._cuts = 0
        self._cut_at = 0
        self._throttled: Permit | None = None
        self._first_turn: float | None = None
        self._searching = False

    @property
    def own_rate(self) -> float:
        """The calls per second that this process may make."""
        return self.rate * self.account_fraction

    @property
    def learnt(self) -> RateEstimate:
        """What the answers have taught this process, or others that told it."""
        return RateEstimate(self._cuts, self.rate, self._estimate)

    def share(
        self,
        account_fraction: float,
        qps: float,
        learnt: RateEstimate,
        sent: int,
        now: float,
        booked: float | None,
    ) -> None:
        """Use an `account_fraction` of an account with the ceiling `qps`, and go on from what all
        its processes have `learnt`.

        A turn that was `booked` is void: at another rate it comes sooner or later.
        """
        before = self.own_rate
        due = self._next if booked is None else booked
        self._ceiling = qps * RATE_MARGIN
        if learnt > self.learnt:
            if learnt.cuts > self._cuts:
                self._cut_at = sent
                self._heard_at = now + HEARD_AFTER
            self._cuts, self.rate, self._estimate = learnt
        self.rate = min(self.rate, self._ceiling) if self._cuts else self._ceiling
        self.account_fraction = account_fraction
        self._next = max(
            due if due <= now else now + (due - now) * before / self.own_rate,
            self._held_until,
        )

    def turn(self, ready: float, now: float) -> float:
        """Book the next turn for a call that could have gone since `ready`, and return when it is."""
        turn = max(ready, self._next, now - CATCH_UP)
        if self._first_turn is None:
            self._first_turn = turn
        self._next = turn + 1 / self.own_rate
        return turn

    def refund(self, now: float, booked: float | None) -> None:
        """Take in that a turn was not used. One that was `booked` since then is void: it comes sooner."""
        due = self._next if booked is None else booked
        self._next = max(
            due - 1 / self.own_rate, min(due, now - CATCH_UP), self._held_until
        )

    def hold(self, seconds: float, now: float) -> None:
        """Give no turn for `seconds`. A turn that was booked is void."""
        self._held_until = max(self._held_until, now + max(seconds, 1 / self.own_rate))
        self._next = self._held_until

    def cut(self, call: Permit, sent: int, now: float) -> bool:
        """Take in that `call` was throttled, after `sent` calls in all. True: the rate fell, a booked turn is void.

        A call from before the last cut does not cut again.
        """
        before = self._throttled
        self._throttled = call
        if call.number <= self._cut_at:
            return False
        if call.at < self._heard_at:
            self.rate = self._estimate = max(self._lowest, self.rate * SURE_CUT)
        elif self._cuts or not self._fell_to_first_goodput(call):
            self._searching = False
            self._fall(before, call)
        self._cuts += 1
        self._heard_at = now + HEARD_AFTER if self.account_fraction < 1 else now
        self._cut_at = sent
        self._grown_at = now
        self._next = max(now + 1 / self.own_rate, self._held_until)
        return True

    def grow(self, call: Permit, now: float) -> None:
        """Take in that `call` went well. Only one that the pace held up shows that there was more to send."""
        if call.number <= self._cut_at or not call.paced:
            return
        passed = min(now - self._grown_at, 2 / self.own_rate)
        self._grown_at = now
        near = self._estimate * (
            1 + (NEAR if self.account_fraction == 1 else SHARED_NEAR)
        )
        quick = self.rate * (1 + (SEARCH if self._searching else GROWTH) * passed)
        if self.rate < self._estimate:
            grown = min(quick, self._estimate)
        elif self.rate < near:
            grown = self.rate * (
                1 + NEAR * passed * max(self.rate / NEAR_CALLS, 1 / NEAR_SECONDS)
            )
        else:
            grown = quick
        self.rate = min(grown, self._ceiling)

    def _fell_to_first_goodput(self, call: Permit) -> bool:
        """Set the rate to what has got through before the first throttled `call`, where that was not next to nothing.

        A limit that is not met for long was not much too high, and the rate hardly falls.
        """
        through = call.number - 1
        if through < FEW or self._first_turn is None:
            return False
        seconds = call.at - self._first_turn + BUCKET_SECONDS
        goodput = through / (seconds * self.account_fraction)
        self.rate = max(self._lowest, min(goodput, self.rate * SURE_CUT))
        # How much the bucket held is a guess, so there is no estimate to go slowly about.
        self._estimate = 0.0
        self._searching = True
        return True

    def _fall(self, before: Permit | None, call: Permit) -> None:
        """Set the rate to the goodput since `before` was throttled, counted to plus or minus a call."""
        low = high = most = self.rate * SURE_CUT
        least = self.rate * FIRST_CUT
        through = 0
        if before and before.at < call.at:
            through = call.number - before.number - 1
            seconds = (call.at - before.at) * self.account_fraction
            low = through / seconds
            high = (through + 1) / seconds
            if through < RECENT:
                least = self.rate * NEXT_CUT
        self.rate = max(self._lowest, least, min(low, most))
        known = low if through >= SURE else high
        # Where nothing got through there is no estimate to go slowly about: it may have been an outage.
        self._estimate = max(self.rate, min(known, most)) if low else 0.0
