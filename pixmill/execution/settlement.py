"""What follows from an answer: it is recorded, then its job is retried, has its images fetched, or ends."""

import logging
import random
import time
from collections.abc import Callable

from pixmill.config.model import Config
from pixmill.errors import LedgerError
from pixmill.execution.bug_limit import BugLimit
from pixmill.execution.failure_rate import FailureRate
from pixmill.execution.image_downloads import Downloads, StoredImages
from pixmill.execution.outcomes import (
    SentCall,
    build_attempt,
    in_doubt_by,
    outcome_of,
)
from pixmill.execution.progress import Outcome, RunCounters
from pixmill.execution.stop_reasons import credentials_rejected, failure_rate_exceeded
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.work_queue import WorkItem
from pixmill.ledger import Attempt, Claim, Ledger, MissingImages, State
from pixmill.provider.error_codes import Verdict
from pixmill.provider.responses import Response
from pixmill.redaction import single_line
from pixmill.tuning import CALL_BACKOFF

log = logging.getLogger(__name__)

BUDGET_PAUSE_SECONDS = 0.5
"""How long a job waits that does not fit into the budget beside calls in flight: some of them have
ended by then."""


class Settlement:
    """Settles the calls of one run in this process. Threads share it.

    `jitter` returns a number in [0, 1), for tests to control pauses.
    """

    def __init__(
        self,
        config: Config,
        run_id: str,
        *,
        ledger: Ledger,
        downloads: Downloads,
        stop: StopSignal,
        counts: RunCounters,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._run_id = run_id
        self._ledger = ledger
        self._downloads = downloads
        self._stop = stop
        self._counts = counts
        self._jitter = jitter
        self._failure_rate = FailureRate(config.stop)
        self._bugs = BugLimit(stop)

    def settle(self, item: WorkItem, claim: Claim, call: SentCall) -> Response:
        """Write down what came of the `call` for a claimed job, whatever that is, and do what it asks for.

        Returns the answer as recorded: if the original could not be recorded, a stand-in that is in doubt. Raises
        LedgerError where nothing can be recorded.
        """
        try:
            attempt, images = self._record(item, claim, call)
        except Exception as error:
            if not isinstance(error, LedgerError):
                self.note_bug(item, error)
            # Record it again, as in doubt. If the ledger itself is broken, that raises again.
            call = call._replace(response=in_doubt_by(error, call.response))
            attempt, images = self._record_in_doubt(item, claim, call)
        response = call.response
        self._counts.record_answer(
            response.code,
            success=response.verdict is Verdict.SUCCEEDED,
            cost=attempt.amount if response.charged == "yes" else None,
        )
        try:
            self._follow_up(item, attempt, response, images)
        except LedgerError:
            raise
        except Exception as error:
            self.note_bug(item, error)
            self.end(item, outcome_of(attempt.state))
        return response

    def end(self, item: WorkItem, outcome: Outcome) -> None:
        """Count the `outcome` with which the job ends in this run."""
        self._counts.record_job(outcome)
        # During an outage the circuit breaker decides when to stop, not the failure rate.
        if not item.lane.limiter.service_is_down:
            exceeded = self._failure_rate.record(outcome)
            if exceeded:
                window = self._config.stop.window
                codes = self._counts.frequent_codes()
                self._stop.stop(failure_rate_exceeded(exceeded, window, codes))
        item.tracker.end(outcome)

    def note_bug(self, item: WorkItem, error: Exception) -> None:
        """Note a fault of this program. One costs the job that met it; too many stop the run."""
        what = single_line(self._bugs.note(error))
        log.exception("%s met an internal error: %s", item.job.label, what)

    def _record(
        self, item: WorkItem, claim: Claim, call: SentCall
    ) -> tuple[Attempt, StoredImages]:
        """Record a call and its outcome; return the attempt and the images stored from the answer."""
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
            item.lane.limiter.pause_all(response.retry_after)
        if attempt.is_repeated:
            self._try_again(item, response.verdict)
            return
        if response.verdict is Verdict.STOP:
            self._stop.stop(credentials_rejected(response))
        is_fetched_later = response.image_urls and self._config.output.images != "url"
        if attempt.state is State.SUCCEEDED and not images.files and is_fetched_later:
            missing = MissingImages(
                item.job.key,
                response.image_urls,
                attempt.url_expires_at or 0,
                label=item.job.label,
            )
            item.tracker.images.append(self._downloads.fetch(missing))
        self.end(item, outcome_of(attempt.state))

    def _try_again(self, item: WorkItem, verdict: Verdict) -> None:
        is_fault = verdict is Verdict.RETRY
        is_throttled = verdict in (
            Verdict.THROTTLE_RATE,
            Verdict.THROTTLE_CONCURRENCY,
        )
        later = item._replace(
            # Whatever task was out has ended: the next one needs a slot of its own.
            job=item.job._replace(has_task=False),
            faults=item.faults + is_fault,
            throttled=item.throttled + is_throttled,
            queued_at=time.monotonic(),
        )
        if verdict is Verdict.REFUSED:
            pause = 0.0  # another seed is another request
        else:
            # Longer with each failure, and drawn by lot.
            failures = later.faults + later.throttled
            pause = CALL_BACKOFF.pause(failures, self._jitter)
        if is_fault:
            pause = max(pause, item.lane.limiter.reserve_retry())
        self._put_back(later, pause)

    def retry_when_room(self, item: WorkItem) -> None:
        """Try a job again later: calls in flight may leave room in the budget when they have ended."""
        self._put_back(item, BUDGET_PAUSE_SECONDS)

    def _put_back(self, item: WorkItem, pause: float) -> None:
        if not item.lane.queue.put_delayed(item, pause):
            self.end(item, Outcome.SKIPPED)
        # The run may have stopped after it released what waited.
        elif self._stop.is_set:
            item.lane.queue.release_delayed()
