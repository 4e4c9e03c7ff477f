"""Who uses an account now, and which share of it: a row for each process, which renews it.

The share says how much a process may use, the lease how long. Of the share, the row's JSON calls
`account_fraction` its `portion`.

All of it happens within a write transaction. A ledger has one at a time, so no two processes divide
an account at once. A row counts until its lease ends by the database's clock, or until its owner is
seen to be dead on this host.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    insert,
    inspect,
    select,
    update,
)

from pixmill.ledger.dialects import clock
from pixmill.ledger.process_owner import is_dead, this_owner
from pixmill.ledger.schema import shares
from pixmill.limits.concurrency import ConcurrencyEstimate
from pixmill.limits.fair_share import LeaseRecord, Share, UsageReport, allocate
from pixmill.limits.history import LimitChange
from pixmill.limits.rate import RateEstimate
from pixmill.tuning import ROTATION_SECONDS, SHARE_LEASE_SECONDS

_NEVER = 2**62
"""An end of a lease so late that it does not count: `is_dead` then only says whether the owner is
seen to be dead on this host."""

_JSON_NAMES = {
    "learnt_slots": "slots",
    "learnt_rate": "rate",
    "pause_seconds": "hold",
}
"""Fields of `UsageReport` that have another name in the column `record`, by which other versions
find them. All other fields, and those of the two estimates, have their own names there."""

_ESTIMATES = {"learnt_slots": ConcurrencyEstimate, "learnt_rate": RateEstimate}

_ROWS_OF_ACCOUNT = (
    select(shares)
    .where(shares.c.account == bindparam("of_account"))
    .order_by(shares.c.lease)
)
_IS_LEASE = shares.c.lease == bindparam("of_lease")


class LeaseRequest(NamedTuple):
    """What a process asks for."""

    lease: str
    """The name of its row."""

    account: str

    report: UsageReport | None
    """What its share goes by; None gives the share back."""

    first: bool
    """Whether the table may be missing, in a ledger of a time before there were shares."""

    changes: Sequence[LimitChange] = ()
    """How its limits changed lately, for `pixmill status` in another process."""


def share_out(
    connection: Connection, requests: Sequence[LeaseRequest]
) -> list[Share | None]:
    """Renew leases, drop those that have ended, and return what each who asks may use."""
    if any(request.first for request in requests):
        shares.create(connection, checkfirst=True)
    now = clock(connection)
    return [_renew(connection, request, now()) for request in requests]


def limit_changes(connection: Connection, owner: str) -> list[LimitChange]:
    """Return how the limits changed lately in the process `owner`, as far as it has told."""
    if not inspect(connection).has_table(shares.name):
        return []
    query = select(shares.c.record).where(shares.c.owner == owner)
    records = connection.execute(query).scalars().all()
    changes = []
    for record in records:
        # Another version may write a lease that this one can't read.
        with suppress(ValueError, TypeError, AttributeError):
            told = json.loads(record).get("changes", [])
            changes += [LimitChange(**change) for change in told]
    return sorted(changes)


def _renew(connection: Connection, request: LeaseRequest, now: int) -> Share | None:
    """Write one process's lease anew, and return its share; `now` is in microseconds."""
    if request.report is None:
        connection.execute(delete(shares).where(_IS_LEASE), {"of_lease": request.lease})
        return None
    others = _living_others(connection, request, now)
    position = sum(row.lease < request.lease for row in others)
    rotation = now // (ROTATION_SECONDS * 1_000_000)
    # A process whose record can't be read keeps its lease, and counts as one that wants nothing.
    modest = LeaseRecord(
        request.report._replace(held=0, wanted=0, wanted_rate=0.0, pause_seconds=0.0),
        account_fraction=0.0,
    )
    records = [_read_lease(row.record) or modest for row in others]
    share, lease = allocate(request.report, records, position, rotation)
    values = {
        "expires_at": now + int(SHARE_LEASE_SECONDS * 1e6),
        "held_until": now + int(request.report.pause_seconds * 1e6),
        "record": json.dumps(
            {
                "report": _write_report(lease.report),
                "portion": lease.account_fraction,
                "changes": [change._asdict() for change in request.changes],
            },
            allow_nan=False,
        ),
    }
    renewed = connection.execute(
        update(shares).where(_IS_LEASE).values(values), {"of_lease": request.lease}
    )
    if renewed.rowcount == 0:
        connection.execute(
            insert(shares),
            {
                "lease": request.lease,
                "account": request.account,
                "owner": this_owner(),
                **values,
            },
        )
    longest_pause = max([0, *(row.held_until - now for row in others)])
    return share._replace(pause_seconds=longest_pause / 1e6)


def _living_others(
    connection: Connection, request: LeaseRequest, now: int
) -> list[Row[Any]]:
    """Return the rows of the other processes of the account; those that have ended are dropped."""
    rows = connection.execute(_ROWS_OF_ACCOUNT, {"of_account": request.account}).all()
    others = [row for row in rows if row.lease != request.lease]
    # No lease is written to end later than this. One that does was written before the clock was put
    # back, and would be believed until the clock has caught up.
    latest = now + int(2 * SHARE_LEASE_SECONDS * 1e6)
    living = [
        row
        for row in others
        if now <= row.expires_at <= latest and not is_dead(row.owner, _NEVER)
    ]
    ended = [{"of_lease": row.lease} for row in others if row not in living]
    if ended:
        connection.execute(delete(shares).where(_IS_LEASE), ended)
    return living


def _write_report(report: UsageReport) -> dict[str, Any]:
    """Return a report by its names in the ledger."""
    values = report._asdict()
    for name in _ESTIMATES:
        values[name] = values[name]._asdict()
    return {_JSON_NAMES.get(name, name): value for name, value in values.items()}


def _read_lease(record: str) -> LeaseRecord | None:
    """Read another process's lease; None where its version writes what this one can't read."""
    try:
        values = json.loads(record)
        report = _read_numbers(UsageReport, values["report"])
        return LeaseRecord(report, _finite(values["portion"]))
    except (ValueError, TypeError, KeyError):
        return None


def _read_numbers(kind: Any, values: Mapping[str, Any]) -> Any:
    """Make a `kind` of those of `values` whose names it knows: numbers, and estimates made of them.

    Raises KeyError where one is missing, and TypeError where one is not a finite number.
    """
    read: dict[str, Any] = {}
    for name in kind._fields:
        value = values[_JSON_NAMES.get(name, name)]
        estimate = _ESTIMATES.get(name)
        read[name] = _read_numbers(estimate, value) if estimate else _finite(value)
    return kind(**read)


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a finite number")
    return value
