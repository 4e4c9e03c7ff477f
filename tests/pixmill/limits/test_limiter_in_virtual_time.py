"""The limiter against providers with hidden and moving limits, in virtual time: nothing here sleeps."""

import heapq
import random
import threading
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import pytest

from pixmill.limits.feedback import Feedback, Permit
from pixmill.limits.limiter import CallLimiter
from pixmill.simulator import limits
from pixmill.simulator.limits import AccountLimits
from pixmill.tuning import CALM_CALLS, RATE_FLOOR
from tests.conftest import Project, simulator
from tests.pixmill.run_checks import configure_run, run_and_check, simulator_charges

pytestmark = pytest.mark.slow

SEEDS = range(40)
OK, FAULT = Feedback.OK, Feedback.FAULT
TOO_FAST, TOO_MANY = Feedback.RATE_LIMITED, Feedback.CONCURRENCY_LIMITED


class Hidden(NamedTuple):
    """What an account may do: calls per second, calls in flight, and the seconds that a call takes, give or take."""

    qps: float
    concurrency: int
    latency: float

    @property
    def allowed(self) -> float:
        """Calls per second, whichever limit binds."""
        return min(self.qps, self.concurrency / self.latency)

    @property
    def halved(self) -> "Hidden":
        """The same account with half of both limits."""
        return Hidden(self.qps / 2, self.concurrency // 2, self.latency)

    def limiter(
        self, world: "World", ceiling: float = 4, start: int | None = None
    ) -> CallLimiter:
        """A limiter with ceilings that many times too high."""
        most = int(ceiling * self.concurrency)
        return CallLimiter(
            ceiling * self.qps, most, start=start, clock=world.read, wait=world.wait
        )


class World:
    """Virtual time and a provider in it: a token bucket of a second, slots, and throttled answers after 50 ms.

    `faults` is the share of calls that end in a 5xx, `bucket` how many seconds' worth of calls the bucket holds.
    """

    def __init__(
        self,
        hidden: Hidden,
        seed: int = 0,
        faults: float = 0.0,
        throttled_after: float = 0.05,
        bucket: float = 1.0,
    ) -> None:
        self.hidden = hidden
        self.faults = faults
        self.throttled_after = throttled_after
        self.now = 0.0
        self.answers: list[tuple[float, Feedback]] = []
        self.peaks: list[tuple[float, int]] = []
        self._random, self._order = random.Random(seed), count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._account = AccountLimits(
            hidden.qps, hidden.concurrency, clock=self.read, burst=bucket
        )

    def read(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float | None) -> None:
        """Let time pass: for `seconds`, or until `event`."""
        if seconds is not None:
            self._pass(self.now + seconds)
        while seconds is None and not event.is_set():
            self._pass(self._events[0][0])

    def run(self, limiter: CallLimiter, calls: float, *, until: float = 1e9) -> None:
        """Make calls for the time that so many take at the allowed rate."""
        end = min(until, self.now + calls / self.hidden.allowed)
        while self.now < end:
            call = limiter.acquire()
            assert call
            self.peaks.append((self.now, limiter.in_flight))
            verdict, seconds = self._answer()
            self._later(seconds, self._leaving(limiter, call, verdict))

    def counted(self, since: float = 0.0) -> tuple[int, int]:
        """How many calls were served since then, and how many were throttled."""
        verdicts = [verdict for at, verdict in self.answers if at >= since]
        throttled = sum(verdict in (TOO_FAST, TOO_MANY) for verdict in verdicts)
        return len(verdicts) - throttled, throttled

    def _answer(self) -> tuple[Feedback, float]:
        self._account.change(self.hidden.qps, self.hidden.concurrency)
        code = self._account.enter()
        if code is not None:
            throttled = TOO_FAST if code == limits.TOO_FAST else TOO_MANY
            return throttled, self.throttled_after
        fault = self._random.random() < self.faults
        return FAULT if fault else OK, self.hidden.latency * self._random.uniform(
            0.7, 1.3
        )

    def _leaving(
        self, limiter: CallLimiter, call: Permit, verdict: Feedback
    ) -> Callable[[], None]:
        def release() -> None:
            if verdict in (OK, FAULT):
                self._account.leave()
            self.answers.append((self.now, verdict))
            limiter.release(call, verdict, answered=True)

        return release

    def _later(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), happens))

    def _pass(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            at, _, happens = heapq.heappop(self._events)
            self.now = max(self.now, at)
            happens()
        self.now = max(self.now, until)


def drawn(seed: int, least: int = 1) -> Hidden:
    """2 to 50 calls/s and `least` to 40 in flight, small numbers as often as large ones."""
    chance = random.Random(seed)
    qps, concurrency = 2 * 25 ** chance.random(), round(40 ** chance.random())
    return Hidden(qps, max(least, concurrency), chance.choice([1.0, 2.0, 6.0]))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


# Limits that stand


@pytest.mark.parametrize("faults", [0.0, 0.02], ids=["no fault", "2 % faults"])
def test_a_run_with_ceilings_four_times_too_high_uses_what_is_allowed(
    faults: float,
) -> None:
    """E1, E2, E3: 600 calls, the search included, and the last 400 of them."""
    used: list[float] = []
    throttled: list[float] = []
    later_used: list[float] = []
    later_throttled: list[float] = []
    for seed in SEEDS:
        hidden = drawn(seed)
        world = World(hidden, seed, faults)
        limiter = hidden.limiter(world)
        world.run(limiter, 200)
        settled = world.now
        world.run(limiter, 400)
        served, turned_away = world.counted()
        used.append(served / (world.now * hidden.allowed))
        throttled.append(turned_away / (served + turned_away))
        served, turned_away = world.counted(settled)
        later_used.append(served / ((world.now - settled) * hidden.allowed))
        later_throttled.append(turned_away / (served + turned_away))
    assert mean(used) >= 0.95
    assert min(used) >= 0.9
    assert mean(throttled) <= 0.02
    assert max(throttled) <= 0.03
    assert mean(later_used) >= 0.97
    assert min(later_used) >= 0.93
    assert mean(later_throttled) <= 0.01
    assert max(later_throttled) <= 0.02


@pytest.mark.parametrize("ceiling", [1.25, 2, 4])
def test_a_short_run_finds_its_rate_by_few_throttled_calls(ceiling: float) -> None:
    """E1: 360 calls at 8 a second; most of the throttled ones used to be in the first second."""
    used: list[float] = []
    throttled: list[float] = []
    for seed in SEEDS:
        hidden = Hidden(
            qps=8, concurrency=40, latency=random.Random(seed).uniform(0.1, 1)
        )
        world = World(hidden, seed)
        limiter = hidden.limiter(world, ceiling)
        world.run(limiter, 360)
        served, turned_away = world.counted()
        used.append(served / (world.now * hidden.allowed))
        throttled.append(turned_away / (served + turned_away))
    assert mean(used) >= 0.98
    assert min(used) >= 0.97
    assert mean(throttled) <= 0.0145
    assert max(throttled) <= 0.02


def test_a_provider_that_allows_no_burst_is_not_taken_for_a_slower_one() -> None:
    """E1: what a full bucket holds is a guess. Where it is less, the first cut goes too low, but not for long."""
    used: list[float] = []
    for seed in SEEDS:
        hidden = drawn(seed)._replace(concurrency=400, latency=0.2)
        world = World(hidden, seed, bucket=0.25)
        limiter = hidden.limiter(world, 2)
        world.run(limiter, 600)
        served, _ = world.counted()
        used.append(served / (world.now * hidden.allowed))
    assert mean(used) >= 0.92
    assert min(used) >= 0.85


def test_an_in_flight_limit_that_finds_itself_ends_where_a_given_one_does() -> None:
    """`concurrency: auto`: from 2, with a ceiling far above."""
    for seed in SEEDS:
        hidden = drawn(seed)._replace(qps=50, latency=2)
        world = World(hidden, seed)
        limiter = hidden.limiter(world, 40, start=2)
        assert limiter.in_flight_limit == 2
        world.run(limiter, 300)
        settled = world.now
        world.run(limiter, 300)
        served, _ = world.counted(settled)
        assert served >= 0.9 * (world.now - settled) * hidden.allowed
        assert limiter.in_flight_limit in (hidden.concurrency, hidden.concurrency + 1)


def test_no_limit_is_ever_above_its_ceiling() -> None:
    """I8: a provider that never throttles is not asked for more than the config says."""
    hidden = Hidden(qps=10, concurrency=8, latency=1)
    world = World(Hidden(qps=1000, concurrency=1000, latency=1))
    limiter = hidden.limiter(world, 1, start=2)
    world.run(limiter, 1e9, until=120)
    assert (limiter.in_flight_limit, limiter.rate_limit) == (8, 10)
    assert max(peak for _, peak in world.peaks) == 8
    served, throttled = world.counted()
    assert served == pytest.approx(8 * 120, rel=0.1)
    assert throttled == 0


def test_slow_start_doubles_every_round() -> None:
    hidden = Hidden(qps=1000, concurrency=64, latency=1)
    world = World(hidden)
    limiter = hidden.limiter(world, 1, start=2)
    limits = []
    for second in range(1, 10):
        world.run(limiter, 1e6, until=1.35 * second)
        limits.append(limiter.in_flight_limit)
    assert limits == sorted(limits)
    assert limits[:2] == [4, 8]
    assert limits[-1] == 64


# Limits that move


def test_a_drop_is_met_within_one_round_of_calls_and_its_end_is_noticed() -> None:
    """E3: both limits halve for 500 calls, then come back."""
    met: list[float] = []
    used: list[float] = []
    for seed in SEEDS:
        before = drawn(seed, least=2)
        world = World(before, seed)
        limiter = before.limiter(world)
        world.run(limiter, 500)
        world.hidden = before.halved
        dropped = world.now
        world.run(limiter, 1e9, until=dropped + 2 * before.latency)
        met.append(world.counted(dropped)[1])
        world.run(limiter, 500)
        served, throttled = world.counted(dropped)
        assert served >= 0.9 * (world.now - dropped) * world.hidden.allowed
        assert throttled <= 0.04 * served
        world.hidden = before
        world.run(limiter, 500)
        back = world.now
        world.run(limiter, 500)
        served, throttled = world.counted(back)
        used.append(served / ((world.now - back) * before.allowed))
        assert throttled <= 0.04 * served
    assert mean(met) <= 3
    assert max(met) <= 8
    assert mean(used) >= 0.95
    assert min(used) >= 0.85


def test_a_run_whose_limits_change_twice_uses_what_is_allowed() -> None:
    """E3: both limits halve after 400 to 700 calls, come back after as many more, and are searched for each time."""
    used: list[float] = []
    throttled: list[float] = []
    for seed in SEEDS:
        before = drawn(seed, least=2)
        calls = random.Random(f"calls {seed}").randint(400, 700)
        world, allowed = World(before, seed), 0.0
        limiter = before.limiter(world)
        for hidden in (before, before.halved, before):
            world.hidden, begun = hidden, world.now
            world.run(limiter, calls)
            allowed += (world.now - begun) * hidden.allowed
        served, refused = world.counted()
        used.append(served / allowed)
        throttled.append(refused / (served + refused))
    assert mean(used) >= 0.93
    assert mean(throttled) <= 0.02
    assert max(throttled) <= 0.03


def test_ten_minutes_of_nothing_but_throttling_neither_storm_nor_stall_and_are_soon_forgotten() -> (
    None
):
    """I7: a call now and then, or one at a time; two minutes later all that is allowed is used."""
    for code in (TOO_FAST, TOO_MANY):
        hidden = Hidden(qps=20, concurrency=20, latency=1)
        world = World(hidden)
        limiter = hidden.limiter(world, 1)
        world.run(limiter, 200)
        begun = world.now
        world.hidden = (
            hidden._replace(qps=1e-9)
            if code is TOO_FAST
            else hidden._replace(concurrency=0)
        )
        while world.now < begun + 600:
            call = limiter.acquire()
            assert call
            world._later(0.05, world._leaving(limiter, call, code))
        if code is TOO_FAST:
            assert limiter.rate_limit <= 0.01 * hidden.qps
        else:
            assert limiter.in_flight_limit == 1
        _, asked = world.counted(begun)
        assert asked >= 600 * RATE_FLOOR
        world.hidden = hidden
        world.run(limiter, 1e9, until=world.now + 120)
        served, _ = world.counted(world.now - 20)
        assert served >= 0.9 * 20 * hidden.allowed


# One rule each


class Still:
    """A limiter under a clock that only tests move; calls never wait."""

    def __init__(
        self, qps: float = 1000, concurrency: int = 100, start: int | None = None
    ) -> None:
        self.now = 0.0
        self.limiter = CallLimiter(
            qps, concurrency, start=start, clock=lambda: self.now, wait=self.wait
        )

    def wait(self, _event: threading.Event, seconds: float | None) -> None:
        assert seconds is not None, "nobody would free a slot"
        self.now += seconds

    def sent(self, calls: int) -> list[Permit]:
        return [call for _ in range(calls) if (call := self.limiter.acquire())]

    def answered(self, verdict: Feedback, *calls: Permit) -> None:
        for call in calls:
            self.limiter.release(call, verdict, answered=True)


def test_a_burst_of_throttled_calls_cuts_the_rate_once() -> None:
    """Those that were sent before the cut say nothing new, however late they are answered."""
    still = Still()
    calls = still.sent(20)
    still.answered(TOO_FAST, calls[3])
    cut = still.limiter.rate_limit
    assert cut < 1000
    still.now += 5
    still.answered(TOO_FAST, *calls[4:])
    assert still.limiter.rate_limit == cut
    still.answered(TOO_FAST, *still.sent(1))
    assert still.limiter.rate_limit < cut


def test_a_burst_of_throttled_calls_cuts_the_in_flight_limit_once_to_what_was_taken() -> (
    None
):
    still = Still()
    calls = still.sent(20)
    still.answered(TOO_MANY, *calls[12:])
    assert (still.limiter.in_flight_limit, still.limiter.rate_limit) == (12, 1000)


def test_a_cut_that_was_not_enough_is_followed_by_a_larger_one() -> None:
    """E2: the limit has dropped, so the calls in flight are those of another time."""
    still = Still()
    calls = still.sent(20)
    still.answered(TOO_MANY, calls[12])
    still.answered(OK, *calls[:9])
    still.answered(TOO_MANY, *still.sent(1))
    assert still.limiter.in_flight_limit == 7


def test_an_idle_limit_does_not_grow() -> None:
    """The saturation gate: successes with a quarter of the limit in use prove nothing about the limit."""
    still = Still(start=8)
    for _ in range(100):
        still.answered(OK, *still.sent(2))
    assert still.limiter.in_flight_limit == 8
    still.answered(OK, *still.sent(7))
    still.answered(OK, *still.sent(7))
    assert still.limiter.in_flight_limit == 16


def test_a_fault_stops_growth_until_answers_are_calm_again() -> None:
    """D18, D19: a service in trouble is not asked for more."""
    still = Still(start=4)
    still.answered(FAULT, *still.sent(1))
    for _ in range((CALM_CALLS - 1) // 4):
        still.answered(OK, *still.sent(4))
    assert still.limiter.in_flight_limit == 4
    for _ in range(3):
        still.answered(OK, *still.sent(4))
    assert still.limiter.in_flight_limit > 4


def test_a_rate_that_is_not_used_does_not_grow() -> None:
    """Only calls that waited for their turn show that a higher rate would have been used."""
    still = Still(qps=100)
    still.answered(TOO_FAST, *still.sent(1))
    cut = still.limiter.rate_limit
    for _ in range(50):
        still.now += 1
        still.answered(OK, *still.sent(1))
    assert still.limiter.rate_limit == cut
    for _ in range(50):
        still.answered(OK, *still.sent(2))
    assert still.limiter.rate_limit > cut


# Whole runs


def test_a_run_finds_the_in_flight_limit_by_itself(project: Project) -> None:
    """E2: a real provider that takes three calls at once."""
    with simulator(
        project.folder, "--concurrency", "3", "--latency", "0.02"
    ) as simulated:
        run = run_and_check(
            configure_run(project, simulated.url, 60, limits={"concurrency": "auto"}),
            simulator_charges(simulated),
        )
        throttled = sum(line["code"] == 50430 for line in simulated.bill.lines())
    assert (run.report["exit_code"], run.report["succeeded"]) == (0, 60)
    assert throttled <= 12
