"""How large a ledger is and what it holds, counted by the database."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from pixmill.ledger.migrations import version_of
from pixmill.ledger.schema import attempts, jobs, runs


def row_counts(connection: Connection) -> dict[str, int]:
    """Return the number of jobs, attempts and runs; an attempt that was given up and answered late
    is one."""
    counts = {
        table.name: connection.execute(
            select(func.count()).select_from(table)
        ).scalar_one()
        for table in (jobs, attempts, runs)
    }
    answered_late = select(func.count()).where(attempts.c.supersedes.is_not(None))
    counts["attempts"] -= connection.execute(answered_late).scalar_one()
    return counts


def read_stats(connection: Connection) -> dict[str, Any]:
    """Return counts, jobs per state, when the first and the last call ended (ISO 8601, UTC), and
    the schema version."""
    states = (
        select(jobs.c.state, func.count()).group_by(jobs.c.state).order_by(jobs.c.state)
    )
    # Apart, as SQLite finds each of them in the index, but not both at once.
    first, last = (
        connection.execute(select(end(attempts.c.answered_at))).scalar()
        for end in (func.min, func.max)
    )
    return {
        **row_counts(connection),
        "states": dict(connection.execute(states).tuples().all()),
        "first": _moment(first),
        "last": _moment(last),
        "schema_version": version_of(connection),
    }


def _moment(micros: int | None) -> str | None:
    return (
        None
        if micros is None
        else datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="seconds")
    )
