"""How processes divide an account's limits: the arithmetic, and what a limiter makes of its share. Nothing sleeps."""

import threading
from random import Random
from typing import Any, cast

import pytest

from pixmill.errors import PixmillError
from pixmill.ledger import Ledger
from pixmill.limits.account_lease import LeaseRenewer
from pixmill.limits.concurrency import AdaptiveConcurrencyLimit
from pixmill.limits.fair_share import (
    UNLIMITED,
    LeaseRecord,
    UsageReport,
    allocate,
    divide_rate,
    divide_slots,
)
from pixmill.limits.feedback import Feedback, Permit
from pixmill.limits.limiter import CallLimiter
from pixmill.limits.rate import AdaptiveRateLimit
from pixmill.tuning import KEEPS_UP_SHARE, RATE_MARGIN

WHOLE = 1 + 1e-9
"""All of a rate, give or take what binary fractions can't say."""


def report(
    held: int = 0,
    wanted: int = 100,
    rate: float = UNLIMITED,
    concurrency: int = 10,
    qps: float = 20,
) -> UsageReport:
    """What a process says that has learnt nothing yet."""
    return UsageReport(
        held,
        wanted,
        rate,
        concurrency,
        qps,
        AdaptiveConcurrencyLimit(concurrency, concurrency).learnt,
        AdaptiveRateLimit(qps, now=0).learnt,
    )


class Account:
    """Processes that report to the same ledger, each by its number, and a limit that must hold at every moment."""

    def __init__(self, processes: int, limit: int = 10) -> None:
        self.limit = limit
        self.leases: dict[int, LeaseRecord] = {}
        self.may = dict.fromkeys(range(processes), 0)
        self.in_flight = dict.fromkeys(range(processes), 0)

    def reports(self, who: int, wanted: int = 100, rotation: int = 0) -> None:
        others = [
            lease for number, lease in sorted(self.leases.items()) if number != who
        ]
        mine = report(
            max(self.may[who], self.in_flight[who]), wanted, concurrency=self.limit
        )
        share, self.leases[who] = allocate(
            mine, others, sum(number < who for number in self.leases), rotation
        )
        self.may[who] = min(share.slots, self.limit - share.held_by_others)
        assert sum(lease.report.held for lease in self.leases.values()) <= self.limit
        assert sum(lease.account_fraction for lease in self.leases.values()) <= WHOLE

    def uses(self, who: int, calls: int) -> None:
        """Calls begin and end: as many are in flight then as there may be, or as before where that is more."""
        started = min(calls, self.may[who])
        self.in_flight[who] = max(started, min(calls, self.in_flight[who]))
        assert sum(self.in_flight.values()) <= self.limit


@pytest.mark.parametrize("seed", range(20))
def test_together_they_never_hold_more_than_the_limit_and_soon_each_has_its_part(
    seed: int,
) -> None:
    """I8: whoever reports when, wants what, and has calls that take how long."""
    chance = Random(seed)
    account = Account(processes=chance.randint(2, 6), limit=chance.randint(6, 40))
    everybody = range(len(account.may))
    for _ in range(300):
        who = chance.choice(everybody)
        account.uses(who, chance.randint(0, 40))
        account.reports(who, wanted=chance.choice((1, 3, 100)))
    for _ in range(6):
        for who in everybody:
            account.uses(who, account.may[who])
            account.reports(who)
    assert sum(account.may.values()) == account.limit
    assert max(account.may.values()) - min(account.may.values()) <= 1


def test_who_is_alone_has_everything_and_a_later_one_gets_what_ends() -> None:
    account = Account(processes=2)
    account.reports(0)
    account.uses(0, 10)
    account.reports(1)
    assert account.may == {0: 10, 1: 0}
    for left in (10, 8, 5):
        account.uses(0, left)
        account.reports(0)
        account.reports(1)
    assert account.may == {0: 5, 1: 5}


def test_what_one_has_no_use_for_is_for_the_others() -> None:
    assert divide_slots(10, [1, 100, 100]) == [1, 4, 5]
    assert sum(divide_slots(10, [1, 2, 3])) == 10
    assert divide_rate([(1, 0.1), (1, UNLIMITED), (1, UNLIMITED)]) == pytest.approx(
        [0.1, 0.45, 0.45]
    )
    assert divide_rate([(2, UNLIMITED), (3, UNLIMITED)]) == pytest.approx([0.4, 0.6])
    assert sum(divide_rate([(2, 0.1), (3, 0.1)])) == pytest.approx(1)


def test_where_there_are_fewer_slots_than_processes_all_have_their_turn() -> None:
    """I7: nobody waits for the end of the others."""
    given = [divide_slots(2, [5, 5, 5], rotation) for rotation in range(3)]
    assert all(sum(slots) == 2 for slots in given)
    assert all(map(any, zip(*given, strict=True)))


def test_the_smallest_of_their_ceilings_holds_for_all() -> None:
    """I8: a limit in a config is what its owner says the account may do."""
    share, _ = allocate(
        report(concurrency=10, qps=20),
        [LeaseRecord(report(2, concurrency=4, qps=3), 0.5)],
    )
    assert (share.slots, share.concurrency, share.qps) == (2, 4, 3)


def test_the_last_cut_is_heard_and_two_of_one_burst_are_one() -> None:
    """E2, E3: a 50430 seen by one process lowers the limit of all, and counts once."""
    first, second = AdaptiveConcurrencyLimit(10, 10), AdaptiveConcurrencyLimit(10, 10)
    for slots, beside in ((first, 5), (second, 6)):
        assert slots.cut(Permit(1, 0.0, beside, paced=True), sent=9)
    assert max(first.learnt, second.learnt).limit == 6
    third = AdaptiveConcurrencyLimit(10, 10)
    third.use_share(3, 10, max(first.learnt, second.learnt), sent=4)
    assert third.limit == 6
    assert not third.cut(Permit(4, 0.0, 5, paced=True), sent=5), (
        "a call from before it heard of the cut"
    )
    third.use_share(3, 10, AdaptiveConcurrencyLimit(10, 10).learnt, sent=6)
    assert third.limit == 6, "who has not heard of the cut yet does not undo it"


# A limiter and its share


class Shared:
    """A limiter that shares its account, under a clock that only tests and waits move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limiter = CallLimiter(
            20, 10, shared=True, clock=lambda: self.now, wait=self.wait
        )

    def wait(self, event: threading.Event, seconds: float | None) -> None:
        if seconds is None:
            self.limiter.stop()
        elif not event.is_set():
            self.now += seconds

    def takes(self, *others: LeaseRecord, until: float = 1e9) -> None:
        mine = self.limiter.report_usage() or report()
        self.limiter.use_share(allocate(mine, others)[0], until)

    def sent(self, calls: int) -> list[Permit]:
        """Up to so many calls; fewer where one would have to wait for a slot."""
        return [call for _ in range(calls) if (call := self.limiter.acquire())]


def test_nothing_is_sent_before_there_is_a_share() -> None:
    shared = Shared()
    assert shared.sent(1) == []
    assert shared.limiter.usage_changed.is_set(), "nobody asks for a share"


def test_only_its_share_is_in_flight_and_at_its_portion_of_the_rate() -> None:
    shared = Shared()
    shared.takes(LeaseRecord(report(held=6), 0.75))
    assert len(shared.sent(10)) == 4
    assert shared.now == pytest.approx(3 / (20 * RATE_MARGIN * 0.25))


def test_a_share_whose_lease_has_ended_is_not_used() -> None:
    """A9: a process that was suspended, or can't reach its ledger: others may have it by now."""
    shared = Shared()
    shared.takes(until=5.0)
    assert len(shared.sent(2)) == 2
    shared.now = 6.0
    assert shared.sent(1) == []


def test_after_a_cut_only_what_the_others_leave_is_used_at_once() -> None:
    """E2: the account's limit was 10 and the others hold 6; with 8 in flight a call was one too many."""
    shared = Shared()
    shared.takes(LeaseRecord(report(held=6, wanted=6), 0.5))
    calls = shared.sent(3)
    shared.limiter.usage_changed.clear()
    shared.limiter.release(calls[2], Feedback.CONCURRENCY_LIMITED, answered=True)
    assert shared.limiter.in_flight_limit == 2
    assert shared.limiter.usage_changed.is_set(), "the others should hear of it at once"


def test_who_wants_nothing_lets_its_share_go() -> None:
    shared = Shared()
    shared.takes()
    shared.limiter.release(shared.sent(1)[0], Feedback.OK, answered=True)
    shared.takes()
    assert shared.limiter.report_usage() is None
    assert shared.sent(1) == []


def test_a_hold_that_another_process_was_asked_for_holds_here_too() -> None:
    """D11."""
    shared = Shared()
    share, _ = allocate(report(), [])
    shared.limiter.use_share(share._replace(pause_seconds=7.0), 1e9)
    shared.sent(1)
    assert shared.now == pytest.approx(7)


def test_a_larger_portion_is_used_by_the_call_that_waits_already() -> None:
    """A newcomer has next to nothing of the rate, until the others have let go of some."""
    shared = Shared()
    shared.takes(LeaseRecord(report(held=5), 0.999))
    shared.sent(1)
    rate = shared.limiter._rate
    reserved = rate.reserve(0.0, 0.0)
    assert reserved > 50
    rate.use_share(1.0, 20, rate.learnt, sent=1, now=0.0)
    assert rate.reserve(0.0, 0.0) == pytest.approx(1 / (20 * RATE_MARGIN))


def test_the_turn_of_a_call_that_was_not_sent_is_for_the_next_one() -> None:
    """H1: two runs of one table meet the same jobs, and the account's rate is for those that are sent."""
    shared = Shared()
    shared.takes()
    for _ in range(50):
        shared.limiter.release(shared.sent(1)[0])
    assert shared.now <= 2 / 20


def test_who_is_slow_once_wants_what_it_used_before_and_then_what_it_uses() -> None:
    """Calls that come in bursts make single looks differ, and what is not wanted goes to a newcomer at once."""
    shared = Shared()
    shared.takes()
    wanted = []
    for calls in (10, 3, 3):
        begun = shared.now
        for call in shared.sent(calls):
            shared.limiter.release(call, Feedback.OK, answered=True)
        shared.now = begun + 1
        mine = shared.limiter.report_usage()
        assert mine
        wanted.append(mine.wanted_rate)
        shared.limiter.use_share(allocate(mine, [])[0], 1e9)
    assert wanted == pytest.approx(
        [20 * RATE_MARGIN, 11 / KEEPS_UP_SHARE, 4 / KEEPS_UP_SHARE]
    )


@pytest.mark.parametrize(
    "answers", [0, 1], ids=["before it has a share", "when it has one"]
)
def test_a_bug_in_the_sharing_of_an_account_ends_the_run_with_a_reason(
    answers: int,
) -> None:
    """C18: without a share every thread would wait for one for ever."""

    class Broken:
        """A ledger that hands out a few shares, and then something that is none."""

        def __init__(self) -> None:
            self.left = answers

        def write(self, _apply: Any, ask: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"no share for {ask.account}")
            return allocate(ask.report, [])[0] if ask.report else None

    limiter = CallLimiter(20, 10, shared=True)
    heard: list[PixmillError] = []
    known = threading.Event()

    def failed(error: PixmillError) -> None:
        heard.append(error)
        limiter.stop()
        known.set()

    sharing = LeaseRenewer(limiter, cast(Ledger, Broken()), "main", failed)
    limiter.usage_changed.set()
    sharing.begin()
    while not known.wait(0.1):
        limiter.usage_changed.set()
    sharing.close()
    assert limiter.acquire() is None
    assert "internal error while sharing the account: ValueError" in str(heard[0])
