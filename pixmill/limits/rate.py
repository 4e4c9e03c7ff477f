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
LOWEST, LOWEST_SHARE = 0.1, 0.01
"""Calls per second, or the share of the ceiling, that go out whatever the provider says: to hear when it recovers."""
CATCH_UP = 0.1
"""Seconds of turns that are made up for after a late wake-up; more would be a burst."""
SURE_CUT, FIRST_CUT, NEXT_CUT = 0.97, 0.85, 0.7
"""What a cut leaves of the rate: at most, at least, and at least where the cut before it was not enough."""
RECENT = 20
"""Calls that get through after a cut that was enough."""
SURE = 6
"""Calls between two throttled ones from which the goodput is known well enough to go slowly from there on."""
BUCKET_SECONDS, FEW = 0.75, 4
"""How many seconds' worth of calls a full bucket is taken to hold, and through how many calls that tells nothing."""
NEAR, NEAR_CALLS, NEAR_SECONDS = 0.05, 300, 120.0
"""How far the slow climb goes above the estimate, and the calls and seconds that it takes, whichever is quicker."""
SHARED_NEAR = 0.15
"""`NEAR` where others share the account: of several cuts at once the estimate is lower than need be."""
HEARD_AFTER = 2.0
"""Seconds in which others who share the account hear of a cut. What is throttled meanwhile may be their doing, and is
no measure of the goodput."""
GROWTH, SEARCH = 0.1, 0.5
"""The share by which the pace grows in a second elsewhere (it doubles in seven), and after the first cut."""


class Departure(NamedTuple):
    """A call that was let go: its number, when, how many others were in flight, and whether the pace held it up."""

    number: int
    at: float
    beside: int
    paced: bool


class LearntRate(NamedTuple):
    """What the answers have taught: calls per second, and where the limit is thought to be, after so many cuts.

    Of two the larger one is in force: it knows of more cuts, or of more successes since the last one.
    """

    cuts: int
    rate: float
    estimate: float


class Pace:
    """Turns for calls at the rate in force: the `portion` of `rate`, the account's calls per second."""

    def __init__(self, qps: float, now: float) -> None:
        self.rate = self._ceiling = qps * RATE_MARGIN
        self._lowest = min(max(LOWEST, LOWEST_SHARE * self._ceiling), self._ceiling)
        self._next = self._held_until = self._grown_at = now
        self.portion, self._heard_at = 1.0, now
        self._estimate = 0.0
        self._cuts = self._cut_at = 0
        self._throttled: Departure | None = None
        self._first_turn: float | None = None
        self._searching = False

    @property
    def own_rate(self) -> float:
        """The calls per second that this process may make."""
        return self.rate * self.portion

    @property
    def learnt(self) -> LearntRate:
        """What the answers have taught this process, or others that told it."""
        return LearntRate(self._cuts, self.rate, self._estimate)

    def share(
        self,
        portion: float,
        qps: float,
        learnt: LearntRate,
        sent: int,
        now: float,
        booked: float | None,
    ) -> None:
        """Use a `portion` of an account with the ceiling `qps`, and go on from what all its processes have `learnt`.

        A turn that was `booked` is void: at another rate it comes sooner or later.
        """
        before, due = self.own_rate, self._next if booked is None else booked
        self._ceiling = qps * RATE_MARGIN
        if learnt > self.learnt:
            if learnt.cuts > self._cuts:
                self._cut_at, self._heard_at = sent, now + HEARD_AFTER
            self._cuts, self.rate, self._estimate = learnt
        self.rate = min(self.rate, self._ceiling) if self._cuts else self._ceiling
        self.portion = portion
        self._next = max(
            due if due <= now else now + (due - now) * before / self.own_rate, self._held_until
        )

    def turn(self, ready: float, now: float) -> float:
        """Book the next turn for a call that could have gone since `ready`, and return when it is."""
        turn = max(ready, self._next, now - CATCH_UP)
        if self._first_turn is None:
            self._first_turn = turn
        self._next = turn + 1 / self.own_rate
        return turn

    def give_back(self, now: float, booked: float | None) -> None:
        """Take in that a turn was not used. One that was `booked` since then is void: it comes sooner."""
        due = self._next if booked is None else booked
        self._next = max(due - 1 / self.own_rate, min(due, now - CATCH_UP), self._held_until)

    def hold(self, seconds: float, now: float) -> None:
        """Give no turn for `seconds`. A turn that was booked is void."""
        self._held_until = max(self._held_until, now + max(seconds, 1 / self.own_rate))
        self._next = self._held_until

    def cut(self, call: Departure, sent: int, now: float) -> bool:
        """Take in that `call` was throttled, after `sent` calls in all. True: the rate fell, a booked turn is void.

        A call from before the last cut does not cut again.
        """
        before, self._throttled = self._throttled, call
        if call.number <= self._cut_at:
            return False
        if call.at < self._heard_at:
            self.rate = self._estimate = max(self._lowest, self.rate * SURE_CUT)
        elif self._cuts or not self._fell_to_first_goodput(call):
            self._searching = False
            self._fall(before, call)
        self._cuts += 1
        self._heard_at = now + HEARD_AFTER if self.portion < 1 else now
        self._cut_at, self._grown_at = sent, now
        self._next = max(now + 1 / self.own_rate, self._held_until)
        return True

    def grow(self, call: Departure, now: float) -> None:
        """Take in that `call` went well. Only one that the pace held up shows that there was more to send."""
        if call.number <= self._cut_at or not call.paced:
            return
        passed, self._grown_at = min(now - self._grown_at, 2 / self.own_rate), now
        near = self._estimate * (1 + (NEAR if self.portion == 1 else SHARED_NEAR))
        quick = self.rate * (1 + (SEARCH if self._searching else GROWTH) * passed)
        if self.rate < self._estimate:
            grown = min(quick, self._estimate)
        elif self.rate < near:
            grown = self.rate * (1 + NEAR * passed * max(self.rate / NEAR_CALLS, 1 / NEAR_SECONDS))
        else:
            grown = quick
        self.rate = min(grown, self._ceiling)

    def _fell_to_first_goodput(self, call: Departure) -> bool:
        """Set the rate to what has got through before the first throttled `call`, where that was not next to nothing.

        A limit that is not met for long was not much too high, and the rate hardly falls.
        """
        through = call.number - 1
        if through < FEW or self._first_turn is None:
            return False
        seconds = call.at - self._first_turn + BUCKET_SECONDS
        goodput = through / (seconds * self.portion)
        self.rate = max(self._lowest, min(goodput, self.rate * SURE_CUT))
        # How much the bucket held is a guess, so there is no estimate to go slowly about.
        self._estimate, self._searching = 0.0, True
        return True

    def _fall(self, before: Departure | None, call: Departure) -> None:
        """Set the rate to the goodput since `before` was throttled, counted to plus or minus a call."""
        low = high = most = self.rate * SURE_CUT
        least, through = self.rate * FIRST_CUT, 0
        if before and before.at < call.at:
            through, seconds = call.number - before.number - 1, (call.at - before.at) * self.portion
            low, high = through / seconds, (through + 1) / seconds
            if through < RECENT:
                least = self.rate * NEXT_CUT
        self.rate = max(self._lowest, least, min(low, most))
        known = low if through >= SURE else high
        # Where nothing got through there is no estimate to go slowly about: it may have been an outage.
        self._estimate = max(self.rate, min(known, most)) if low else 0.0
