"""The executor: pays for jobs, once each, and brings their images home. One per process and run.

Threads, started as jobs come, take these from a queue that all chunks share. Per call: wait for the limiter, claim
the key (one durable commit of the intent), send once, write the answer and its outcome down (one durable commit).
Retries go back into the queue with their pause, so that no thread sleeps on them; images have a pool of their own. The
first thing that makes going on pointless stops the run; calls in flight are always finished and recorded.
"""

import contextvars
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pixmill.config.model import Config
from pixmill.errors import LedgerError, PixmillError, TableError
from pixmill.execution.image_downloads import Downloads, Kept, urls_expire_at
from pixmill.execution.outcomes import (
    FEEDBACK,
    CallTiming,
    Decision,
    attempt_record,
    decide,
    in_doubt_by,
)
from pixmill.execution.progress import ChunkCounts, Progress, RunCounters
from pixmill.execution.stop_reasons import (
    StopCode,
    StopReason,
    budget_reached,
    credentials_rejected,
    failure_rate_exceeded,
    most_severe,
    outage,
)
from pixmill.execution.work_queue import Chunk, WorkItem, WorkQueue
from pixmill.ledger import Claim, Ledger, MissingImages, Refused, RunLimits, State
from pixmill.ledger.schema import now_micros
from pixmill.limits.account_lease import LeaseRenewer
from pixmill.limits.limiter import CallLimiter
from pixmill.planning.jobs import Job, with_seed
from pixmill.provider.client import Client
from pixmill.provider.error_codes import Verdict
from pixmill.provider.responses import Response
from pixmill.redaction import mask_secrets, single_line
from pixmill.request.fingerprint import reroll_seed
from pixmill.tuning import AUTO_CONCURRENCY_START, CALL_BACKOFF

log = logging.getLogger(__name__)

MOST_BUGS = 5
"""Faults of this program after which a run sends nothing more: each may have cost a picture."""


class ThreadExecutor:
    """Runs jobs under one config. `jitter` returns a number in [0, 1), for tests to control pauses."""

    def __init__(
        self,
        config: Config,
        run_id: str,
        *,
        ledger: Ledger,
        client: Client,
        downloads: Downloads,
        to_pay: int = 0,
        cached: int = 0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._run_id = run_id
        self._ledger = ledger
        self._client = client
        self._downloads = downloads
        self._limits = RunLimits(
            run_id=run_id,
            provider=config.provider.kind,
            account=config.account,
            req_key=config.request.req_key,
            max_calls=config.budget.max_calls,
            max_runs=config.retry.max_runs,
            lease_seconds=3 * config.limits.timeout_seconds,
            retry_doubt=config.in_doubt == "retry",
            max_cost=config.budget.max_cost,
            max_cost_per_month=config.budget.max_cost_per_month,
            price=config.budget.price_per_call,
            timezone=config.budget.timezone,
        )
        self.limiter = CallLimiter(
            config.limits.qps,
            config.concurrency,
            start=AUTO_CONCURRENCY_START
            if config.limits.concurrency == "auto"
            else None,
            probe_first=not config.simulated,
            shared=True,
        )
        self._sharing = LeaseRenewer(self.limiter, ledger, config.account, self._fail)
        self.counts = RunCounters(config.stop)
        self._to_pay = to_pay
        self._cached = cached
        self._jitter = jitter
        self._download = config.output.images != "url"
        self.stopped: StopReason | None = None
        self._failure: PixmillError | None = None
        self._stop_lock = threading.Lock()
        self._queue = WorkQueue()
        # The creator's context goes along, so that log lines of the threads find the Prefect run.
        self._context = contextvars.copy_context()
        self._threads: list[threading.Thread] = []
        self._threads_lock = threading.Lock()

    def _start_threads(self, jobs: int) -> None:
        """Start a thread for each of `jobs` new jobs, up to the ceiling of the in-flight limit."""
        with self._threads_lock:
            count = len(self._threads)
            ceiling = min(count + jobs, self._config.concurrency)
            try:
                self._sharing.begin()
                for number in range(count, ceiling):
                    self._threads.append(self._start(number))
            except RuntimeError as error:
                self._make_do(error)

    def _make_do(self, error: RuntimeError) -> None:
        """Go on with the threads that there are; PixmillError where there is none."""
        if not self._threads:
            hint = "nothing was sent; allow it more threads (`ulimit -u`, the pids limit of a container)"
            raise PixmillError(
                f"this machine can't start a thread for calls: {error}", hint=hint
            )
        log.info(
            "%s threads make the calls, there are no more: %s",
            len(self._threads),
            error,
        )

    def _start(self, number: int) -> threading.Thread:
        context = self._context.copy()  # one thread at a time may be inside a context
        thread = threading.Thread(
            target=context.run,
            args=(self._work,),
            name=f"pixmill-{number}",
            daemon=True,
        )
        thread.start()
        return thread

    def process(self, jobs: Sequence[Job]) -> ChunkCounts:
        """Run `jobs` and return what became of them, once all are settled and their images fetched.

        Raises LedgerError when payments can't be recorded: then nothing more is sent.
        """
        if not jobs:
            return ChunkCounts()
        chunk = Chunk(len(jobs))
        now = time.monotonic()
        self._queue.put([WorkItem(job, chunk, 0, 0, now) for job in jobs])
        self._start_threads(len(jobs))
        chunk.done.wait()
        if self._failure:
            raise self._failure
        return ChunkCounts(**chunk.outcomes)

    def stop(self, code: StopCode, reason: str) -> None:
        """Send nothing more. Calls in flight are finished and recorded, all other jobs are skipped."""
        with self._stop_lock:
            self.stopped = most_severe(self.stopped, StopReason(code, reason))
        self.limiter.stop()
        self._queue.release_delayed()
        self._hurry_images()

    def _hurry_images(self) -> None:
        """Give images a moment only, once somebody interrupts and no call is in flight any more: they can wait."""
        interrupted = self.stopped and self.stopped.code is StopCode.INTERRUPTED
        if interrupted and not self.limiter.in_flight:
            self._downloads.end_soon()

    def close(self) -> None:
        """Finish the calls in flight, skip what still waits, and wait for the threads to end."""
        self.limiter.stop()
        self._queue.close()
        for thread in self._threads:
            thread.join()
        self._sharing.close()

    def progress(self) -> Progress:
        """What the run looks like now."""
        counts = self.counts
        price = self._config.budget.price_per_call
        return Progress(
            to_pay=self._to_pay,
            cached=self._cached,
            done=counts.done.copy(),
            in_flight=self.limiter.in_flight,
            limit=self.limiter.limit,
            qps=self.limiter.qps,
            calls=counts.calls,
            rate=counts.rate(),
            cost=None if price is None else counts.charged * price,
            currency=self._config.budget.currency,
            images_waiting=self._downloads.waiting,
            codes=counts.codes.most_common(3),
            stopping=self.stopped.reason if self.stopped else None,
            is_out=self.limiter.is_open,
        )

    def limits_summary(self) -> dict[str, Any]:
        """How the account's limits fared, as plain JSON values for the run's report."""
        return self.limiter.summary()

    # One call

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            try:
                self._attempt(item)
            except LedgerError as error:
                self._fail(error)
                self._end(item.chunk, "skipped")
            except Exception as error:
                # Nothing was sent yet: from the claim to the record `_send` keeps all in.
                self._note_bug(item, error)
                self._end(item.chunk, "skipped")

    def _note_bug(self, item: WorkItem, error: Exception) -> None:
        """Take in a fault of this program. One costs the job that met it; after `MOST_BUGS` nothing more is sent."""
        what = mask_secrets(f"{type(error).__name__}: {error}")
        log.exception("%s met an internal error: %s", item.job.label, single_line(what))
        if self.counts.bug_met() >= MOST_BUGS:
            self._fail(
                PixmillError(
                    f"internal error: {what}",
                    hint=f"{MOST_BUGS} jobs met one, so nothing more is sent; `pixmill status` lists the jobs in doubt",
                )
            )

    def _fail(self, error: PixmillError) -> None:
        """Send nothing more because going on is impossible, not because it is unwise."""
        self._failure = self._failure or error
        self.limiter.stop()
        self._queue.release_delayed()

    def _attempt(self, item: WorkItem) -> None:
        self._downloads.wait_for_room(lambda: bool(self.stopped or self._failure))
        if self._downloads.failure:
            self._fail(self._downloads.failure)
        call = None if self._failure else self.limiter.acquire()
        if call is None:
            self._end(item.chunk, "skipped")
            return
        feedback = None
        code = None
        answered = False
        claim = None
        try:
            # Not before: local images are megabytes, and threads that wait for a slot would all hold theirs.
            beginning = item.job.beginning()
            claim = self._ledger.claim(
                item.job.key, self._limits._replace(req_key=item.job.req_key)
            )
            if isinstance(claim, Claim):
                answer = self._send(item, claim, beginning)
                feedback = FEEDBACK[answer.verdict]
                code = answer.code
                answered = (
                    answer.verdict not in (Verdict.STOP, Verdict.IN_DOUBT)
                    and answer.http_status is not None
                )
        except TableError as error:
            log.warning("%s is skipped: %s", item.job.label, error)
            self._end(item.chunk, "skipped")
        finally:
            self.limiter.release(call, feedback, answered=answered, code=code)
            self._hurry_images()
        if self.limiter.outage_exceeded:
            self.stop(*outage(self.counts.codes.most_common(3)))
        if isinstance(claim, Refused):
            self._not_mine(item, claim)

    def _send(self, item: WorkItem, claim: Claim, beginning: bytes) -> Response:
        job = item.job
        queue_ms = (time.monotonic() - item.since) * 1000
        seed = job.seed
        sent_at = now_micros()
        begun = time.perf_counter()
        try:
            seed = reroll_seed(seed, claim.rerolls) if claim.rerolls else seed
            answer = self._client.call(with_seed(beginning, seed), job.req_key)
        except Exception as error:  # nobody knows how far it came
            self._note_bug(item, error)
            answer = in_doubt_by(error)
        latency_ms = (time.perf_counter() - begun) * 1000
        sent = CallTiming(
            sent_at, queue_ms, latency_ms, seed, claim.rerolls, claim.attempts
        )
        try:
            judged, kept = self._written_down(item, claim, answer, sent)
        except Exception as error:
            if not isinstance(
                error, LedgerError
            ):  # one that is broken says so once more
                self._note_bug(item, error)
            answer = in_doubt_by(error, answer)
            try:
                judged, kept = self._written_down(item, claim, answer, sent)
            except LedgerError:
                raise
            except Exception as again:
                raise LedgerError(
                    f"what became of {job.label} can't be written: {again}"
                ) from again
        success = answer.verdict is Verdict.SUCCEEDED
        self.counts.record_call(
            answer.code, success=success, charged=answer.charged == "yes"
        )
        try:
            self._follow_up(item, answer, judged, kept)
        except LedgerError:
            raise
        except Exception as error:
            self._note_bug(item, error)
            self._end(item.chunk, _outcome(judged.state))
        return answer

    def _written_down(
        self, item: WorkItem, claim: Claim, answer: Response, sent: CallTiming
    ) -> tuple[Decision, Kept]:
        """Record an answer and the outcome derived from it; return that, and what became of images inside."""
        key = item.job.key
        judged = decide(item, claim, answer, self._config.retry)
        inline = answer.verdict is Verdict.SUCCEEDED and answer.inline_images
        # Before the answer is recorded: there is no URL to fetch these again.
        kept = self._downloads.keep(answer.inline_images) if inline else Kept()
        written = attempt_record(
            self._config, self._run_id, key, answer, judged, sent, kept.files
        )
        self._ledger.record(written)
        return judged, kept

    def _follow_up(
        self, item: WorkItem, answer: Response, judged: Decision, kept: Kept
    ) -> None:
        self._downloads.note(
            item.job.key, answer.image_urls, answer.inline_images, kept
        )
        if answer.retry_after:
            self.limiter.hold(answer.retry_after)
        if judged.again:
            self._try_again(item, answer.verdict)
        elif answer.verdict is Verdict.STOP:
            self.stop(*credentials_rejected(answer))
            self._end(item.chunk, "skipped")
        elif (
            judged.state is State.SUCCEEDED
            and not kept.files
            and answer.image_urls
            and self._download
        ):
            expires_at = urls_expire_at(answer.image_urls, now_micros())
            self._downloads.fetch(
                MissingImages(item.job.key, answer.image_urls, expires_at),
                lambda: self._end(item.chunk, judged.state),
            )
        else:
            self._end(item.chunk, judged.state)

    def _try_again(self, item: WorkItem, verdict: Verdict) -> None:
        later = item._replace(
            tries=item.tries + (verdict is Verdict.RETRY),
            throttles=item.throttles
            + (verdict in (Verdict.THROTTLE_RATE, Verdict.THROTTLE_CONCURRENCY)),
            since=time.monotonic(),
        )
        self._queue.put_delayed(later, self._pause(later, verdict))
        if self.stopped or self._failure:
            self._queue.release_delayed()

    def _pause(self, item: WorkItem, verdict: Verdict) -> float:
        """Return the seconds before a job is sent again: longer with each failure, and drawn by lot."""
        if verdict is Verdict.REFUSED:
            return 0.0  # another seed is another request
        pause = CALL_BACKOFF.pause(item.tries + item.throttles, self._jitter)
        return (
            max(pause, self.limiter.reserve_retry())
            if verdict is Verdict.RETRY
            else pause
        )

    def _not_mine(self, item: WorkItem, refused: Refused) -> None:
        if refused.cap:
            self.stop(*budget_reached(refused.cap, self._config.budget))
        self._end(item.chunk, _outcome(refused.state))

    def _end(self, chunk: Chunk, outcome: str) -> None:
        # In an outage jobs fail for want of a service, and there the breaker decides.
        tripped = self.counts.record_job(outcome, watched=not self.limiter.is_open)
        if tripped:
            self.stop(
                *failure_rate_exceeded(
                    tripped, self._config.stop.window, self.counts.codes.most_common(3)
                )
            )
        chunk.end(outcome)


def _outcome(state: State | None) -> str:
    """What a job whose key stands at `state`, and which is not tried again, counts as."""
    if state is None or state is State.PENDING:
        return "skipped"
    return "elsewhere" if state is State.IN_FLIGHT else state.value
