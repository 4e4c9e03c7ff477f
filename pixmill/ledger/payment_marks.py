"""Paying once more for what has an outcome: because a person asked, or because the config retries
what is in doubt.

A mark (`jobs.again`) stands for one more payment. The claim that sends it takes the mark away in
the same statement, and leaves the outcome where it is: a process that dies after that has paid at
most once for the mark, and what was there before is still there. The claim notes that it used a
mark up (`MARK_IN_USE`): an answer after which any job is sent again (throttled, a
transient failure) puts that mark back, and makes none where there was none.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BindParameter,
    Connection,
    and_,
    bindparam,
    false,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.dead_owners import held_by_the_dead
from pixmill.ledger.records import SETTLED, DoubtfulCall, State
from pixmill.ledger.schema import DOUBTFUL, jobs

NO_MARK = 0
MARKED = 1
MARK_IN_USE = 2
"""The values of `jobs.again`. In use: a claim took the mark, and its call has not ended yet."""

Number = int | BindParameter[int]
Truth = bool | BindParameter[bool]


def is_state(*states: State) -> ColumnElement[bool]:
    """The condition that a job is in one of `states`, as text: a statement with parameters of its
    own can hold it."""
    return jobs.c.state.in_([literal_column(f"'{state}'") for state in states])


def lacks_images() -> ColumnElement[bool]:
    """The condition that a paid job is without its images: none is known, or the store has not
    taken those that are."""
    absent = or_(jobs.c.images.is_(None), jobs.c.image_error.is_not(None))
    return and_(is_state(State.SUCCEEDED), absent)


def retryable_failure(max_runs: Number) -> ColumnElement[bool]:
    """The condition that a job failed transiently in fewer than `max_runs` runs."""
    return and_(
        is_state(State.FAILED),
        jobs.c.transient == literal_column("1"),
        jobs.c.runs < max_runs,
    )


def wanted_again(max_runs: Number, retry_doubt: Truth) -> ColumnElement[bool]:
    """The condition that a job is paid for once more although it has an outcome, which stays until
    the next one.

    It is marked, or in doubt where the config retries that; at most `max_runs` runs may bring
    nothing.
    """
    doubted = false() if retry_doubt is False else is_state(State.IN_DOUBT)
    if isinstance(retry_doubt, BindParameter):
        doubted = and_(doubted, retry_doubt)
    marked = jobs.c.again == literal_column(str(MARKED))
    # With its task still out it is paid for already.
    is_free = and_(jobs.c.owner.is_(None), jobs.c.claim_task.is_(None))
    return and_(or_(marked, doubted), is_free, jobs.c.runs < max_runs)


_MARK = (
    update(jobs)
    .where(jobs.c.job_key == bindparam("key"), jobs.c.attempts == bindparam("seen"))
    .where(jobs.c.owner.is_(None), jobs.c.claim_task.is_(None), is_state(*SETTLED))
    .values(again=MARKED, runs=0)
)


def mark_for_repayment(
    connection: Connection, entries: Sequence[Sequence[tuple[str, int]]]
) -> list[None]:
    """Mark jobs, each with the number of attempts that it had when a person agreed.

    One that was called since then is not marked: that person agreed to another outcome.
    """
    rows = [{"key": key, "seen": seen} for asked in entries for key, seen in asked]
    if rows:
        connection.execute(_MARK, rows)
    return [None] * len(entries)


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
