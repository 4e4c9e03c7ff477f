"""One call for a job: it waits for a turn, claims the job, sends, and passes the answer on to be settled.

For an asynchronous operation the call is a submit. Once the provider has given the task an id, and that is on disk, the
task goes to the poller with the slot that it holds.
"""

import logging
import time

from pixmill.config.model import Config
from pixmill.errors import LedgerError, TableError
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.outcomes import (
    FEEDBACK,
    SentCall,
    in_doubt_by,
    outcome_of,
    seed_of,
)
from pixmill.execution.progress import Outcome, RunCounters
from pixmill.execution.settlement import Settlement
from pixmill.execution.spending_rules import claim_terms
from pixmill.execution.stop_reasons import budget_reached, outage
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.task_poller import RunningTask, TaskPoller, resumed_task
from pixmill.execution.work_queue import WorkItem
from pixmill.ledger import Claim, ClaimDenied, Ledger
from pixmill.ledger.schema import now_micros
from pixmill.limits.feedback import Permit
from pixmill.planning.jobs import with_seed
from pixmill.provider.client import Client
from pixmill.provider.error_codes import Verdict
from pixmill.provider.responses import Response
from pixmill.tuning import CLAIM_LEASE_TIMEOUTS

log = logging.getLogger(__name__)


class CallSender:
    """Makes the calls of one run in this process. Threads share it."""

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
        settlement: Settlement,
        poller: TaskPoller,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._client = client
        self._downloads = downloads
        self._stop = stop
        self._counts = counts
        self._settlement = settlement
        self._poller = poller
        self._claim_terms = claim_terms(config, run_id)

    def pay(self, item: WorkItem) -> None:
        """Make one call for a job: wait for a turn, claim, send, record, follow up."""
        job = item.job
        self._downloads.wait_for_room()
        permit = None
        if not self._stop.is_set:
            limiter = item.lane.limiter
            # A running task has its slot at the provider, whatever the limits say here.
            permit = limiter.occupy() if job.has_task else limiter.acquire()
        if permit is None:
            self._settlement.end(item, Outcome.SKIPPED)
            return
        response = None
        denied = None
        try:
            # Built only now: local images are megabytes, and each thread that waits for a slot
            # would hold its own.
            body_prefix = job.beginning()
            terms = self._claim_terms._replace(req_key=job.req_key)
            most = job.price.most if job.price else None
            claim = self._ledger.claim(job.key, terms, most)
            match claim:
                case ClaimDenied():
                    denied = claim
                case Claim() if claim.task:
                    self._poller.add(resumed_task(item, claim, claim.task, permit))
                    # The poller releases the slot.
                    permit = None
                case Claim() if job.is_async:
                    response = self._submit(item, claim, body_prefix, permit)
                    if response.verdict is Verdict.SUBMITTED:
                        permit = None
                case Claim():
                    call = self._send(item, claim, body_prefix)
                    response = self._settlement.settle(item, claim, call)
        except TableError as error:
            log.warning("%s is skipped: %s", job.label, error)
            self._settlement.end(item, Outcome.SKIPPED)
        finally:
            if permit:
                self._give_back(item, permit, response)
        if denied:
            # After the slot is released: a stop hurries the images once no call is in flight.
            if denied.may_get_room:
                self._settlement.retry_when_room(item)
                return
            if denied.cap:
                self._stop.stop(budget_reached(denied.cap, self._config.budget))
            self._settlement.end(item, outcome_of(denied.state))

    def _submit(
        self, item: WorkItem, claim: Claim, body_prefix: bytes, permit: Permit
    ) -> Response:
        """Start the task of a claimed job; a task that works goes to the poller, with its slot.

        Raises LedgerError where its id can't be written down.
        """
        call = self._send(item, claim, body_prefix)
        task_id = call.response.task_id
        if call.response.verdict is not Verdict.SUBMITTED or task_id is None:
            return self._settlement.settle(item, claim, call)
        timeouts = self._config.limits
        # The time for which this run polls the task, plus the usual lease of a call.
        usual = CLAIM_LEASE_TIMEOUTS * timeouts.timeout_seconds
        lease = timeouts.task_timeout_seconds + usual
        try:
            self._ledger.record_task(item.job.key, task_id, lease_seconds=lease)
        except LedgerError:
            # A person can still ask for it.
            log.error(
                "%s was started as task %s, which is not on record",
                item.job.label,
                task_id,
            )
            raise
        item.lane.limiter.accept(permit)
        task = RunningTask(
            item=item,
            claim=claim,
            permit=permit,
            task_id=task_id,
            seed=call.seed,
            sent_at=call.sent_at,
            queue_ms=call.queue_ms,
            began=time.monotonic() - call.latency_ms / 1000,
        )
        self._poller.add(task)
        return call.response

    def _send(self, item: WorkItem, claim: Claim, body_prefix: bytes) -> SentCall:
        queue_ms = (time.monotonic() - item.queued_at) * 1000
        job = item.job
        seed = seed_of(item, claim)
        sent_at = now_micros()
        began = time.monotonic()
        try:
            body = with_seed(body_prefix, seed)
            send = self._client.submit if job.is_async else self._client.call
            response = send(body, job.req_key)
        except Exception as error:  # nobody knows how far it came
            self._settlement.note_bug(item, error)
            response = in_doubt_by(error)
        latency_ms = (time.monotonic() - began) * 1000
        self._counts.record_call(began)
        return SentCall(seed, sent_at, queue_ms, latency_ms, response)

    def _give_back(
        self, item: WorkItem, permit: Permit, response: Response | None
    ) -> None:
        """Give the slot back, with what the answer says of the service."""
        limiter = item.lane.limiter
        if response is None:
            limiter.release(permit, None, answered=False, code=None)
        else:
            is_answered = (
                response.verdict not in (Verdict.STOP, Verdict.IN_DOUBT)
                and response.http_status is not None
            )
            feedback = FEEDBACK[response.verdict]
            limiter.release(permit, feedback, answered=is_answered, code=response.code)
        if limiter.outage_exceeded:
            self._stop.stop(outage(self._counts.frequent_codes()))
