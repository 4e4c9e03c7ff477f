"""What an answer means for its job, and the one record of a call: an `Attempt`."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from pixmill.config.model import Config, Retry
from pixmill.execution.image_downloads import urls_expire_at
from pixmill.execution.progress import Outcome
from pixmill.execution.work_queue import WorkItem
from pixmill.ledger import Attempt, Claim, State
from pixmill.ledger.schema import now_micros
from pixmill.limits.feedback import Feedback
from pixmill.provider.error_codes import OUTPUT_REDRAWN, Verdict
from pixmill.provider.responses import Response
from pixmill.redaction import mask_secrets, single_line
from pixmill.request.fingerprint import reroll_seed
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


class SentCall(NamedTuple):
    """A call that was made: with which seed, when, and what came of it."""

    seed: int | None
    """`None` where the operation has none."""
    sent_at: int
    """Microseconds since 1970 UTC."""
    queue_ms: float
    """How long the job waited for this call to go out."""
    latency_ms: float
    response: Response


def seed_of(item: WorkItem, claim: Claim) -> int | None:
    """Return the seed that is sent: another one after moderation has refused the outputs of earlier ones."""
    seed = item.job.seed
    # Without a seed, whatever is sent again is drawn anew.
    if claim.rerolls and seed is not None:
        return reroll_seed(seed, claim.rerolls)
    return seed


def decide(item: WorkItem, claim: Claim, response: Response, retry: Retry) -> State:
    """Return the state of the job of `item` after `response`.

    `PENDING` is a job that this run sends once more, except after `STOP`: this run sends
    nothing more, so the next run sends it.

    | verdict                     | try again if                        | else      |
    |-----------------------------|-------------------------------------|-----------|
    | RETRY                       | fewer than `retry.max_attempts`     | FAILED    |
    | THROTTLE_…                  | fewer than `THROTTLES_PER_JOB`      | FAILED    |
    | REFUSED, an output redrawn  | fewer than `retry.rerolls` seeds    | REFUSED   |
    | any other                   | never                               | as it says|
    """
    match response.verdict:
        case Verdict.SUCCEEDED:
            return State.SUCCEEDED
        case Verdict.FAILED:
            return State.FAILED
        case Verdict.IN_DOUBT:
            return State.IN_DOUBT
        case Verdict.STOP:
            return State.PENDING
        case Verdict.REFUSED:
            can_redraw = response.code in OUTPUT_REDRAWN
            will_retry = can_redraw and claim.rerolls < retry.rerolls
            return State.PENDING if will_retry else State.REFUSED
        case Verdict.RETRY:
            will_retry = item.faults + 1 < retry.max_attempts
        case _:
            will_retry = item.throttled + 1 < THROTTLES_PER_JOB
    return State.PENDING if will_retry else State.FAILED


def build_attempt(
    config: Config,
    run_id: str,
    item: WorkItem,
    claim: Claim,
    call: SentCall,
    images: str | None,
) -> Attempt:
    """Return the record of `call`, with the outcome that follows from it.

    `images` are those that came inside the answer and were stored, as JSON.
    """
    response = call.response
    state = decide(item, claim, response, config.retry)
    # A service that was busy or broken until the end may work tomorrow: such a failure
    # is pending in the next run, `retry.max_runs` times.
    is_transient = state is State.FAILED and response.verdict is not Verdict.FAILED
    # A seed that moderation used up stays so: a later run takes the next one.
    redrawn = response.verdict is Verdict.REFUSED and state is State.PENDING
    urls = response.image_urls
    now = now_micros()
    image_count = len(urls) or len(response.inline_images) or None
    return Attempt(
        job_key=item.job.key,
        # The run and the account that started a task pay for it, whoever asks for its result.
        run_id=claim.task.run_id if claim.task else run_id,
        provider=config.provider.kind,
        account=claim.task.account if claim.task else config.account,
        state=state,
        transient=is_transient,
        verdict=response.verdict.value,
        charged=response.charged,
        sent_at=call.sent_at,
        answered_at=now,
        http_status=response.http_status,
        code=response.code,
        message=response.message,
        request_id=response.request_id,
        rephraser_result=response.rephraser_result,
        output_urls=json.dumps(urls, allow_nan=False) if urls else None,
        url_expires_at=urls_expire_at(urls, now) if urls else None,
        images=images,
        queue_ms=call.queue_ms,
        latency_ms=call.latency_ms,
        provider_ms=response.provider_ms,
        amount=_find_amount(item, claim, response, image_count),
        currency=config.budget.currency,
        seed=call.seed,
        rerolls=claim.rerolls + redrawn,
        attempt=claim.attempts,
        answer=response.raw,
        task_id=response.task_id,
        image_count=image_count,
        outcome_run=run_id,
    )


def _find_amount(
    item: WorkItem, claim: Claim, response: Response, image_count: int | None
) -> Decimal | None:
    """Return what a call was charged at most; `None` where it was not charged, or no price is known."""
    if response.charged == "no":
        return None
    if item.job.price:
        # Of anything but a success nobody knows how many images there are.
        is_known = response.verdict is Verdict.SUCCEEDED
        return item.job.price.of(image_count if is_known else None)
    # Caps counted a task at this amount from its submit on, so it must not vanish from them.
    return claim.task.amount if claim.task else None


def in_doubt_by(error: Exception, response: Response | None = None) -> Response:
    """Return a stand-in answer for a call interrupted by `error`, a fault of this program.

    Of a `response` that could not be judged or written down stays what may help its
    owner: whether it was charged, its request id and its URLs.
    """
    what = single_line(mask_secrets(f"internal error: {type(error).__name__}: {error}"))
    return Response(
        Verdict.IN_DOUBT,
        response.charged if response else "unknown",
        code="internal_error",
        message=what[:MESSAGE_CHARS],
        http_status=response.http_status if response else None,
        request_id=response.request_id if response else None,
        image_urls=response.image_urls if response else (),
        task_id=response.task_id if response else None,
    )


def outcome_of(state: State | None) -> Outcome:
    """Return how a job that stays in `state` ends in this run, which may be without an outcome on record.

    `None`: its claim was refused because the budget is used up.
    """
    match state:
        # The next run tries it.
        case None | State.PENDING:
            return Outcome.SKIPPED
        case State.IN_FLIGHT | State.SUBMITTED:
            return Outcome.ELSEWHERE
        case _:
            return Outcome(state.value)
