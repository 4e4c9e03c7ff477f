"""What an answer means for its job: the new state, whether this run tries again, and what the ledger writes down."""

import json
from collections.abc import Mapping
from typing import NamedTuple

from pixmill.config.model import Config, Retry
from pixmill.execution.image_downloads import urls_expire_at
from pixmill.execution.work_queue import WorkItem
from pixmill.ledger import AttemptRecord, Claim, State
from pixmill.ledger.schema import now_micros
from pixmill.limits.feedback import Feedback
from pixmill.provider.error_codes import OUTPUT_REDRAWN, Verdict
from pixmill.provider.responses import Response
from pixmill.redaction import mask_secrets, single_line
from pixmill.tuning import THROTTLES_PER_JOB

FEEDBACK: Mapping[Verdict, Feedback] = {
    Verdict.SUCCEEDED: Feedback.OK,
    Verdict.REFUSED: Feedback.OK,
    Verdict.FAILED: Feedback.OK,
    Verdict.RETRY: Feedback.FAULT,
    Verdict.IN_DOUBT: Feedback.FAULT,
    Verdict.THROTTLE_RATE: Feedback.RATE_LIMITED,
    Verdict.THROTTLE_CONCURRENCY: Feedback.CONCURRENCY_LIMITED,
    Verdict.STOP: Feedback.TURNED_AWAY,
}
"""What an answer tells the limiter: a job that can't succeed is no fault of the service."""

MESSAGE_CHARS = 500
"""How much of what this program says of its own fault is kept."""


class CallTiming(NamedTuple):
    """A call: when it was sent (microseconds since 1970), how long it waited before and took, and its seed.

    `attempt` is which call for its job key it was.
    """

    sent_at: int
    queue_ms: float
    latency_ms: float
    seed: int
    rerolls: int
    attempt: int


class Decision(NamedTuple):
    """A job's state after an answer, whether a failure is transient, and whether this run tries again."""

    state: State
    transient: bool
    again: bool


def decide(item: WorkItem, claim: Claim, answer: Response, retry: Retry) -> Decision:
    """Say what becomes of the job of `item` after `answer`."""
    match answer.verdict:
        case Verdict.SUCCEEDED:
            return Decision(State.SUCCEEDED, transient=False, again=False)
        case Verdict.REFUSED:
            again = answer.code in OUTPUT_REDRAWN and claim.rerolls < retry.rerolls
            return Decision(
                State.PENDING if again else State.REFUSED, transient=False, again=again
            )
        case Verdict.FAILED:
            return Decision(State.FAILED, transient=False, again=False)
        case Verdict.IN_DOUBT:
            return Decision(State.IN_DOUBT, transient=False, again=False)
        case Verdict.STOP:
            return Decision(State.PENDING, transient=False, again=False)
        case Verdict.RETRY:
            again = item.tries + 1 < retry.max_attempts
        case _:
            again = item.throttles + 1 < THROTTLES_PER_JOB
    return Decision(
        State.PENDING if again else State.FAILED, transient=not again, again=again
    )


def in_doubt_by(error: Exception, answer: Response | None = None) -> Response:
    """Return the answer that stands for a call that `error`, a fault of this program, made an end of.

    Of an `answer` that could not be judged or written down stays what may help its owner: whether it was charged, its
    request id and its URLs.
    """
    what = single_line(mask_secrets(f"internal error: {type(error).__name__}: {error}"))
    return Response(
        Verdict.IN_DOUBT,
        answer.charged if answer else "unknown",
        code="internal_error",
        message=what[:MESSAGE_CHARS],
        http_status=answer.http_status if answer else None,
        request_id=answer.request_id if answer else None,
        image_urls=answer.image_urls if answer else (),
    )


def attempt_record(
    config: Config,
    run_id: str,
    job_key: str,
    answer: Response,
    judged: Decision,
    sent: CallTiming,
    images: str | None,
) -> AttemptRecord:
    """Return what the ledger writes down of a call; `images` are those that came inside the answer, as JSON."""
    now = now_micros()
    urls = answer.image_urls
    return AttemptRecord(
        job_key=job_key,
        run_id=run_id,
        provider=config.provider.kind,
        account=config.account,
        state=judged.state,
        transient=judged.transient,
        verdict=answer.verdict.value,
        charged=answer.charged,
        sent_at=sent.sent_at,
        answered_at=now,
        http_status=answer.http_status,
        code=answer.code,
        message=answer.message,
        request_id=answer.request_id,
        rephraser_result=answer.rephraser_result,
        output_urls=json.dumps(urls, allow_nan=False) if urls else None,
        url_expires_at=urls_expire_at(urls, now) if urls else None,
        images=images,
        queue_ms=sent.queue_ms,
        latency_ms=sent.latency_ms,
        provider_ms=answer.provider_ms,
        price=None if answer.charged == "no" else config.budget.price_per_call,
        currency=config.budget.currency,
        seed=sent.seed,
        # A seed that moderation used up stays so: a later run goes on with the next one.
        rerolls=sent.rerolls + (answer.verdict is Verdict.REFUSED and judged.again),
        attempt=sent.attempt,
        answer=answer.raw,
    )
