"""Slots of tasks: held from submit until the task has ended, whoever has started it."""

import threading

from pixmill.limits.feedback import Feedback
from pixmill.limits.limiter import CallLimiter
from tests.pixmill.limits.test_limiter_in_virtual_time import Still


def test_an_accepted_task_keeps_its_slot_until_it_has_ended() -> None:
    still = Still(concurrency=2)
    first, second = still.sent(2)
    for task in (first, second):
        still.limiter.accept(task)
    assert still.limiter.in_flight == 2
    still.limiter.release(first, Feedback.ENDED)
    assert still.limiter.in_flight == 1
    assert len(still.sent(1)) == 1


def test_the_first_task_that_is_accepted_lets_the_others_go() -> None:
    """A wrong key shows at the first submit; that takes a moment, and its task a minute."""
    limiter = CallLimiter(1000, 10, first_call_alone=True)
    task = limiter.acquire()
    assert task is not None
    assert limiter.in_flight_limit == 1
    limiter.accept(task)
    assert limiter.in_flight_limit == 10
    assert limiter.acquire() is not None


def test_a_task_of_an_earlier_run_takes_a_slot_at_once_and_leaves_none_beyond_the_limit() -> (
    None
):
    limiter = CallLimiter(1000, 2)
    old = [limiter.occupy() for _ in range(3)]
    assert limiter.in_flight == 3
    assert limiter.sent == 0, "nothing was sent for them"
    waiting = threading.Thread(target=limiter.acquire, daemon=True)
    waiting.start()
    limiter.release(old[0], Feedback.ENDED)
    assert limiter.in_flight == 2, "both slots are still taken"
    limiter.release(old[1], Feedback.ENDED)
    waiting.join()
    assert limiter.in_flight == 2
    assert limiter.sent == 1


def test_too_many_tasks_cut_the_limit_to_those_that_work() -> None:
    still = Still(concurrency=8)
    tasks = still.sent(3)
    for task in tasks[:2]:
        still.limiter.accept(task)
    still.limiter.release(tasks[2], Feedback.CONCURRENCY_LIMITED, answered=True)
    assert (still.limiter.in_flight_limit, still.limiter.in_flight) == (2, 2)


def test_rounds_of_tasks_that_end_raise_the_limit_again() -> None:
    still = Still(concurrency=8, start=2)
    for _ in range(6):
        tasks = still.sent(still.limiter.in_flight_limit)
        for task in tasks:
            still.limiter.accept(task)
        for task in tasks:
            still.limiter.release(task, Feedback.ENDED)
    assert still.limiter.in_flight_limit == 8
