"""What is under way in a run that is spread over processes: read by its driver, which makes no
calls itself."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from pixmill.ledger.queries import calls_of
from pixmill.ledger.schema import jobs


class UnderWay(NamedTuple):
    """How many calls a run has claimed, and how many of those are in flight."""

    calls: int
    in_flight: int


def under_way(connection: Connection, run_id: str) -> UnderWay:
    """Return what is under way in a run; the index of jobs in flight makes it cheap."""
    held = (
        select(func.count())
        .select_from(jobs)
        .where(jobs.c.owner.is_not(None), jobs.c.claim_run == run_id)
    )
    in_flight = connection.execute(held).scalar_one()
    return UnderWay(calls_of(connection, run_id), in_flight)
