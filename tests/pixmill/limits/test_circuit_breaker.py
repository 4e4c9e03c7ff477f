"""The breaker and the retry budget: an outage costs a few calls, and its end is noticed."""

from itertools import count

import pytest

from pixmill.limits.circuit_breaker import (
    FIRST_PAUSE,
    IN_A_ROW,
    LONGEST_PAUSE,
    PATIENCE,
    CircuitBreaker,
)
from pixmill.limits.limiter import CallLimiter
from pixmill.limits.rate import Permit
from pixmill.limits.retry_budget import AT_ONCE, PER_SECOND, RetryBudget
from pixmill.provider.error_codes import Verdict
from tests.pixmill.limits.test_limiter_in_virtual_time import Still

OK, FAULT, LOST = Verdict.SUCCEEDED, Verdict.RETRY, Verdict.IN_DOUBT


class Calls:
    """A breaker, and the calls that it lets through one after another."""

    def __init__(self) -> None:
        self.breaker, self._numbers, self.now = CircuitBreaker(), count(1), 0.0

    def release(self) -> Permit:
        call = Permit(next(self._numbers), 0.0, 0, paced=True)
        self.breaker.on_sent(call)
        return call

    def hear(self, *verdicts: Verdict | None) -> float | None:
        """The pause after the last of calls that end so."""
        pause = None
        for verdict in verdicts:
            call = self.release()
            pause = self.breaker.hear(call, verdict, call.number, self.now)
        return pause


@pytest.mark.parametrize("fault", [FAULT, LOST])
def test_faults_in_a_row_open_it(fault: Verdict) -> None:
    """D1, D18: whether they say so or say nothing."""
    calls = Calls()
    assert calls.hear(OK, *[fault] * (IN_A_ROW - 1)) is None
    assert not calls.breaker.is_open
    assert calls.hear(fault) == FIRST_PAUSE
    assert calls.breaker.is_open


@pytest.mark.parametrize(
    "between", [OK, Verdict.REFUSED, Verdict.FAILED, Verdict.THROTTLE_RATE]
)
def test_an_answer_of_the_service_between_faults_keeps_it_closed(
    between: Verdict,
) -> None:
    """D19: a brown-out is not an outage."""
    calls = Calls()
    for _ in range(3):
        assert calls.hear(OK, *[FAULT] * (IN_A_ROW - 1), between) is None
    assert not calls.breaker.is_open


def test_a_service_that_was_never_seen_to_work_is_no_outage() -> None:
    """I1f: a wrong address ends soon, by the attempts of its jobs, and not after probes."""
    calls = Calls()
    assert calls.hear(*[FAULT] * 100) is None
    assert not calls.breaker.is_open


def test_while_open_one_call_at_a_time_probes_after_pauses_that_double() -> None:
    calls = Calls()
    calls.hear(OK, *[FAULT] * IN_A_ROW)
    pauses = []
    for _ in range(8):
        assert not calls.breaker.is_half_open
        probe = calls.release()
        assert calls.breaker.is_half_open
        pauses.append(calls.breaker.hear(probe, FAULT, probe.number, 0.0))
    assert pauses == [1, 2, 4, 8, 15, 15, 15, 15]
    assert LONGEST_PAUSE == 15


def test_the_first_probe_that_is_answered_closes_it() -> None:
    calls = Calls()
    calls.hear(OK, *[FAULT] * (IN_A_ROW + 3))
    assert calls.hear(OK) is None
    assert not calls.breaker.is_open
    assert calls.hear(*[FAULT] * IN_A_ROW) == FIRST_PAUSE


def test_calls_from_before_it_opened_change_nothing() -> None:
    """They say how the service was then."""
    calls = Calls()
    late, later = calls.release(), calls.release()
    calls.hear(OK, *[FAULT] * IN_A_ROW)
    assert calls.breaker.hear(late, OK, 9, 0.0) is None
    assert calls.breaker.is_open
    assert calls.breaker.hear(later, FAULT, 9, 0.0) is None
    assert calls.hear(FAULT) == 2 * FIRST_PAUSE


def test_an_outage_of_more_than_half_an_hour_is_hopeless() -> None:
    """I7: a run ends; each probe without an answer costs a job."""
    calls = Calls()
    calls.hear(OK, *[FAULT] * IN_A_ROW)
    calls.now = PATIENCE
    calls.hear(FAULT)
    assert not calls.breaker.outage_exceeded(PATIENCE)
    assert calls.breaker.outage_exceeded(PATIENCE + 1)
    calls.hear(OK)
    assert not calls.breaker.outage_exceeded(2 * PATIENCE)


def test_a_probe_that_was_not_sent_makes_way_for_the_next_one() -> None:
    calls = Calls()
    calls.hear(OK, *[FAULT] * IN_A_ROW)
    calls.hear(None)
    assert not calls.breaker.is_half_open
    assert calls.breaker.is_open


def test_the_limiter_lets_a_single_call_through_while_the_service_is_out() -> None:
    still = Still(qps=100, concurrency=10)
    still.answered(OK, *still.sent(1))
    still.answered(FAULT, *still.sent(IN_A_ROW))
    assert still.limiter.is_open
    opened = still.now
    probe = still.limiter.acquire()
    assert probe
    assert still.now == pytest.approx(opened + FIRST_PAUSE)
    with pytest.raises(AssertionError, match="nobody would free a slot"):
        still.limiter.acquire()
    still.answered(OK, probe)
    assert not still.limiter.is_open
    assert len(still.sent(10)) == 10


def test_repeats_are_a_tenth_of_the_calls_and_one_a_second() -> None:
    budget = RetryBudget(0.0)
    assert [budget.withdraw(0.0) for _ in range(int(AT_ONCE))] == [0.0] * int(AT_ONCE)
    assert budget.withdraw(0.0) == pytest.approx(1 / PER_SECOND)
    for _ in range(30):
        budget.deposit()
    assert [budget.withdraw(0.0) for _ in range(2)] == [0.0, 0.0]
    assert budget.withdraw(0.0) == pytest.approx(1 / PER_SECOND)
    assert budget.withdraw(60.0) == 0.0


def test_repeats_that_were_not_used_do_not_pile_up() -> None:
    budget = RetryBudget(0.0)
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw(1e6) == 0.0 for _ in range(100)) == AT_ONCE


def test_a_storm_of_repeats_is_spread_out() -> None:
    """D18, D19: a hundred repeats at once become one a second, beside a tenth of the first calls."""
    limiter = CallLimiter(1000, 100)
    waits = [limiter.reserve_retry() for _ in range(100)]
    assert max(waits) == pytest.approx(90 / PER_SECOND, abs=1)
    assert sorted(waits) == waits
