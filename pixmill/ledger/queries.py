"""The questions that are asked of a ledger, each a function of a connection."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, case, false, func, select, text

from pixmill.ledger.bulk_lookup import look_up, look_up_first, nothing_known
from pixmill.ledger.dead_owners import (
    held_by_the_dead,
    mark_doubtful,
    mark_held_by_the_dead,
)
from pixmill.ledger.job_conditions import (
    has_task,
    is_retryable_failure,
    lacks_images,
)
from pixmill.ledger.payment_marks import may_be_paid_again
from pixmill.ledger.records import DoubtfulCall, KnownStates, MissingImages, State
from pixmill.ledger.schema import DOUBTFUL, IS_LAST_WORD, attempts, jobs, runs
from pixmill.money import from_units

_NOT_PUBLISHED = {
    "job_key",
    "owner",
    "lease_until",
    "account",
    "req_key",
    "runs",
    "transient",
    "rerolls",
    "again",
    "claim_run",
    "claim_account",
    "claimed_at",
    "claim_task",
    "task_since",
    "claim_amount",
}
OUTCOME_COLUMNS = tuple(
    column.name for column in jobs.columns if column.name not in _NOT_PUBLISHED
)
"""The columns of `jobs` that a dataset is made from, in the order in which `outcomes` returns
them."""

_MISSING = 1
_NOWHERE = 2


def is_empty(connection: Connection) -> bool:
    """Whether no job has ever been claimed."""
    return connection.execute(select(jobs.c.job_key).limit(1)).first() is None


def has_claims(connection: Connection) -> bool:
    """Whether any job is claimed, or has a task that still works: its outcome may come at any
    moment."""
    # One after the other, as each has an index of its own.
    for is_claimed in (jobs.c.owner.is_not(None), has_task()):
        held = select(jobs.c.job_key).where(is_claimed).limit(1)
        if connection.execute(held).first() is not None:
            return True
    return False


def has_runs(connection: Connection) -> bool:
    """Whether a run was ever begun."""
    return connection.execute(select(runs.c.run_id).limit(1)).first() is not None


def has_run(connection: Connection, run_id: str) -> bool:
    """Whether this is the ledger in which that run was begun."""
    return (
        connection.execute(select(runs.c.run_id).where(runs.c.run_id == run_id)).first()
        is not None
    )


def known(
    connection: Connection, keys: Sequence[str | None], max_runs: int, retry_doubt: bool
) -> KnownStates:
    """Return what is known of each of `keys`, by position."""
    state = case(
        (is_retryable_failure(max_runs), State.PENDING.value),
        else_=jobs.c.state,
    ).label("state")
    lacks = lacks_images()
    nowhere = and_(lacks, jobs.c.output_urls.is_(None))
    no_image = case((nowhere, _NOWHERE), (lacks, _MISSING), else_=0).label("missing")
    again = case((may_be_paid_again(max_runs, retry_doubt), 1)).label("again")
    # Of a job in flight whether it would be paid for again if its owner is dead, and so has left it
    # in doubt.
    if_dead = (
        and_(jobs.c.owner.is_not(None), jobs.c.runs + 1 < max_runs)
        if retry_doubt
        else false()
    )
    columns = (
        state,
        no_image,
        jobs.c.image_error,
        jobs.c.owner,
        jobs.c.lease_until,
        jobs.c.claim_task,
        again,
    )
    found = look_up(connection, (*columns, case((if_dead, 1)).label("if_dead")), keys)
    dead = mark_held_by_the_dead(connection, found)
    in_doubt = mark_doubtful(found, dead)
    is_unattended = pc.and_(
        pc.is_valid(found["claim_task"]), pc.or_(pc.is_null(found["owner"]), dead)
    )
    states = pc.if_else(in_doubt, State.IN_DOUBT.value, found["state"])
    is_again = pc.is_valid(pc.if_else(in_doubt, found["if_dead"], found["again"]))
    is_missing = pc.fill_null(pc.greater(found["missing"], 0), False)
    is_nowhere = pc.fill_null(pc.equal(found["missing"], _NOWHERE), False)
    is_lost = pc.fill_null(pc.equal(found["image_error"], "image_lost"), False)
    return KnownStates(
        states=states.to_pylist(),
        missing=_mask(is_missing),
        nowhere=_mask(is_nowhere),
        # Of a picture that is here again, the ledger may still say that it was lost.
        lost=_mask(pc.and_(is_missing, is_lost)),
        again=_mask(is_again),
        places=np.zeros(found.num_rows, np.uint32),
        unattended=_mask(is_unattended),
    )


def retry_facts(connection: Connection, keys: Sequence[str | None]) -> pa.Table:
    """Return for each of `keys` what `pixmill retry` chooses by: `state`, `error_code` as a dataset
    publishes it, and `attempts`."""
    code = case((lacks_images(), jobs.c.image_error), else_=jobs.c.error_code).label(
        "error_code"
    )
    claim = (jobs.c.owner, jobs.c.lease_until, jobs.c.claim_task)
    columns = (jobs.c.state, *claim, code, jobs.c.attempts)
    found = look_up(connection, columns, keys)
    in_doubt = mark_doubtful(found, mark_held_by_the_dead(connection, found))
    states = pc.if_else(in_doubt, State.IN_DOUBT.value, found["state"])
    return found.set_column(0, "state", states)


def in_doubt_calls(connection: Connection) -> list[DoubtfulCall]:
    """Return the jobs in doubt, also those whose process died and that no run has found yet;
    longest ago first."""
    names = ("job_key", "started_at", "finished_at", "error_code", "request_id")
    known = connection.execute(
        select(*(jobs.c[name] for name in names)).where(
            text(DOUBTFUL), jobs.c.owner.is_(None)
        )
    )
    dead = [
        DoubtfulCall(row.job_key, row.claimed_at, None, None, None)
        for row in held_by_the_dead(
            connection, (jobs.c.job_key, jobs.c.claimed_at, jobs.c.state)
        )
        if row.claim_task is None and row.state != State.SUCCEEDED
    ]
    return sorted(
        [*map(DoubtfulCall._make, known), *dead],
        key=lambda doubt: doubt.sent_at or doubt.ended_at or 0,
    )


def failed_renewals(connection: Connection, run_id: str) -> int:
    """How many jobs that a run tried keep an earlier success."""
    tried = select(attempts.c.job_key).where(attempts.c.run_id == run_id)
    kept = select(func.count()).where(
        jobs.c.job_key.in_(tried), jobs.c.state == State.SUCCEEDED
    )
    return connection.execute(kept.where(jobs.c.outcome_run != run_id)).scalar_one()


def outcomes(
    connection: Connection, keys: Sequence[str | None], places: Sequence[int] = ()
) -> pa.Table:
    """Return the `OUTCOME_COLUMNS` of the first `keys`, as many as fit, in their order; null where
    nothing is known."""
    return look_up_first(
        connection, [jobs.c[name] for name in OUTCOME_COLUMNS], keys, places
    )


def no_outcomes(count: int) -> pa.Table:
    """Return the `OUTCOME_COLUMNS` of `count` keys of which nothing is known."""
    return nothing_known([jobs.c[name] for name in OUTCOME_COLUMNS], count)


def missing_images(
    connection: Connection, keys: Sequence[str | None]
) -> tuple[list[MissingImages], int]:
    """Return what is missing of the paid jobs among the first `keys` and may still be had.

    The number is how many keys were looked at: those whose URLs fit.
    """
    names = ("state", "images", "image_error", "output_urls", "url_expires_at")
    found = look_up_first(connection, [jobs.c[name] for name in names], keys)
    paid = pc.fill_null(pc.equal(found["state"], State.SUCCEEDED.value), False)
    lacks = pc.or_(pc.is_null(found["images"]), pc.is_valid(found["image_error"]))
    lost = pc.fill_null(pc.equal(found["image_error"], "image_lost"), False)
    somewhere = pc.or_(pc.is_valid(found["output_urls"]), pc.is_valid(found["images"]))
    wanted = pc.and_(pc.and_(paid, lacks), pc.and_not(somewhere, lost))
    looked_at = pa.array(keys[: found.num_rows], pa.string())
    rows = found.append_column("key", looked_at).filter(wanted).to_pylist()
    missing = (
        MissingImages(
            row["key"],
            row["output_urls"] or (),
            row["url_expires_at"] or 0,
            row["images"] or (),
        )
        for row in rows
    )
    return [*{images.job_key: images for images in missing}.values()], found.num_rows


def calls_of(connection: Connection, run_id: str) -> int:
    """How many HTTP calls a run has claimed."""
    return (
        connection.execute(select(runs.c.calls).where(runs.c.run_id == run_id)).scalar()
        or 0
    )


def problem_codes(connection: Connection, run_id: str) -> dict[str, int]:
    """Return how many jobs a run brought to which error code, the most frequent first.

    Codes of missing images are among them.
    """
    code = func.coalesce(jobs.c.error_code, jobs.c.image_error)
    # By the index over attempts, as `jobs` has none over runs.
    tried = select(attempts.c.job_key).where(attempts.c.run_id == run_id)
    query = (
        select(code, func.count())
        .where(jobs.c.job_key.in_(tried), jobs.c.outcome_run == run_id)
        .where(code.is_not(None))
        .group_by(code)
        .order_by(func.count().desc(), code)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def newest_call(connection: Connection) -> int:
    """Return the id of the call that was recorded last, 0 where there is none."""
    return connection.execute(select(func.max(attempts.c.id))).scalar() or 0


class NewCalls(NamedTuple):
    """Calls of a run that have ended since somebody looked."""

    last: int
    """The id of the newest, 0 where there are none."""

    verdicts: dict[str, int]
    """Their number by verdict."""

    cost: Decimal
    """What they were surely charged."""


def calls_after(connection: Connection, run_id: str, last: int) -> NewCalls:
    """Return the calls of a run that were recorded after the one with the id `last`.

    On PostgreSQL a call of another process may be recorded later with a smaller id, and is not
    among them: these counts are for whoever looks on, and no bill is made of them.
    """
    query = (
        select(
            attempts.c.verdict,
            func.count(),
            func.max(attempts.c.id),
            func.sum(case((attempts.c.charged == "yes", attempts.c.amount), else_=0)),
        )
        # By its primary key: a look every second must not count a long run anew each time.
        .where(attempts.c.id > last, attempts.c.run_id == run_id)
        .where(attempts.c.supersedes.is_(None))
        .group_by(attempts.c.verdict)
    )
    rows = connection.execute(query).all()
    return NewCalls(
        last=max((row[2] for row in rows), default=0),
        verdicts={row[0]: row[1] for row in rows},
        cost=from_units(sum(int(row[3] or 0) for row in rows)),
    )


def jobs_called_after(connection: Connection, run_id: str, last: int) -> list[str]:
    """Return the job keys of the calls of a run that were recorded after the one with the id
    `last`, as far as `calls_after` finds these.
    """
    query = select(attempts.c.job_key).where(
        attempts.c.id > last, attempts.c.run_id == run_id
    )
    return list(connection.execute(query).scalars())


def newest_images(connection: Connection, run_id: str, calls: int) -> list[str]:
    """Return the images of the last `calls` of a run that succeeded, each as `jobs.images` holds
    it, the newest first; none of those whose images are still to be fetched.
    """
    newest = (
        select(attempts.c.id, attempts.c.job_key)
        .where(attempts.c.run_id == run_id, attempts.c.verdict == State.SUCCEEDED)
        .order_by(attempts.c.id.desc())
        # A run whose images are not fetched at all is not looked through to its beginning.
        .limit(calls)
        .subquery()
    )
    query = (
        select(jobs.c.images)
        .join(newest, jobs.c.job_key == newest.c.job_key)
        .where(jobs.c.images.is_not(None))
        .order_by(newest.c.id.desc())
    )
    return list(connection.execute(query).scalars())


def spent(
    connection: Connection,
    *,
    account: str | None = None,
    since: int = 0,
    run_id: str | None = None,
) -> dict[str, Decimal]:
    """Return the money of calls by whether they were charged: `yes`, `no`, `unknown`."""
    query = select(attempts.c.charged, func.sum(attempts.c.amount)).where(
        attempts.c.answered_at >= since, IS_LAST_WORD
    )
    if account is not None:
        query = query.where(attempts.c.account == account)
    if run_id is not None:
        query = query.where(attempts.c.run_id == run_id)
    rows = connection.execute(query.group_by(attempts.c.charged)).all()
    return {charged: from_units(int(total or 0)) for charged, total in rows}


def mean_latency_ms(connection: Connection, sample: int = 500) -> float | None:
    """The mean latency of the last `sample` successful calls, `None` without any."""
    recent = select(attempts.c.latency_ms).where(attempts.c.verdict == "succeeded")
    newest = recent.order_by(attempts.c.id.desc()).limit(sample).subquery()
    return connection.execute(select(func.avg(newest.c.latency_ms))).scalar()


def last_runs(
    connection: Connection, name: str, limit: int = 5
) -> list[dict[str, Any]]:
    """The newest runs of the config `name`, newest first, as plain columns."""
    query = (
        select(runs)
        .where(runs.c.name == name)
        .order_by(runs.c.started_at.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _mask(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.array(column.to_numpy(), np.bool_)
