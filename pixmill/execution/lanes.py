"""Lanes: the jobs that share one limit, the queue in which they wait, and the threads that send them.

The provider counts the calls in flight of each asynchronous `req_key` separately, from submit until the task has ended,
so that jobs of two such keys never wait for each other. All synchronous calls of an account go through one lane.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pixmill.config.model import Config
from pixmill.execution.call_threads import CallThreads
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.work_queue import WorkItem, WorkQueue
from pixmill.ledger import Ledger
from pixmill.limits.account_lease import LeaseRenewer
from pixmill.limits.limiter import CallLimiter
from pixmill.planning.jobs import Job
from pixmill.tuning import AUTO_CONCURRENCY_START, SUBMIT_THREADS


class Lane:
    """One lane; each of its threads runs `work(lane)`, which returns once the queue is closed.

    `req_key` is that of the asynchronous operation whose jobs go here, or empty for all synchronous ones.
    """

    def __init__(
        self,
        req_key: str,
        config: Config,
        ledger: Ledger,
        stop: StopSignal,
        work: Callable[["Lane"], None],
    ) -> None:
        self.req_key = req_key
        # `auto` is looking for a limit, so it starts low; whoever sets a number is trusted to know
        # the account.
        is_auto = config.limits.concurrency == "auto"
        self.limiter = CallLimiter(
            config.limits.qps,
            config.concurrency,
            start=AUTO_CONCURRENCY_START if is_auto else None,
            # A wrong key costs one call; the simulator's key can't be wrong.
            first_call_alone=not config.simulated,
            shared=True,
            req_key=req_key,
        )
        account = f"{config.account}/{req_key}" if req_key else config.account
        self._lease = LeaseRenewer(self.limiter, ledger, account, stop.fail)
        self.queue = WorkQueue[WorkItem]()
        # A synchronous call keeps its thread until it is answered, a task only while it is submitted.
        most = config.concurrency
        if req_key:
            most = min(most, SUBMIT_THREADS)
        self._threads = CallThreads(partial(work, self), most, self._lease.begin)

    def put(self, items: Sequence[WorkItem]) -> None:
        """Add jobs, and start threads for them.

        Raises PixmillError after `close`, and on a machine without a thread for calls.
        """
        self.queue.put(items)
        self._threads.start_for(len(items))

    def send_nothing_more(self) -> None:
        """Send nothing more: jobs that wait are taken at once, and skipped."""
        self.limiter.stop()
        self.queue.release_delayed()

    def finish_calls(self) -> None:
        """Skip what still waits, and wait until the threads have finished their calls."""
        self.limiter.stop()
        self.queue.close()
        self._threads.join()

    def return_share(self) -> None:
        """Give the share of the account back, once nothing is in flight any more."""
        self._lease.close()


class Lanes:
    """The lanes of one executor, each made when the first job for it comes."""

    def __init__(self, make: Callable[[str], Lane], stop: StopSignal) -> None:
        self._make = make
        self._stop = stop
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}

    def of(self, job: Job) -> Lane:
        """Return the lane for `job`."""
        req_key = job.req_key if job.is_async else ""
        with self._lock:
            if req_key not in self._lanes:
                lane = self._make(req_key)
                self._lanes[req_key] = lane
                # The signal may have been passed on before this lane was there.
                if self._stop.is_set:
                    lane.send_nothing_more()
            return self._lanes[req_key]

    def send_nothing_more(self) -> None:
        """Send nothing more: calls and tasks in flight are finished and recorded, all other jobs are skipped."""
        for lane in self.all():
            lane.send_nothing_more()

    def all(self) -> tuple[Lane, ...]:
        """Return the lanes made so far."""
        with self._lock:
            return tuple(self._lanes.values())

    @property
    def in_flight(self) -> int:
        """How many calls and tasks hold a slot now."""
        return sum(lane.limiter.in_flight for lane in self.all())

    def summary(self) -> Mapping[str, Any] | None:
        """Return how the limits fared, as plain JSON values; `None` where no call was made.

        Limits of asynchronous operations are under their `req_key`, beside those that all other calls share.
        """
        summaries = {lane.req_key: lane.limiter.summary() for lane in self.all()}
        if not summaries:
            return None
        changes = [
            change for each in summaries.values() for change in each.pop("changes")
        ]
        shared = summaries.pop("", {})
        of_operations = {"by_req_key": summaries} if summaries else {}
        changes.sort(key=lambda change: change["at"])
        return {**shared, **of_operations, "changes": changes}
