"""The executor of one process: pays for jobs, once each, and has their images fetched.

Threads, started as jobs come, take these from a queue that all chunks share. Retries go
back into the queue with their pause, so that no thread sleeps on them; images have a pool
of their own. The first thing that makes it pointless to continue stops the run; calls in
flight are always finished and recorded.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pixmill.config.model import Config
from pixmill.errors import LedgerError, PixmillError, TableError
from pixmill.execution.bug_limit import BugLimit
from pixmill.execution.call_threads import CallThreads
from pixmill.execution.failure_rate import FailureRate
from pixmill.execution.image_downloads import Downloads, StoredImages
from pixmill.execution.outcomes import (
    FEEDBACK,
    SentCall,
    build_attempt,
    in_doubt_by,
    outcome_of,
)
from pixmill.execution.progress import ChunkCounts, Outcome, Progress, RunCounters
from pixmill.execution.spending_rules import claim_limits
from pixmill.execution.stop_reasons import (
    budget_reached,
    credentials_rejected,
    failure_rate_exceeded,
    outage,
)
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.work_queue import ChunkTracker, WorkItem, WorkQueue
from pixmill.ledger import (
    Attempt,
    Claim,
    Ledger,
    MissingImages,
    Refused,
    State,
)
from pixmill.ledger.schema import now_micros
from pixmill.limits.account_lease import LeaseRenewer
from pixmill.limits.feedback import Permit
from pixmill.limits.limiter import CallLimiter
from pixmill.planning.jobs import Job, name_chunk, with_seed
from pixmill.provider.client import Client
from pixmill.provider.error_codes import Verdict
from pixmill.provider.responses import Response
from pixmill.redaction import mask_secrets, single_line
from pixmill.request.fingerprint import reroll_seed
from pixmill.tuning import AUTO_CONCURRENCY_START, CALL_BACKOFF

log = logging.getLogger(__name__)


MOST_CHUNKS = 200
"""How many chunks `jobs_per_task: auto` makes at most; no more jobs than that are one each.

People look at chunks one by one, as task runs in the Prefect UI.
"""
CHUNK_SECONDS = 2.0
"""What a chunk of `jobs_per_task: auto` takes at least, going by the calls so far: its
own cost is some 7 ms.
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
        self._run_id = run_id
        self._ledger = ledger
        self._client = client
        self._downloads = downloads
        self._stop = stop
        self._jitter = jitter
        self._limits = claim_limits(config, run_id)
        # `start` is the initial limit of calls in flight, by default the ceiling: a user who sets a
        # number is trusted to know the account.
        is_auto = config.limits.concurrency == "auto"
        self.limiter = CallLimiter(
            config.limits.qps,
            config.concurrency,
            start=AUTO_CONCURRENCY_START if is_auto else None,
            # A wrong key costs one call; the simulator's can't be wrong.
            probe_first=not config.simulated,
            shared=True,
        )
        self._lease = LeaseRenewer(self.limiter, ledger, config.account, stop.fail)
        self._failure_rate = FailureRate(config.stop)
        self._queue = WorkQueue()
        self._threads = CallThreads(self._work, config.concurrency, self._lease.begin)
        self._bugs = BugLimit(stop)
        stop.on_change(self._send_nothing_more)

    # Chunks

    def chunk_size(self) -> int:
        """How many jobs the next chunk takes. With `auto` they are more where calls
        turn out to be quick.
        """
        wanted = self._config.execution.jobs_per_task
        if wanted != "auto":
            return wanted
        to_pay = self.counts.to_pay
        if to_pay <= MOST_CHUNKS:
            return 1
        by_speed = int(self.counts.rate() * CHUNK_SECONDS)
        return max(math.ceil(to_pay / MOST_CHUNKS), by_speed)

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
        self._queue.put([WorkItem(job, tracker, 0, 0, now) for job in chunk])
        self._threads.start_for(len(chunk))
        return ChunkCounts(**tracker.wait())

    def record(self, result: ChunkCounts) -> None:
        """Nothing is left to count: each job was counted when it ended."""

    def chunk_failed(self, chunk: Sequence[Job], error: Exception) -> bool:
        """End the run: Prefect has already retried the task. Return whether to send it again: no.

        Its jobs that had begun are recorded.
        """
        what = single_line(mask_secrets(f"{type(error).__name__}: {error}"))
        failure = PixmillError(
            f"the task of {name_chunk(chunk)} failed for good: {what}",
            hint="what was paid for is published; run the same command again for the rest",
        )
        log.warning("%s", failure)
        # A run that stops anyway has a reason that tells its owner more.
        if not self._stop.is_set:
            self._stop.fail(failure)
        return False

    def progress(self) -> Progress:
        """What the run looks like now."""
        return self.counts.progress(
            self._stop,
            in_flight=self.limiter.in_flight,
            limit=self.limiter.limit,
            qps=self.limiter.qps,
            images_waiting=self._downloads.waiting,
            is_out=self.limiter.is_out,
        )

    def limits_summary(self) -> Mapping[str, Any]:
        """How the account's limits fared, as plain JSON values."""
        return self.limiter.summary()

    def close(self) -> None:
        """Finish the calls in flight, skip what still waits, and wait for the threads to end."""
        self.limiter.stop()
        self._queue.close()
        self._threads.join()
        self._lease.close()

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            try:
                self._pay(item)
            except LedgerError as error:
                self._stop.fail(error)
                self._end(item, Outcome.SKIPPED)
            except Exception as error:
                # Nothing was sent yet: whatever goes wrong from the claim to the
                # record is caught in `_send_and_record`.
                self._note_bug(item, error)
                self._end(item, Outcome.SKIPPED)

    def _pay(self, item: WorkItem) -> None:
        """Make one call for a job: wait for a turn, claim, send, record, follow up."""
        self._downloads.wait_for_room()
        permit = None if self._stop.is_set else self.limiter.acquire()
        if permit is None:
            self._end(item, Outcome.SKIPPED)
            return
        response = None
        refused = None
        try:
            # Not before: local images are megabytes, and threads that wait for a slot
            # would all hold theirs.
            body_prefix = item.job.beginning()
            limits = self._limits._replace(req_key=item.job.req_key)
            claim = self._ledger.claim(item.job.key, limits)
            match claim:
                case Refused():
                    refused = claim
                case Claim():
                    response = self._send_and_record(item, claim, body_prefix)
        except TableError as error:
            log.warning("%s is skipped: %s", item.job.label, error)
            self._end(item, Outcome.SKIPPED)
        finally:
            self._give_back(permit, response)
        if refused:
            # After the slot is released: a stop listener may need one.
            if refused.cap:
                self._stop.stop(budget_reached(refused.cap, self._config.budget))
            self._end(item, outcome_of(refused.state))

    def _send_and_record(
        self, item: WorkItem, claim: Claim, body_prefix: bytes
    ) -> Response:
        """Send a job that was claimed, and write down what came of it, whatever that is.

        Raises LedgerError where it can't be written down.
        """
        call = self._send(item, claim, body_prefix)
        try:
            attempt, images = self._record(item, claim, call)
        except Exception as error:
            if not isinstance(error, LedgerError):
                self._note_bug(item, error)
            # Record it again, as in doubt. If the ledger itself is broken, that raises again.
            call = call._replace(response=in_doubt_by(error, call.response))
            attempt, images = self._record_in_doubt(item, claim, call)
        response = call.response
        self.counts.record_call(
            response.code,
            success=response.verdict is Verdict.SUCCEEDED,
            charged=response.charged == "yes",
        )
        try:
            self._follow_up(item, attempt, response, images)
        except LedgerError:
            raise
        except Exception as error:
            self._note_bug(item, error)
            self._end(item, outcome_of(attempt.state))
        return response

    def _send(self, item: WorkItem, claim: Claim, body_prefix: bytes) -> SentCall:
        queue_ms = (time.monotonic() - item.queued_at) * 1000
        seed = item.job.seed
        sent_at = now_micros()
        began = time.perf_counter()
        try:
            # Without a seed, whatever is sent again is drawn anew.
            if claim.rerolls and seed is not None:
                seed = reroll_seed(seed, claim.rerolls)
            body = with_seed(body_prefix, seed)
            response = self._client.call(body, item.job.req_key)
        except Exception as error:  # nobody knows how far it came
            self._note_bug(item, error)
            response = in_doubt_by(error)
        latency_ms = (time.perf_counter() - began) * 1000
        return SentCall(seed, sent_at, queue_ms, latency_ms, response)

    def _record(
        self, item: WorkItem, claim: Claim, call: SentCall
    ) -> tuple[Attempt, StoredImages]:
        """Write down a call and its outcome; return that, and what became of images inside."""
        response = call.response
        images = StoredImages()
        if response.verdict is Verdict.SUCCEEDED and response.inline_images:
            # Before the answer is recorded: there is no URL to fetch these again.
            images = self._downloads.keep(response.inline_images)
        attempt = build_attempt(
            self._config, self._run_id, item, claim, call, images.files
        )
        self._ledger.record(attempt)
        return attempt, images

    def _record_in_doubt(
        self, item: WorkItem, claim: Claim, call: SentCall
    ) -> tuple[Attempt, StoredImages]:
        try:
            return self._record(item, claim, call)
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(
                f"what became of {item.job.label} can't be written: {error}"
            ) from error

    def _follow_up(
        self,
        item: WorkItem,
        attempt: Attempt,
        response: Response,
        images: StoredImages,
    ) -> None:
        """Do what a recorded call asks for: a pause, another try, a stop, a download."""
        self._downloads.note(
            item.job.key, response.image_urls, response.inline_images, images
        )
        if response.retry_after:
            self.limiter.hold(response.retry_after)
        if attempt.is_repeated:
            self._try_again(item, response.verdict)
            return
        if response.verdict is Verdict.STOP:
            self._stop.stop(credentials_rejected(response))
        if attempt.state is State.SUCCEEDED and not images.files:
            self._fetch_images(item, attempt, response)
        self._end(item, outcome_of(attempt.state))

    def _fetch_images(
        self, item: WorkItem, attempt: Attempt, response: Response
    ) -> None:
        if not response.image_urls or self._config.output.images == "url":
            return
        missing = MissingImages(
            item.job.key, response.image_urls, attempt.url_expires_at or 0
        )
        item.chunk.images.append(self._downloads.fetch(missing))

    def _try_again(self, item: WorkItem, verdict: Verdict) -> None:
        is_fault = verdict is Verdict.RETRY
        is_throttled = verdict in (
            Verdict.THROTTLE_RATE,
            Verdict.THROTTLE_CONCURRENCY,
        )
        later = item._replace(
            faults=item.faults + is_fault,
            throttled=item.throttled + is_throttled,
            queued_at=time.monotonic(),
        )
        self._queue.put_delayed(later, self._pause(later, verdict))
        # The run may have stopped after it released what waited.
        if self._stop.is_set:
            self._queue.release_delayed()

    def _pause(self, item: WorkItem, verdict: Verdict) -> float:
        """Return the seconds before a job is sent again: longer with each failure, and
        drawn by lot.
        """
        if verdict is Verdict.REFUSED:
            return 0.0  # another seed is another request
        pause = CALL_BACKOFF.pause(item.faults + item.throttled, self._jitter)
        if verdict is Verdict.RETRY:
            return max(pause, self.limiter.reserve_retry())
        return pause

    def _give_back(self, permit: Permit, response: Response | None) -> None:
        """Give the slot back, with what the answer says of the service."""
        if response is None:
            self.limiter.release(permit, None, answered=False, code=None)
        else:
            is_answered = (
                response.verdict not in (Verdict.STOP, Verdict.IN_DOUBT)
                and response.http_status is not None
            )
            feedback = FEEDBACK[response.verdict]
            self.limiter.release(
                permit, feedback, answered=is_answered, code=response.code
            )
        self._hurry_images()
        if self.limiter.outage_exceeded:
            self._stop.stop(outage(self.counts.frequent_codes()))

    def _end(self, item: WorkItem, outcome: Outcome) -> None:
        self.counts.record_job(outcome)
        # In an outage jobs fail for want of a service, and there the breaker decides.
        if not self.limiter.is_out:
            too_many = self._failure_rate.record(outcome)
            if too_many:
                window = self._config.stop.window
                codes = self.counts.frequent_codes()
                self._stop.stop(failure_rate_exceeded(too_many, window, codes))
        item.chunk.end(outcome)

    def _send_nothing_more(self) -> None:
        """Calls in flight are finished and recorded, all other jobs are skipped."""
        self.limiter.stop()
        self._queue.release_delayed()
        self._hurry_images()

    def _hurry_images(self) -> None:
        """Give images a moment only, once somebody interrupts and no call is in flight
        any more: they can wait.
        """
        if self._stop.is_interrupted and not self.limiter.in_flight:
            self._downloads.end_soon()

    def _note_bug(self, item: WorkItem, error: Exception) -> None:
        """Note a fault of this program. One costs the job that met it; many of them end
        the paying.
        """
        what = single_line(self._bugs.note(error))
        log.exception("%s met an internal error: %s", item.job.label, what)
