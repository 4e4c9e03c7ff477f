"""Paying again: one more payment for a job that has an outcome, because a person asked for it, or
because the config retries what is in doubt.

A mark (`jobs.again`) says that a person asked for one more payment. The claim that sends it takes
the mark away in the same statement, and leaves the outcome where it is: a process that dies after
that has paid at most once for the mark, and what was there before is still there. The claim notes
that it used a mark up (`MARK_IN_USE`): an answer after which any job is sent again (throttled, a
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
    update,
)
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.job_conditions import Number, is_state, is_unclaimed
from pixmill.ledger.records import SETTLED, State
from pixmill.ledger.schema import jobs

NO_MARK = 0
MARKED = 1
MARK_IN_USE = 2
"""The values of `jobs.again`. In use: a claim took the mark, and its call has not ended yet."""

Truth = bool | BindParameter[bool]


def has_mark() -> ColumnElement[bool]:
    """The condition that a person asked for one more payment, which no claim has used up yet."""
    return jobs.c.again == literal_column(str(MARKED))


def may_be_paid_again(max_runs: Number, retry_doubt: Truth) -> ColumnElement[bool]:
    """The condition that a job may be paid for again; its outcome stays until the next one.

    It has a mark, or it is in doubt and the config retries that; and it is unclaimed: whoever has
    it in flight pays for it already. At most `max_runs` runs may try in vain.
    """
    is_retried_doubt = false() if retry_doubt is False else is_state(State.IN_DOUBT)
    if isinstance(retry_doubt, BindParameter):
        is_retried_doubt = and_(is_retried_doubt, retry_doubt)
    return and_(
        or_(has_mark(), is_retried_doubt), is_unclaimed(), jobs.c.runs < max_runs
    )


_MARK = (
    update(jobs)
    .where(jobs.c.job_key == bindparam("key"), jobs.c.attempts == bindparam("seen"))
    .where(is_unclaimed(), is_state(*SETTLED))
    .values(again=MARKED, runs=0)
)


def mark_to_pay_again(
    connection: Connection, entries: Sequence[Sequence[tuple[str, int]]]
) -> list[None]:
    """Mark jobs, each with the number of attempts that it had when a person agreed.

    One that was called since then is not marked: that person agreed to another outcome.
    """
    rows = [{"key": key, "seen": seen} for asked in entries for key, seen in asked]
    if rows:
        connection.execute(_MARK, rows)
    return [None] * len(entries)
