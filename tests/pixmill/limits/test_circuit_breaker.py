"""The breaker and the retry budget: an outage costs a few calls, and its end is noticed."""

from itertools import count

import pytest

from pixmill.limits.circuit_breaker import BreakerState, CircuitBreaker
from pixmill.limits.feedback import Feedback, Permit
from pixmill.limits.limiter import CallLimiter
from pixmill.limits.retry_budget import RetryBudget
from pixmill.tuning import (
    FAULTS_TO_OPEN,
    OUTAGE_SECONDS,
    PROBE_BACKOFF,
    REPEATS_AT_ONCE,
    REPEATS_PER_SECOND,
)
from tests.pixmill.limits.test_limiter_in_virtual_time import Still

OK = Feedback.OK
FAULT = Feedback.FAULT


class Calls:
    """A breaker, and the calls that it lets through one after another."""

    def __init__(self) -> None:
        self.breaker, self._numbers, self.now = CircuitBreaker(), count(1), 0.0

    def release(self) -> Permit:
        call = Permit(next(self._numbers), 0.0, 0, paced=True)
        self.breaker.record_departure(call)
        return call

    def hear(self, *verdicts: Feedback | None) -> float | None:
        """The pause after the last of calls that end so."""
        pause = None
        for verdict in verdicts:
            call = self.release()
            pause = self.breaker.record_answer(call, verdict, call.number, self.now)
        return pause


def test_faults_in_a_row_open_it() -> None:
    """D1, D18: whether they say so or say nothing."""
    calls = Calls()
    assert calls.hear(OK, *[FAULT] * (FAULTS_TO_OPEN - 1)) is None
    assert not calls.breaker.is_open
    assert calls.hear(FAULT) == PROBE_BACKOFF.first
    assert calls.breaker.is_open


@pytest.mark.parametrize("between", [OK, Feedback.RATE_LIMITED])
def test_an_answer_of_the_service_between_faults_keeps_it_closed(
    between: Feedback,
) -> None:
    """D19: a brown-out is not an outage."""
    calls = Calls()
    for _ in range(3):
        assert calls.hear(OK, *[FAULT] * (FAULTS_TO_OPEN - 1), between) is None
    assert not calls.breaker.is_open


def test_a_service_that_was_never_seen_to_work_is_no_outage() -> None:
    """I1f: a wrong address ends soon, by the attempts of its jobs, and not after probes."""
    calls = Calls()
    assert calls.hear(*[FAULT] * 100) is None
    assert not calls.breaker.is_open


def test_while_open_one_call_at_a_time_probes_after_pauses_that_double() -> None:
    calls = Calls()
    calls.hear(OK, *[FAULT] * FAULTS_TO_OPEN)
    pauses = []
    for _ in range(8):
        assert calls.breaker.state is BreakerState.OPEN
        probe = calls.release()
        assert calls.breaker.state is BreakerState.HALF_OPEN
        pauses.append(calls.breaker.record_answer(probe, FAULT, probe.number, 0.0))
    assert pauses == [1, 2, 4, 8, 15, 15, 15, 15]
    assert PROBE_BACKOFF.cap == 15


def test_the_first_probe_that_is_answered_closes_it() -> None:
    calls = Calls()
    calls.hear(OK, *[FAULT] * (FAULTS_TO_OPEN + 3))
    assert calls.hear(OK) is None
    assert not calls.breaker.is_open
    assert calls.hear(*[FAULT] * FAULTS_TO_OPEN) == PROBE_BACKOFF.first


def test_calls_from_before_it_opened_change_nothing() -> None:
    """They say how the service was then."""
    calls = Calls()
    late, later = calls.release(), calls.release()
    calls.hear(OK, *[FAULT] * FAULTS_TO_OPEN)
    assert calls.breaker.record_answer(late, OK, 9, 0.0) is None
    assert calls.breaker.is_open
    assert calls.breaker.record_answer(later, FAULT, 9, 0.0) is None
    assert calls.hear(FAULT) == 2 * PROBE_BACKOFF.first


def test_an_outage_of_more_than_half_an_hour_is_hopeless() -> None:
    """I7: a run ends; each probe without an answer costs a job."""
    calls = Calls()
    calls.hear(OK, *[FAULT] * FAULTS_TO_OPEN)
    calls.now = OUTAGE_SECONDS
    calls.hear(FAULT)
    assert not calls.breaker.outage_exceeded(OUTAGE_SECONDS)
    assert calls.breaker.outage_exceeded(OUTAGE_SECONDS + 1)
    calls.hear(OK)
    assert not calls.breaker.outage_exceeded(2 * OUTAGE_SECONDS)


def test_a_probe_that_was_not_sent_makes_way_for_the_next_one() -> None:
    calls = Calls()
    calls.hear(OK, *[FAULT] * FAULTS_TO_OPEN)
    calls.hear(None)
    assert calls.breaker.state is BreakerState.OPEN
    assert calls.breaker.is_open


def test_the_limiter_lets_a_single_call_through_while_the_service_is_out() -> None:
    still = Still(qps=100, concurrency=10)
    still.answered(OK, *still.sent(1))
    still.answered(FAULT, *still.sent(FAULTS_TO_OPEN))
    assert still.limiter.service_is_down
    opened = still.now
    probe = still.limiter.acquire()
    assert probe
    assert still.now == pytest.approx(opened + PROBE_BACKOFF.first)
    with pytest.raises(AssertionError, match="nobody would free a slot"):
        still.limiter.acquire()
    still.answered(OK, probe)
    assert not still.limiter.service_is_down
    assert len(still.sent(10)) == 10


def test_repeats_are_a_tenth_of_the_calls_and_one_a_second() -> None:
    budget = RetryBudget(0.0)
    assert [budget.book_repeat(0.0) for _ in range(int(REPEATS_AT_ONCE))] == [
        0.0
    ] * int(REPEATS_AT_ONCE)
    assert budget.book_repeat(0.0) == pytest.approx(1 / REPEATS_PER_SECOND)
    for _ in range(30):
        budget.record_call()
    assert [budget.book_repeat(0.0) for _ in range(2)] == [0.0, 0.0]
    assert budget.book_repeat(0.0) == pytest.approx(1 / REPEATS_PER_SECOND)
    assert budget.book_repeat(60.0) == 0.0


def test_repeats_that_were_not_used_do_not_pile_up() -> None:
    budget = RetryBudget(0.0)
    for _ in range(10_000):
        budget.record_call()
    assert sum(budget.book_repeat(1e6) == 0.0 for _ in range(100)) == REPEATS_AT_ONCE


def test_a_storm_of_repeats_is_spread_out() -> None:
    """D18, D19: a hundred repeats at once become one a second, beside a tenth of the first calls."""
    limiter = CallLimiter(1000, 100)
    waits = [limiter.reserve_retry() for _ in range(100)]
    assert max(waits) == pytest.approx(90 / REPEATS_PER_SECOND, abs=1)
    assert sorted(waits) == waits
