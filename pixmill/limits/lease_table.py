"""Who uses an account now, and which share of it: one row a process, which it renews and the others read.

All of it happens within a write transaction, of which a ledger has one at a time. A row counts until its lease ends by
the database's clock, or until its owner is seen to be dead on this host.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from pixmill.ledger.dialects import clock
from pixmill.ledger.process_owner import is_dead, this_owner
from pixmill.ledger.schema import shares
from pixmill.limits.concurrency import ConcurrencyEstimate
from pixmill.limits.fair_share import Allotment, LeaseRecord, UsageReport, allocate
from pixmill.limits.rate import RateEstimate

LEASE_SECONDS = 15.0
"""How long a share that is not renewed is left to its owner, who then stops sending by itself."""
TURN_SECONDS = 20
"""How long each has its turn where there are fewer slots than processes."""
_NEVER = 2**62
"""The end of a lease, for asking only whether its owner is dead on this host."""

_OF_ACCOUNT = (
    select(shares).where(shares.c.account == bindparam("of")).order_by(shares.c.lease)
)
_MINE = shares.c.lease == bindparam("of")


class LeaseRequest(NamedTuple):
    """What a process asks for: the share of `account` that goes with its `report`; `None` gives it back.

    With its `first` one the table is made in a ledger of a time before there were shares.
    """

    lease: str
    account: str
    report: UsageReport | None
    first: bool


def share_out(
    connection: Connection, asks: Sequence[LeaseRequest]
) -> list[Allotment | None]:
    """Renew leases, drop those that have ended, and return what each who asks may use."""
    if any(ask.first for ask in asks):
        shares.create(connection, checkfirst=True)
    now = clock(connection)
    return [_share_out(connection, ask, now()) for ask in asks]


def _share_out(connection: Connection, ask: LeaseRequest, now: int) -> Allotment | None:
    if ask.report is None:
        connection.execute(delete(shares).where(_MINE), {"of": ask.lease})
        return None
    rows = connection.execute(_OF_ACCOUNT, {"of": ask.account}).all()
    ended = [row for row in rows if row.lease != ask.lease and _has_ended(row, now)]
    if ended:
        connection.execute(
            delete(shares).where(_MINE), [{"of": row.lease} for row in ended]
        )
    others = [row for row in rows if row.lease != ask.lease and row not in ended]
    position = sum(row.lease < ask.lease for row in others)
    turn = now // (TURN_SECONDS * 1_000_000)
    beside = [_lease(row.record) or _modest(ask.report) for row in others]
    share, lease = allocate(ask.report, beside, position, turn)
    values = {
        "expires_at": now + int(LEASE_SECONDS * 1e6),
        "held_until": now + int(ask.report.hold * 1e6),
        "record": _record(lease),
    }
    if (
        connection.execute(
            update(shares).where(_MINE).values(values), {"of": ask.lease}
        ).rowcount
        == 0
    ):
        connection.execute(
            insert(shares),
            {
                "lease": ask.lease,
                "account": ask.account,
                "owner": this_owner(),
                **values,
            },
        )
    return share._replace(
        hold=max([0, *(row.held_until - now for row in others)]) / 1e6
    )


def _has_ended(row: Row[Any], now: int) -> bool:
    """Whether a lease has ended. One that ends later than any does was written before the clock was put back."""
    in_time = now <= row.expires_at <= now + int(2 * LEASE_SECONDS * 1e6)
    return not in_time or is_dead(row.owner, _NEVER)


def _record(lease: LeaseRecord) -> str:
    """Return a lease as text, each value under its name, so that other versions find those that they know."""
    report = lease.report
    learnt = {"slots": report.slots._asdict(), "rate": report.rate._asdict()}
    return json.dumps(
        {"report": {**report._asdict(), **learnt}, "portion": lease.account_fraction},
        allow_nan=False,
    )


def _lease(record: str) -> LeaseRecord | None:
    """Read what another process has put on record; `None` where its version writes what this one can't read."""
    try:
        named = json.loads(record)
        report = _named(
            UsageReport, named["report"], slots=ConcurrencyEstimate, rate=RateEstimate
        )
        return LeaseRecord(report, _number(named["portion"]))
    except (ValueError, TypeError, KeyError):
        return None


def _named(kind: Any, values: Mapping[str, Any], **inner: Any) -> Any:
    """Make a `kind` of numbers out of the values that it knows the names of; `inner` are those made of several."""
    return kind(
        **{
            name: _named(inner[name], values[name])
            if name in inner
            else _number(values[name])
            for name in kind._fields
        }
    )


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return value


def _modest(mine: UsageReport) -> LeaseRecord:
    """What a process counts as whose record can't be read: it keeps its lease and wants nothing."""
    return LeaseRecord(mine._replace(held=0, wanted=0, wanted_rate=0.0, hold=0.0), 0.0)
