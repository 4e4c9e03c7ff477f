"""The conditions on a row of `jobs` that several statements share.

They are without parameters of their own, but for `max_runs`: a statement that is compiled once and
run with its own parameters can hold them.
"""

from sqlalchemy import BindParameter, and_, literal_column, or_
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.records import State
from pixmill.ledger.schema import jobs

Number = int | BindParameter[int]


def is_state(*states: State) -> ColumnElement[bool]:
    """The condition that a job is in one of `states`."""
    return jobs.c.state.in_([literal_column(f"'{state}'") for state in states])


def is_unclaimed() -> ColumnElement[bool]:
    """The condition that no process has a job in flight, and that no task of it works."""
    return and_(jobs.c.owner.is_(None), jobs.c.claim_task.is_(None))


def has_task() -> ColumnElement[bool]:
    """The condition that a job has a running task, as far as anybody knows."""
    return jobs.c.claim_task.is_not(None)


def is_unattended() -> ColumnElement[bool]:
    """The condition that no process polls the task of a job, so that any run may."""
    return and_(has_task(), jobs.c.owner.is_(None))


def lacks_images() -> ColumnElement[bool]:
    """The condition that a paid job is without its images: none is known, or the store has not
    taken those that are."""
    absent = or_(jobs.c.images.is_(None), jobs.c.image_error.is_not(None))
    return and_(is_state(State.SUCCEEDED), absent)


def is_retryable_failure(max_runs: Number) -> ColumnElement[bool]:
    """The condition that a job failed transiently in fewer than `max_runs` runs."""
    return and_(
        is_state(State.FAILED),
        jobs.c.transient == literal_column("1"),
        jobs.c.runs < max_runs,
    )
