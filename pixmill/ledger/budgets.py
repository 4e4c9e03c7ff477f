"""How many more calls the caps of a run allow: counted and summed within the transaction that
claims them.

What counts is in the ledger, so neither a resumed run nor a parallel process starts from nothing:
calls that were or may have been charged, and calls in flight as if they will be. All of a month is
summed once; after that only the calls that were added since, less those that they supersede.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, func, select

from pixmill.ledger.queries import calls_of
from pixmill.ledger.records import RunLimits
from pixmill.ledger.schema import COUNTS, attempts, jobs, late, now_micros
from pixmill.ledger.tasks import is_forsaken

_ROUNDING = 1e-9
"""0.7 / 0.1 is a little less than 7 in binary."""


class Room(NamedTuple):
    """How many more calls are allowed, `None` without a cap, and the key of the config's `budget`
    that says so."""

    calls: int | None
    cap: str


NO_CAP = Room(None, "")


class Budgets:
    """The caps of all runs that claim through one open ledger."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, int], _Meter] = {}

    def room(self, connection: Connection, limits: RunLimits) -> Room:
        """Return the room under the tightest cap of a run."""
        rooms = [Room(calls, cap) for calls, cap in self._rooms(connection, limits)]
        return min(rooms, key=lambda room: room.calls or 0, default=NO_CAP)

    def _rooms(
        self, connection: Connection, limits: RunLimits
    ) -> Iterator[tuple[int, str]]:
        if limits.max_calls is not None:
            used = calls_of(connection, limits.run_id)
            yield max(0, limits.max_calls - used), "max_calls"
        if limits.max_cost is not None and limits.price:
            spent = self._of_run(limits).spent(connection, limits.price)
            yield _affordable(limits.max_cost - spent, limits.price), "max_cost"
        if limits.max_cost_per_month is not None and limits.price:
            spent = self._of_month(limits).spent(connection, limits.price)
            yield (
                _affordable(limits.max_cost_per_month - spent, limits.price),
                "max_cost_per_month",
            )

    def _of_run(self, limits: RunLimits) -> "_Meter":
        key = (limits.run_id, 0)
        if key not in self._meters:
            of_run = attempts.c.run_id == limits.run_id
            in_flight = jobs.c.claim_run == limits.run_id
            self._meters[key] = _Meter(of_run, of_run, in_flight)
        return self._meters[key]

    def _of_month(self, limits: RunLimits) -> "_Meter":
        begin = month_begins(limits.timezone)
        key = (limits.account, begin)
        if key not in self._meters:
            of_account = attempts.c.account == limits.account
            first = of_account & (attempts.c.answered_at >= begin)
            # A sum, so that no index on the time is used to look at the whole month again for the
            # few that were added.
            later = of_account & (attempts.c.answered_at + 0 >= begin)
            in_flight = jobs.c.claim_account == limits.account
            self._meters[key] = _Meter(first, later, in_flight)
        return self._meters[key]


def month_begins(timezone: str) -> int:
    """Return when this month began in `timezone`, in microseconds since 1970 UTC."""
    now = datetime.fromtimestamp(now_micros() / 1e6, ZoneInfo(timezone))
    return int(
        now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp() * 1e6
    )


class _Meter:
    """The money of the calls under one cap; `first` and `later` select ended calls, `claimed` those
    in flight."""

    def __init__(
        self,
        first: ColumnElement[bool],
        later: ColumnElement[bool],
        claimed: ColumnElement[bool],
    ) -> None:
        self._first = first
        self._later = later
        self._claimed = claimed
        self._seen: int | None = None
        self._ended = 0.0

    def spent(self, connection: Connection, price: float) -> float:
        """Return what was or may have been charged, calls in flight included. Where no price is
        known it is `price`."""
        self._read_on(connection, price)
        in_flight = sum(
            connection.execute(
                select(func.count()).select_from(jobs).where(is_claimed, self._claimed)
            ).scalar_one()
            # Each has an index of its own.
            for is_claimed in (jobs.c.owner.is_not(None), is_forsaken())
        )
        return self._ended + price * in_flight

    def _read_on(self, connection: Connection, price: float) -> None:
        last: int = connection.execute(
            select(func.coalesce(func.max(attempts.c.id), 0))
        ).scalar_one()
        if last == self._seen:
            return
        if self._seen is None:
            self._ended = _money(connection, self._first & COUNTS, price)
        else:
            added = (attempts.c.id > self._seen) & self._later & COUNTS
            # What was given up counted as charged; now its answer does.
            answered = select(late.c.supersedes).where(
                late.c.id > self._seen, late.c.supersedes <= self._seen
            )
            superseded = attempts.c.id.in_(answered) & self._later
            self._ended += _money(connection, added, price)
            self._ended -= _money(connection, superseded, price)
        self._seen = last


def _money(connection: Connection, calls: ColumnElement[bool], price: float) -> float:
    of_each = func.coalesce(attempts.c.price, price)
    total = select(func.sum(of_each)).where(attempts.c.charged != "no", calls)
    return connection.execute(total).scalar() or 0.0


def _affordable(left: float, price: float) -> int:
    return max(0, int(left / price + _ROUNDING))
