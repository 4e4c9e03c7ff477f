"""What calls came to, counted by the database: of ten million calls a few rows come out."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Connection,
    Null,
    Select,
    and_,
    bindparam,
    func,
    literal,
    null,
    select,
)

from pixmill.ledger.dialects import json_values
from pixmill.ledger.schema import IS_LAST_WORD, attempts, jobs, runs

QUARTER_HOUR = 15 * 60 * 1_000_000
"""In microseconds. Time zones are whole quarters of an hour off UTC, so a quarter is of one day in
each of them."""

SHOWN_IDS = 20


class CallSum(NamedTuple):
    """How many calls had all of this in common, and what they came to; `quarter`, `req_key` and
    `code` are `None` unless asked for.

    `quarter` counts quarters of an hour since 1970 UTC; `units` is the money of the `priced` calls,
    those of which it is known, in billionths of the currency.
    """

    run_id: str
    charged: str
    quarter: int | None
    req_key: str | None
    code: str | None
    calls: int
    priced: int
    units: int

    def day(self, zone: ZoneInfo) -> str | None:
        """The day in `zone` on which the calls ended, `2026-10-31`; `None` unless asked for."""
        if self.quarter is None:
            return None
        began = datetime.fromtimestamp(self.quarter * QUARTER_HOUR // 1_000_000, zone)
        return began.date().isoformat()


class PaidRun(NamedTuple):
    """Which config a run was of, and in which currency it paid; `None` where nothing of the run
    says so."""

    config: str
    currency: str | None


class UnmatchedIds(NamedTuple):
    """Request ids that only one side has: how many, and the first of them."""

    number: int
    ids: tuple[str, ...]


def call_sums(
    connection: Connection, begin: int, end: int, by: Collection[str]
) -> list[CallSum]:
    """Count the calls that ended from `begin` until before `end` (microseconds), by `day`,
    `req_key` and `code`."""
    same: tuple[Any, ...] = (
        attempts.c.run_id,
        attempts.c.charged,
        attempts.c.answered_at // QUARTER_HOUR if "day" in by else null(),
        jobs.c.req_key if "req_key" in by else null(),
        attempts.c.code if "code" in by else null(),
    )
    counted = select(
        *same,
        func.count(attempts.c.id),
        func.count(attempts.c.amount),
        func.coalesce(func.sum(attempts.c.amount), 0),
    ).where(_between(begin, end), IS_LAST_WORD)
    counted = counted.group_by(*(part for part in same if not isinstance(part, Null)))
    if "req_key" in by:
        counted = counted.outerjoin_from(
            attempts, jobs, jobs.c.job_key == attempts.c.job_key
        )
    found = map(CallSum._make, connection.execute(counted))
    # PostgreSQL returns a decimal: its sums of whole numbers have no limit.
    return [one._replace(units=int(one.units)) for one in found]


def paid_runs(connection: Connection) -> dict[str, PaidRun]:
    """Return every run with its config and currency."""
    of_run = attempts.c.run_id == runs.c.run_id
    paid = (
        select(jobs.c.currency)
        .join(attempts, attempts.c.job_key == jobs.c.job_key)
        .where(of_run)
    )
    stated = paid.where(jobs.c.currency.is_not(None))
    currency = func.coalesce(
        stated.where(jobs.c.outcome_run == runs.c.run_id).limit(1).scalar_subquery(),
        stated.limit(
            1
        ).scalar_subquery(),  # all that the run paid for was paid for again
    )
    found = select(runs.c.run_id, runs.c.name, currency)
    return {run: PaidRun(*columns) for run, *columns in connection.execute(found)}


def ids_only_here(
    connection: Connection, begin: int, end: int, theirs: Sequence[str]
) -> UnmatchedIds:
    """Of the calls from `begin` until before `end` that were charged, return the ids that are not
    among `theirs`."""
    charged = and_(
        _between(begin, end),
        attempts.c.charged == "yes",
        attempts.c.request_id.is_not(None),
    )
    unknown = attempts.c.request_id.not_in(select(_given().c.value))
    return _one_sided(
        connection, select(attempts.c.request_id).where(charged, unknown), theirs
    )


def ids_only_there(
    connection: Connection, begin: int, end: int, theirs: Sequence[str]
) -> UnmatchedIds:
    """Of `theirs`, return the ids that no call from `begin` until before `end` has that was or may
    be charged."""
    chargeable = and_(
        _between(begin, end),
        attempts.c.charged != "no",
        attempts.c.request_id.is_not(None),
    )
    given = _given()
    missing = given.c.value.not_in(select(attempts.c.request_id).where(chargeable))
    return _one_sided(connection, select(given.c.value).where(missing), theirs)


def _between(begin: int, end: int) -> Any:
    return and_(attempts.c.answered_at >= begin, attempts.c.answered_at < end)


def _given() -> Any:
    return json_values(bindparam("theirs")).table_valued("value")


def _one_sided(
    connection: Connection, ids: Select[Any], theirs: Sequence[str]
) -> UnmatchedIds:
    found = ids.add_columns(func.count(literal(1)).over()).limit(SHOWN_IDS)
    rows = connection.execute(
        found, {"theirs": json.dumps(theirs, allow_nan=False)}
    ).all()
    return UnmatchedIds(
        rows[0][1] if rows else 0, tuple(sorted(row[0] for row in rows))
    )
