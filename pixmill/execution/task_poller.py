"""Asks the provider what became of the tasks that were started, until each has ended.

A running task holds its slot and no thread: a few threads take the next one that is due. The first poll comes when
tasks of its `req_key` usually end, further ones at intervals much shorter than that. All tasks together are polled at
most `limits.poll_qps` times a second, in the order in which they are due. What a poll says:

| the answer                                | what happens                                                          |
|-------------------------------------------|-----------------------------------------------------------------------|
| the task has ended, well or badly         | its outcome is settled like that of any call, and its slot is released |
| it is running, or nothing says it ended   | it is polled again, after a longer pause where there was no answer     |
| it is not known, right after its submit   | it is polled again                                                    |
| the account is rejected                   | the run stops; the task is left to the next run                       |
| any but the first, after the timeout      | it is left to the next run                                            |

A task that is left stays `submitted` in the ledger, so that the next run polls it and pays nothing.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from pixmill.config.model import Config
from pixmill.errors import LedgerError, PixmillError
from pixmill.execution.call_threads import CallThreads
from pixmill.execution.outcomes import SentCall, seed_of
from pixmill.execution.progress import Outcome
from pixmill.execution.settlement import Settlement
from pixmill.execution.stop_reasons import credentials_rejected
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.work_queue import WorkItem, WorkQueue
from pixmill.ledger import Claim, Ledger, Task
from pixmill.ledger.schema import now_micros
from pixmill.limits.feedback import Feedback, Permit
from pixmill.provider.client import Client
from pixmill.provider.error_codes import SUCCESS, Verdict
from pixmill.provider.responses import Response
from pixmill.tuning import (
    DURATIONS_KEPT,
    EARLIER_POLL,
    FIRST_POLL_SECONDS,
    LATE_POLL,
    NOT_FOUND_SECONDS,
    POLL_BACKOFF,
    POLL_STEP,
    POLL_THREADS,
    SHARE_DONE,
)

log = logging.getLogger(__name__)

_ROUNDING = 0.001
"""Seconds by which a task may be polled early: a pause too short for the clock would repeat without end."""

_NOT_FOUND = "task_not_found"
"""The code of a task that the provider does not know yet, or not any more."""


class RunningTask(NamedTuple):
    """A task that is running at the provider, and the slot that it holds."""

    item: WorkItem
    claim: Claim
    permit: Permit
    task_id: str
    seed: int | None
    sent_at: int
    """When its submit was sent, in microseconds since 1970 UTC."""
    queue_ms: float
    """How long the job waited before that."""
    began: float
    """The same moment by the monotonic clock; for a resumed task derived from the wall clock."""
    due_at: float = 0.0
    """When it is to be polled next, by the monotonic clock."""
    asked_at: float = 0.0
    """When its last poll was sent, by the monotonic clock."""
    running_at: float | None = None
    """When the last poll was sent that found it running, by the monotonic clock."""
    failures: int = 0
    """Polls in a row that brought no answer about it."""

    @property
    def age(self) -> float:
        """Seconds since its submit."""
        return time.monotonic() - self.began


def resumed_task(
    item: WorkItem, claim: Claim, task: Task, permit: Permit
) -> RunningTask:
    """Return the `task` that an earlier run or another process has started for a claimed job."""
    age = max(0.0, (now_micros() - task.since) / 1e6)
    return RunningTask(
        item=item,
        claim=claim,
        permit=permit,
        task_id=task.task_id,
        seed=seed_of(item, claim),
        sent_at=task.since,
        queue_ms=0.0,
        began=time.monotonic() - age,
    )


class UsualDurations:
    """How long tasks of each `req_key` usually take, in seconds. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, deque[float]] = {}

    def of(self, req_key: str) -> float | None:
        """Return the age at which a first poll is due; `None` while no duration has been seen."""
        with self._lock:
            seen = self._seen.get(req_key)
            return sorted(seen)[int(SHARE_DONE * len(seen))] if seen else None

    def add(self, task: RunningTask) -> None:
        """Note that the last poll found `task` done."""
        # A resumed task, or one that could not be polled, may have been done for hours.
        was_unseen = task.running_at is None and task.claim.task is not None
        if was_unseen or task.failures:
            return
        req_key = task.item.job.req_key
        usual = self.of(req_key)
        done = task.asked_at - task.began
        worked = done if task.running_at is None else task.running_at - task.began
        is_late = task.asked_at > task.due_at + LATE_POLL
        is_between = worked < done and worked >= (usual or 0.0)
        duration = done * EARLIER_POLL
        if is_between and not is_late:
            # It ended between the last two polls.
            duration = (worked + done) / 2
        elif is_between and usual:
            # The last poll had to wait: it is taken to have ended before that was due.
            duration = worked + usual * POLL_STEP / 2
        elif is_late and usual:
            # Nothing says when it ended: it counted as longer only because polls had to wait.
            return
        with self._lock:
            seen = self._seen.setdefault(req_key, deque(maxlen=DURATIONS_KEPT))
            seen.append(duration)


class PollPace:
    """Spaces polls evenly, `qps` a second at most. Thread-safe."""

    def __init__(self, qps: float) -> None:
        self._spacing = 1 / qps
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def reserve(self) -> float:
        """Reserve the next turn; return the seconds until then."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._spacing
            return turn - now


class TaskPoller:
    """Polls the tasks of one run in this process. `jitter` returns a number in [0, 1)."""

    def __init__(
        self,
        config: Config,
        *,
        ledger: Ledger,
        client: Client,
        settlement: Settlement,
        stop: StopSignal,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._poll_seconds = config.limits.poll_seconds
        self._timeout = config.limits.task_timeout_seconds
        self._ledger = ledger
        self._client = client
        self._settlement = settlement
        self._stop = stop
        self._jitter = jitter
        self._queue = WorkQueue[RunningTask]()
        self._threads = CallThreads(self._work, POLL_THREADS, lambda: None)
        self._pace = PollPace(config.limits.poll_qps)
        self._usual = UsualDurations()
        self._lock = threading.Lock()
        self.tasks = 0
        """How many tasks are polled now."""

    def add(self, task: RunningTask) -> None:
        """Poll `task` from now on, until it has ended or is left to another run."""
        with self._lock:
            self.tasks += 1
        try:
            self._threads.start_for(1)
        except PixmillError as error:
            # A machine without a thread: the task is on disk, and the next run asks for it.
            self._stop.fail(error)
            self._leave_to_next_run(task)
            return
        if self._usual.of(task.item.job.req_key) is None:
            pause = max(0.0, FIRST_POLL_SECONDS - task.age)
        else:
            pause = self._seconds_left(task)
        self._put(task, pause)

    def close(self) -> None:
        """Leave what is still running to the next run, and wait for the threads to end."""
        self._queue.close()
        self._threads.join()

    def _work(self) -> None:
        while (task := self._queue.take()) is not None:
            # The usual duration may have changed, or become known, since the task was queued.
            left = self._seconds_left(task)
            if left > _ROUNDING:
                self._put(task, left)
                continue
            job = task.item.job
            answer = None
            try:
                if not self._queue.is_closed:
                    time.sleep(self._pace.reserve())
                    task = task._replace(asked_at=time.monotonic())
                    options = job.result_options or "{}"
                    answer = self._client.poll(job.req_key, task.task_id, options)
                    # Right after its submit the provider may not know a task yet.
                    if answer.code == _NOT_FOUND and task.age < NOT_FOUND_SECONDS:
                        answer = replace(answer, verdict=Verdict.RUNNING)
            except Exception as error:
                self._settlement.note_bug(task.item, error)
            if answer is None:
                self._leave_to_next_run(task)
            else:
                self._follow_up(task, answer)

    def _follow_up(self, task: RunningTask, answer: Response) -> None:
        match answer.verdict:
            case Verdict.STOP:
                self._stop.stop(credentials_rejected(answer))
                self._leave_to_next_run(task)
            case Verdict.RUNNING if task.age > self._timeout:
                label = task.item.job.label
                log.info("%s is still running; the next run asks for it", label)
                self._leave_to_next_run(task)
            case Verdict.RUNNING:
                self._poll_again(task, answer)
            case _:
                self._end(task, answer)

    def _poll_again(self, task: RunningTask, answer: Response) -> None:
        usual = self._usual.of(task.item.job.req_key)
        # No duration is known for the first tasks: each pause is half of their age.
        step = task.age / 2 if usual is None else usual * POLL_STEP
        step = min(step, self._poll_seconds)
        # ± 10 %, so that tasks started together are not polled together.
        pause = step * (0.9 + 0.2 * self._jitter())
        if answer.code in (SUCCESS, _NOT_FOUND):
            # The account works: other submits need not wait until the first task has ended.
            task.item.lane.limiter.confirm()
            later = task._replace(running_at=task.asked_at, failures=0)
        else:
            later = task._replace(failures=task.failures + 1)
            pause += POLL_BACKOFF.pause(later.failures, self._jitter)
        self._put(later, max(pause, answer.retry_after or 0.0))

    def _end(self, task: RunningTask, answer: Response) -> None:
        """Settle the outcome of a task that has ended, and release its slot."""
        if answer.verdict is Verdict.SUCCEEDED:
            self._usual.add(task)
        # Only the service itself ends a task, so that the account works.
        task.item.lane.limiter.confirm()
        call = SentCall(task.seed, task.sent_at, task.queue_ms, task.age * 1000, answer)
        try:
            self._settlement.settle(task.item, task.claim, call)
        except LedgerError as error:
            self._stop.fail(error)
            self._settlement.end(task.item, Outcome.SKIPPED)
        finally:
            self._release_slot(task)

    def _leave_to_next_run(self, task: RunningTask) -> None:
        try:
            self._ledger.release_task(task.item.job.key)
        except LedgerError as error:
            # Others take it over anyway once this process has exited.
            self._stop.fail(error)
        self._release_slot(task)
        self._settlement.end(task.item, Outcome.SKIPPED)

    def _release_slot(self, task: RunningTask) -> None:
        with self._lock:
            self.tasks -= 1
        task.item.lane.limiter.release(task.permit, Feedback.ENDED)

    def _put(self, task: RunningTask, pause: float) -> None:
        due = task._replace(due_at=time.monotonic() + pause)
        if not self._queue.put_delayed(due, pause):
            self._leave_to_next_run(task)

    def _seconds_left(self, task: RunningTask) -> float:
        """Return the seconds until a task usually ends, 0 for one that may have ended a while ago."""
        usual = self._usual.of(task.item.job.req_key) or 0.0
        return max(0.0, min(usual, self._timeout) - task.age)
