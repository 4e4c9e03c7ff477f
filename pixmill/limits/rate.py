"""The rate limit: how fast calls may follow each other, within what the provider lets through.

The rate is that of the account; a process may have a fraction of it. Times are seconds of one
clock. Nothing here locks or sleeps.

A throttled call cuts the rate to the goodput: the calls per second that got through since the
throttled call before it. Providers count with a token bucket. At both of these calls it was empty,
so as many got through between them as the provider puts in. Then the rate climbs again; how fast
depends on where it is:

| phase       | where the rate is                     | it grows                        |
|-------------|---------------------------------------|---------------------------------|
| UNTHROTTLED | at the ceiling; it was never cut      | not at all                      |
| SEARCHING   | cut once; the limit is not known yet  | by `SEARCH_CLIMB` a second      |
| RECOVERING  | below the estimated limit             | by `QUICK_CLIMB` a second, to it |
| CREEPING    | up to `SLOW_CLIMB` above the estimate | slowly                          |
| CLIMBING    | above that, or nothing is known       | by `QUICK_CLIMB` a second       |

SEARCHING is quick, as only the second cut tells the limit. CREEPING is slow, so that an unchanged
limit throttles one call in 100 to 200. CLIMBING is quick again, as the limit was lifted. Where
several rows apply, the last of them counts.

| phase       | event                                        | new phase and rate              |
|-------------|----------------------------------------------|---------------------------------|
| UNTHROTTLED | throttled                                    | SEARCHING, at the goodput       |
| UNTHROTTLED | throttled within the first `FEW_CALLS`       | CREEPING, `CUT_KEEPS_AT_MOST`   |
| all others  | throttled                                    | CREEPING, at the goodput        |
| all others  | throttled, after fewer than `SURE_CALLS`     | RECOVERING, below the estimate  |
| all others  | throttled, and nothing had got through       | CLIMBING, at the lower bound    |
| any         | throttled, just after a cut (shared account) | CREEPING, `CUT_KEEPS_AT_MOST`   |
| any         | throttled, but sent before the last cut      | unchanged                       |
| all others  | success of a call that waited for its turn   | grows, by where the rate is     |
| any         | another process has learnt more              | its rate; phase follows from it |

The limiter logs every new rate: `rate 20.0 → 7.9 calls/s: 50429`, `rate 7.9 → 9.6 calls/s: growth`.
"""

from enum import Enum, auto
from typing import NamedTuple

from pixmill.limits.feedback import Permit
from pixmill.limits.schedule import Schedule
from pixmill.tuning import (
    BUCKET_SECONDS,
    CUT_KEEPS_AT_LEAST,
    CUT_KEEPS_AT_MOST,
    CUT_WAS_ENOUGH_CALLS,
    FEW_CALLS,
    HEARD_SECONDS,
    QUICK_CLIMB,
    RATE_FLOOR,
    RATE_FLOOR_SHARE,
    RATE_MARGIN,
    RECUT_KEEPS_AT_LEAST,
    SEARCH_CLIMB,
    SHARED_SLOW_CLIMB,
    SLOW_CLIMB,
    SLOW_CLIMB_CALLS,
    SLOW_CLIMB_SECONDS,
    SURE_CALLS,
)


class RatePhase(Enum):
    """Where the rate is, and so how it grows; see the module's tables."""

    UNTHROTTLED = auto()
    SEARCHING = auto()
    RECOVERING = auto()
    CREEPING = auto()
    CLIMBING = auto()


class RateEstimate(NamedTuple):
    """What the answers have taught. Processes tell each other; of two the larger one is in force.

    More cuts win; of as many, the higher rate, as it has grown for longer since the last one. The
    names of the fields are in the ledger, where other versions read them.
    """

    cuts: int
    """How often the rate was cut."""

    rate: float
    """Calls per second of the whole account, now."""

    estimate: float
    """Calls per second at which the limit is thought to be; 0 where nothing is known."""


class Goodput(NamedTuple):
    """The calls that got through between two throttled ones, counted to plus or minus one call."""

    calls: int
    """How many there were."""

    low: float
    """Calls per second of the account, if the bucket was just empty at both ends."""

    high: float
    """Calls per second of the account, if one more would have got through."""


class AdaptiveRateLimit:
    """Gives calls their turns at the rate in force: `account_fraction` of the account's `rate`."""

    def __init__(self, qps: float, now: float) -> None:
        # Calls per second: never more, however much the provider lets through.
        self._ceiling = qps * RATE_MARGIN
        # Calls per second: never less, or nobody would notice that the provider has recovered.
        self._floor = min(
            max(RATE_FLOOR, RATE_FLOOR_SHARE * self._ceiling), self._ceiling
        )
        # Calls per second of the whole account.
        self.rate = self._ceiling
        # The part of it that is for this process; the others of the account have the rest.
        self.account_fraction = 1.0
        # Where the limit is thought to be, in calls per second; 0 where nothing is known.
        self._estimate = 0.0
        # Cuts of this process and of those that told it: whose knowledge is newer.
        self._cuts = 0
        # Between the first cut and the second one, which tells the limit.
        self._is_searching = False
        # The number of the last call before the last cut: up to it, answers are about the past.
        self._last_call_before_cut = 0
        # The last throttled call: from it to the next one the goodput is counted.
        self._last_throttled: Permit | None = None
        # When the first call was due: the goodput before the first throttled one counts from it.
        self._first_turn: float | None = None
        # Until then throttled calls may be an echo of the last cut, whichever process of the
        # account has made it: until all have heard of it they send at the old rate.
        self._echoes_until = now
        # Up to when the rate has grown already: the last success that counted, or the last cut.
        self._climb_credited_until = now
        self._schedule = Schedule(next_turn=now, paused_until=now)

    @property
    def own_rate(self) -> float:
        """The calls per second that this process may make."""
        return self.rate * self.account_fraction

    @property
    def learnt(self) -> RateEstimate:
        """What the answers have taught this process, or others that told it."""
        return RateEstimate(self._cuts, self.rate, self._estimate)

    @property
    def phase(self) -> RatePhase:
        """Where the rate is now."""
        if not self._cuts:
            return RatePhase.UNTHROTTLED
        if self.rate < self._estimate:
            return RatePhase.RECOVERING
        slow_climb = SLOW_CLIMB if self.account_fraction == 1 else SHARED_SLOW_CLIMB
        if self.rate < self._estimate * (1 + slow_climb):
            return RatePhase.CREEPING
        if self._is_searching:
            return RatePhase.SEARCHING
        return RatePhase.CLIMBING

    # Turns. Whoever has reserved one that moves has to reserve again.

    @property
    def has_reserved_turn(self) -> bool:
        """Whether a call waits for its turn."""
        return self._schedule.reserved is not None

    def reserve(self, ready: float, now: float) -> float:
        """Reserve the next turn for a call that could have gone since `ready`; return its time."""
        turn, self._schedule = self._schedule.reserve(ready, now, self._spacing)
        if self._first_turn is None:
            self._first_turn = turn
        return turn

    def clear_reservation(self) -> None:
        """Record that the call with the reserved turn has gone, or will reserve another."""
        self._schedule = self._schedule.clear_reservation()

    def take_back(self, now: float) -> None:
        """Take back a turn that was not used, as its call was not sent. A reserved one moves."""
        self._schedule = self._schedule.take_back(now, self._spacing)

    def pause(self, seconds: float, now: float) -> None:
        """Give no turn for `seconds`. A reserved one moves."""
        # A pause shorter than the spacing must not quicken the rate.
        self._schedule = self._schedule.pause(now + max(seconds, self._spacing))

    # Beside other processes

    def use_share(
        self,
        account_fraction: float,
        qps: float,
        learnt: RateEstimate,
        sent: int,
        now: float,
    ) -> None:
        """Use a part of an account with the ceiling `qps`, and what its processes have `learnt`.

        `sent` is how many calls this process has made. A reserved turn moves.
        """
        before = self.own_rate
        self._ceiling = qps * RATE_MARGIN
        if learnt > self.learnt:
            if learnt.cuts > self._cuts:
                self._last_call_before_cut = sent
                self._echoes_until = now + HEARD_SECONDS
            self._cuts = learnt.cuts
            self.rate = learnt.rate
            self._estimate = learnt.estimate
        # Without any cut the rate is the ceiling, even if another process's config had lowered it.
        self.rate = min(self.rate, self._ceiling) if self._cuts else self._ceiling
        self.account_fraction = account_fraction
        self._schedule = self._schedule.respace(now, before, self.own_rate)

    # Answers

    def cut(self, permit: Permit, sent: int, now: float) -> bool:
        """Record that the call of `permit` was throttled, after `sent` calls in all.

        Returns whether the rate was cut, by which a reserved turn moves.
        """
        last_throttled = self._last_throttled
        self._last_throttled = permit
        if permit.number <= self._last_call_before_cut:
            return False
        if permit.at < self._echoes_until:
            # This or another process has just cut for the same account: this is hardly a second
            # drop of the provider's limit.
            self.rate = max(self._floor, self.rate * CUT_KEEPS_AT_MOST)
            self._estimate = self.rate
        elif self._cuts:
            self._cut_to_goodput(self._measure_goodput(last_throttled, permit))
        else:
            self._cut_for_the_first_time(permit)
        self._cuts += 1
        self._last_call_before_cut = sent
        self._climb_credited_until = now
        is_shared = self.account_fraction < 1
        self._echoes_until = now + HEARD_SECONDS if is_shared else now
        self._schedule = self._schedule.restart(now, self._spacing)
        return True

    def grow(self, permit: Permit, now: float) -> None:
        """Record that the call of `permit` went well."""
        # A call that the rate did not hold up does not show that there was more to send.
        if permit.number <= self._last_call_before_cut or not permit.paced:
            return
        # Time in which nothing was sent proves nothing.
        passed = min(now - self._climb_credited_until, 2 * self._spacing)
        self._climb_credited_until = now
        match self.phase:
            case RatePhase.UNTHROTTLED:
                return
            case RatePhase.RECOVERING:
                grown = min(self.rate * (1 + QUICK_CLIMB * passed), self._estimate)
            case RatePhase.CREEPING:
                # Of the whole slow climb, the part that one second does.
                part = max(self.rate / SLOW_CLIMB_CALLS, 1 / SLOW_CLIMB_SECONDS)
                grown = self.rate * (1 + SLOW_CLIMB * passed * part)
            case RatePhase.SEARCHING:
                grown = self.rate * (1 + SEARCH_CLIMB * passed)
            case RatePhase.CLIMBING:
                grown = self.rate * (1 + QUICK_CLIMB * passed)
        self.rate = min(grown, self._ceiling)

    def _cut_for_the_first_time(self, permit: Permit) -> None:
        """Cut to what has got through since the beginning, less what a full bucket had to give.

        If the limit is reached only late, the rate was not far above it, and hardly falls.
        """
        through = permit.number - 1
        if through < FEW_CALLS or self._first_turn is None:
            self._cut_to_goodput(None)
            return
        seconds = permit.at - self._first_turn + BUCKET_SECONDS
        goodput = through / (seconds * self.account_fraction)
        self.rate = max(self._floor, min(goodput, self.rate * CUT_KEEPS_AT_MOST))
        # What the bucket held is a guess, so there is no estimate worth creeping around.
        self._estimate = 0.0
        self._is_searching = True

    def _measure_goodput(
        self, last_throttled: Permit | None, permit: Permit
    ) -> Goodput | None:
        """Return what the account let through between two throttled calls.

        `None` where this is the first one, or no time passed.
        """
        if last_throttled is None or last_throttled.at >= permit.at:
            return None
        # The calls sent between the two. They got through, as far as is known: one that was
        # throttled would be the last throttled call itself.
        through = permit.number - last_throttled.number - 1
        # This process had a fraction of the account's rate; the others sent the rest meanwhile.
        seconds = (permit.at - last_throttled.at) * self.account_fraction
        return Goodput(through, through / seconds, (through + 1) / seconds)

    def _cut_to_goodput(self, goodput: Goodput | None) -> None:
        """Cut to the `goodput` within bounds; where none could be measured, by as little as can be.

        | bound | in calls per second                | why                                  |
        |-------|------------------------------------|--------------------------------------|
        | most  | `CUT_KEEPS_AT_MOST` of the rate    | a cut has to change something        |
        | least | `CUT_KEEPS_AT_LEAST` of the rate   | one count is noisy                   |
        | least | `RECUT_KEEPS_AT_LEAST` of it       | if the last cut was not enough       |
        | low   | the calls counted                  | so many surely got through           |
        | high  | the calls counted and one more     | the estimate, where few were counted |
        | floor | `RATE_FLOOR` or `RATE_FLOOR_SHARE` | a recovery has to be noticed         |
        """
        self._is_searching = False
        most = self.rate * CUT_KEEPS_AT_MOST
        if goodput is None:
            self.rate = max(self._floor, most)
            self._estimate = self.rate
            return
        was_enough = goodput.calls >= CUT_WAS_ENOUGH_CALLS
        keeps_at_least = CUT_KEEPS_AT_LEAST if was_enough else RECUT_KEEPS_AT_LEAST
        least = self.rate * keeps_at_least
        self.rate = max(self._floor, least, min(goodput.low, most))
        if goodput.low == 0:
            # Nothing got through. It may have been an outage, so that no limit is known.
            self._estimate = 0.0
            return
        is_sure = goodput.calls >= SURE_CALLS
        estimate = goodput.low if is_sure else goodput.high
        self._estimate = max(self.rate, min(estimate, most))

    @property
    def _spacing(self) -> float:
        """Seconds between two calls of this process."""
        return 1 / self.own_rate
