"""The limiter under a clock of ours: pace, holds, the first call, the stop. Nothing here sleeps."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pixmill.limits.limiter import CallLimiter
from pixmill.limits.rate import AdaptiveRateLimit
from pixmill.tuning import RATE_MARGIN

SECOND = 1 / RATE_MARGIN
"""The rate at which calls go out exactly one second apart."""


class Clock:
    """Time that passes only while somebody waits; `late` is how much too long each wait is."""

    def __init__(self, late: float = 0.0) -> None:
        self.now, self.late = 100.0, late
        self.meanwhile: Callable[[], None] | None = None

    def read(self) -> float:
        return self.now

    def wait(self, _stopped: threading.Event, seconds: float | None) -> None:
        assert seconds is not None, "nobody would free a slot"
        happens, self.meanwhile = self.meanwhile, None
        if happens:
            happens()
        self.now += seconds + self.late

    def limiter(self, qps: float, concurrency: int = 1000) -> CallLimiter:
        return CallLimiter(qps, concurrency, clock=self.read, wait=self.wait)

    def departures(self, limiter: CallLimiter, count: int) -> list[float]:
        """When each of `count` calls goes out, in seconds from the start."""
        times = []
        for _ in range(count):
            assert limiter.acquire()
            times.append(self.now - 100.0)
        return times


def test_no_second_has_more_calls_than_the_rate() -> None:
    """I8: in any window of one second, wherever it begins."""
    clock = Clock()
    times = clock.departures(clock.limiter(10), 200)
    assert all(
        sum(start <= time < start + 1 for time in times) <= 10 for start in times
    )
    assert times[-1] == pytest.approx(199 / (10 * RATE_MARGIN))


def test_a_pause_is_not_made_up_by_a_burst() -> None:
    """I8: what was not used is lost."""
    clock = Clock()
    limiter = clock.limiter(SECOND)
    assert limiter.acquire()
    clock.now += 60
    assert clock.departures(limiter, 3) == pytest.approx([60, 61, 62])


def test_waking_up_late_does_not_lower_the_rate() -> None:
    clock = Clock(late=0.4)
    times = clock.departures(clock.limiter(SECOND), 21)
    assert times[-1] == pytest.approx(20.4)


def test_a_hold_holds_back_everybody_and_then_the_pace_goes_on() -> None:
    """D11."""
    clock = Clock()
    limiter = clock.limiter(SECOND)
    assert limiter.acquire()
    limiter.pause_all(7)
    assert clock.departures(limiter, 3) == pytest.approx([7, 8, 9])


def test_a_hold_reaches_those_who_wait_for_their_turn_already() -> None:
    """D11: the answer that asks to wait comes while the next call waits for its turn."""
    clock = Clock()
    limiter = clock.limiter(SECOND)
    assert limiter.acquire()
    clock.meanwhile = lambda: limiter.pause_all(7)
    assert clock.departures(limiter, 2) == pytest.approx([7, 8])


def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    """D11: answers of calls in flight come in any order."""
    clock = Clock()
    limiter = clock.limiter(SECOND)
    limiter.pause_all(7)
    limiter.pause_all(2)
    assert clock.departures(limiter, 2) == pytest.approx([7, 8])


def test_a_hold_shorter_than_the_pace_does_not_quicken_it() -> None:
    """I8."""
    clock = Clock()
    limiter = clock.limiter(SECOND)
    assert limiter.acquire()
    limiter.pause_all(0.1)
    assert clock.departures(limiter, 2)[0] >= 1


def test_a_hold_does_not_send_those_who_wait_to_the_end_of_the_queue() -> None:
    """D11: twenty calls wait for twenty seconds; after a hold of three they go out from the fourth second on."""
    clock = Clock()
    limiter = clock.limiter(SECOND)
    assert limiter.acquire()
    clock.meanwhile = lambda: limiter.pause_all(3)
    assert clock.departures(limiter, 19) == pytest.approx(
        [float(at) for at in range(3, 22)]
    )


def test_what_was_missed_in_a_long_sleep_is_not_made_up_by_a_burst() -> None:
    """A9: the process is suspended for ten minutes while fifty calls wait; a tenth of a second is made up."""
    rate = AdaptiveRateLimit(100 * SECOND, now=0.0)
    turns = [rate.reserve(ready=0.0, now=600.0) for _ in range(50)]
    assert sum(turn <= 600 for turn in turns) == 11
    assert turns[-1] == pytest.approx(600.39)


def test_never_more_in_flight_than_the_limit_and_all_of_it_is_used() -> None:
    """I8: the barrier breaks where three can't be in flight together."""
    limiter, together, peaks = CallLimiter(100_000, 3), threading.Barrier(3), []

    def enter_and_leave() -> None:
        call = limiter.acquire()
        assert call
        peaks.append(limiter.in_flight)
        together.wait(30)
        limiter.release(call, answered=True)

    with ThreadPoolExecutor(12) as pool:
        for each in [pool.submit(enter_and_leave) for _ in range(12)]:
            each.result()
    assert max(peaks) == 3
    assert limiter.in_flight == 0


def test_the_first_call_is_alone_until_the_service_itself_answers() -> None:
    """E10: an answer that never came proves nothing about key and account."""
    limiter = CallLimiter(100_000, 8, first_call_alone=True)
    for answered, limit in ((False, 1), (False, 1), (True, 8), (False, 8)):
        call = limiter.acquire()
        assert call
        limiter.release(call, answered=answered)
        assert limiter.in_flight_limit == limit


def test_all_who_wait_for_the_first_call_go_once_it_is_answered() -> None:
    limiter, together = (
        CallLimiter(100_000, 4, first_call_alone=True),
        threading.Barrier(4),
    )
    first = limiter.acquire()
    assert first
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(lambda: limiter.acquire() and together.wait(30) >= 0)
            for _ in range(4)
        ]
        limiter.release(first, answered=True)
        assert all(call.result() for call in calls)
    assert limiter.in_flight == 4


def test_a_stop_ends_every_wait_and_leaves_those_in_flight_alone() -> None:
    """A6, I7: one waits out a hold of an hour, one waits for a slot; both hear of the stop."""
    limiter = CallLimiter(100_000, 2)
    call = limiter.acquire()
    assert call
    limiter.pause_all(3600)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(limiter.acquire) for _ in range(2)]
        limiter.stop()
        assert [each.result(30) for each in waiting] == [None, None]
    assert limiter.in_flight == 1
    limiter.release(call, answered=True)
    assert (limiter.in_flight, limiter.acquire()) == (0, None)
