"""What the caps of a run still allow: counted and summed within the transaction that claims calls.

What counts is in the ledger, so neither a resumed run nor a parallel process starts from nothing:
calls that were or may have been charged, and calls in flight as if they will be. All of a month is
summed once; after that only the calls that were added since, less those that they supersede.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, func, select

from pixmill.ledger.queries import calls_of
from pixmill.ledger.records import RunLimits
from pixmill.ledger.schema import COUNTS, attempts, jobs, late, now_micros
from pixmill.ledger.tasks import is_unattended
from pixmill.money import to_units


class Room(NamedTuple):
    """What the caps of a run leave: calls, and money by the cap that says so."""

    calls: int | None
    """How many more, `None` without a cap."""
    units: Mapping[str, int]
    """In billionths of the currency, by the key of the config's `budget`."""

    def divide(
        self, asked: Mapping[str, int | None]
    ) -> tuple[dict[str, int | None], dict[str, str]]:
        """Return those of the jobs `asked`, in their order, that all fit at once, and of the others
        the cap that they do not fit under.

        Each comes with what it may cost in billionths. A call without a known price fits under
        every cap on money: a config with such a cap needs a price for all that it may send.
        """
        calls = self.calls
        left = dict(self.units)
        fitting: dict[str, int | None] = {}
        over = {}
        for key, units in asked.items():
            needed = units or 0
            exceeded = [cap for cap, money in left.items() if needed > money]
            if calls is not None and len(fitting) >= calls:
                exceeded.insert(0, "max_calls")
            if exceeded:
                over[key] = exceeded[0]
                continue
            fitting[key] = units
            left = {cap: money - needed for cap, money in left.items()}
        return fitting, over


class Budgets:
    """The caps of all runs that claim through one open ledger."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, int], _Meter] = {}

    def room(self, connection: Connection, limits: RunLimits) -> Room:
        """Return what the caps of a run leave."""
        calls = None
        if limits.max_calls is not None:
            used = calls_of(connection, limits.run_id)
            calls = max(0, limits.max_calls - used)
        # Of a run without a price, what nobody wrote down counts as nothing.
        price = to_units(limits.price or Decimal(0))
        units = {}
        if limits.max_cost is not None:
            spent = self._of_run(limits).spent(connection, price)
            units["max_cost"] = to_units(limits.max_cost) - spent
        if limits.max_cost_per_month is not None:
            spent = self._of_month(limits).spent(connection, price)
            cap = to_units(limits.max_cost_per_month)
            units["max_cost_per_month"] = cap - spent
        return Room(calls, units)

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
    in flight. Money is in billionths."""

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
        self._ended = 0

    def spent(self, connection: Connection, price: int) -> int:
        """Return what was or may have been charged, calls in flight included; one whose amount
        nobody wrote down counts as `price`."""
        self._read_on(connection, price)
        total = self._ended
        # In flight. Held by a process, or left to nobody: each has an index of its own.
        for is_claimed in (jobs.c.owner.is_not(None), is_unattended()):
            of_each = func.coalesce(jobs.c.claim_amount, price)
            claimed = select(func.sum(of_each)).where(is_claimed, self._claimed)
            total += int(connection.execute(claimed).scalar() or 0)
        return total

    def _read_on(self, connection: Connection, price: int) -> None:
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


def _money(connection: Connection, calls: ColumnElement[bool], price: int) -> int:
    of_each = func.coalesce(attempts.c.amount, price)
    total = select(func.sum(of_each)).where(attempts.c.charged != "no", calls)
    # PostgreSQL returns a decimal: its sums of whole numbers have no limit.
    return int(connection.execute(total).scalar() or 0)
