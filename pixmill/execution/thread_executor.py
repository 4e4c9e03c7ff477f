"""The executor of one process: pays for jobs, once each, and has their images fetched.

Threads, started as jobs come, take these from the queue of their lane. All chunks share the lanes. Retries go
back into the queue with their pause, so that no thread sleeps on them; running tasks are polled by threads of their
own, and images have a pool. The first thing that makes it pointless to
continue stops the run; calls in flight are always finished and recorded.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pixmill.config.model import Config
from pixmill.errors import LedgerError, PixmillError
from pixmill.execution.call_sender import CallSender
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.lanes import Lane, Lanes
from pixmill.execution.progress import ChunkCounts, Outcome, Progress, RunCounters
from pixmill.execution.settlement import Settlement
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.task_poller import TaskPoller
from pixmill.execution.work_queue import ChunkTracker, WorkItem
from pixmill.ledger import Ledger
from pixmill.planning.jobs import Job, name_chunk
from pixmill.provider.client import Client
from pixmill.redaction import mask_secrets, single_line

log = logging.getLogger(__name__)


MOST_CHUNKS = 200
"""How many chunks `jobs_per_task: auto` makes at most; a run of no more jobs gets one for each.

People look at chunks one by one, as task runs in the Prefect UI.
"""
CHUNK_SECONDS = 2.0
"""What a chunk of `jobs_per_task: auto` should take, at the speed of the calls so far: each costs
some 7 ms of its own.
"""


class ThreadExecutor:
    """Runs jobs under one config. `jitter` returns a number in [0, 1), for tests to
    control pauses.
    """

    def __init__(
        self,
        config: Config,
        run_id: str,
        *,
        ledger: Ledger,
        client: Client,
        downloads: Downloads,
        stop: StopSignal,
        counts: RunCounters,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.counts = counts
        self._config = config
        self._downloads = downloads
        self._stop = stop
        self._settlement = Settlement(
            config,
            run_id,
            ledger=ledger,
            downloads=downloads,
            stop=stop,
            counts=counts,
            jitter=jitter,
        )
        self._poller = TaskPoller(
            config,
            ledger=ledger,
            client=client,
            settlement=self._settlement,
            stop=stop,
            jitter=jitter,
        )
        self._sender = CallSender(
            config,
            run_id,
            ledger=ledger,
            client=client,
            downloads=downloads,
            stop=stop,
            counts=counts,
            settlement=self._settlement,
            poller=self._poller,
        )

        def make_lane(req_key: str) -> Lane:
            return Lane(req_key, config, ledger, stop, self._work)

        self._lanes = Lanes(make_lane, stop)
        stop.on_change(self._lanes.send_nothing_more)
        stop.on_change(self._hurry_images)

    # Chunks

    def chunk_size(self) -> int:
        """How many jobs the next chunk takes. With `auto` they are more where calls
        turn out to be quick.
        """
        wanted = self._config.execution.jobs_per_task
        if wanted != "auto":
            return wanted
        to_do = self.counts.to_do
        if to_do <= MOST_CHUNKS:
            return 1
        by_speed = int(self.counts.rate() * CHUNK_SECONDS)
        return max(math.ceil(to_do / MOST_CHUNKS), by_speed)

    def has_enough(self, chunks: Collection[Sequence[Job]]) -> bool:
        """Whether two chunks at least, and twice the concurrency in jobs, are in flight.

        With less a thread would wait for the next chunk to come.
        """
        jobs = sum(map(len, chunks))
        return len(chunks) >= 2 and jobs >= 2 * self._config.concurrency

    def process(self, chunk: Sequence[Job]) -> ChunkCounts:
        """Pay for `chunk`; return what became of its jobs, once all are settled and
        their images fetched.

        Raises PixmillError after `close`, and on a machine without a thread for calls.
        """
        if not chunk:
            return ChunkCounts()
        tracker = ChunkTracker(len(chunk))
        now = time.monotonic()
        by_lane: dict[Lane, list[WorkItem]] = {}
        for job in chunk:
            lane = self._lanes.of(job)
            item = WorkItem(job, tracker, 0, 0, now, lane)
            by_lane.setdefault(lane, []).append(item)
        for lane, items in by_lane.items():
            lane.put(items)
        return ChunkCounts(**tracker.wait())

    def record(self, result: ChunkCounts) -> None:
        """Nothing is left to count: each job was counted when it ended."""

    def chunk_failed(self, chunk: Sequence[Job], error: Exception) -> bool:
        """End the run: Prefect has already retried the task run. Return whether to send it again: no.

        Its jobs that had begun are recorded.
        """
        what = single_line(mask_secrets(f"{type(error).__name__}: {error}"))
        failure = PixmillError(
            f"the task run of {name_chunk(chunk)} failed for good: {what}",
            hint="what was paid for is published; run the same command again for the rest",
        )
        log.warning("%s", failure)
        # A run that stops anyway has a reason that tells its owner more.
        if not self._stop.is_set:
            self._stop.fail(failure)
        return False

    def progress(self) -> Progress:
        """What the run looks like now."""
        limiters = [lane.limiter for lane in self._lanes.all()]
        return self.counts.progress(
            self._stop,
            in_flight=self._lanes.in_flight,
            limit=sum(limiter.in_flight_limit for limiter in limiters),
            qps=sum(limiter.rate_limit for limiter in limiters),
            images_waiting=self._downloads.waiting,
            service_is_down=any(limiter.service_is_down for limiter in limiters),
            tasks=self._poller.tasks,
        )

    def limits_summary(self) -> Mapping[str, Any] | None:
        """How the account's limits fared, as plain JSON values."""
        return self._lanes.summary()

    def close(self) -> None:
        """Finish the calls in flight, skip what still waits, leave tasks to the next run, and
        wait for the threads to end.
        """
        lanes = self._lanes.all()
        for lane in lanes:
            lane.finish_calls()
        # After the threads that start tasks.
        self._poller.close()
        for lane in lanes:
            lane.return_share()

    def _work(self, lane: Lane) -> None:
        while (item := lane.queue.take()) is not None:
            try:
                self._sender.pay(item)
            except LedgerError as error:
                self._stop.fail(error)
                self._settlement.end(item, Outcome.SKIPPED)
            except Exception as error:
                # Nothing was sent yet: whatever goes wrong from the claim to the
                # record is caught in `Settlement.settle`.
                self._settlement.note_bug(item, error)
                self._settlement.end(item, Outcome.SKIPPED)
            self._hurry_images()

    def _hurry_images(self) -> None:
        # Until the last call has ended the run waits in any case, and images have that time too.
        if not self._lanes.in_flight:
            self._downloads.end_if_interrupted()
