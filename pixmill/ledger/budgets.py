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

from pixmill.ledger.job_conditions import is_unattended
from pixmill.ledger.queries import calls_of
from pixmill.ledger.records import ClaimTerms
from pixmill.ledger.schema import IS_LAST_WORD, attempts, jobs, late, now_micros
from pixmill.money import to_units


class Room(NamedTuple):
    """What the caps of a run leave: calls, and money by the cap that says so."""

    calls: int | None
    """How many more, `None` without a cap."""
    units: Mapping[str, int]
    """Money in billionths of the currency (`pixmill.money`), by the key of the config's `budget`
    whose cap leaves it."""

    def split_by_fit(
        self, asked: Mapping[str, int | None]
    ) -> tuple[dict[str, int | None], dict[str, str]]:
        """Return those of the jobs `asked`, in their order, that all fit at once, and for each of
        the others the cap that it does not fit under.

        Each comes with what it may cost in billionths. A call without a known price fits under
        every cap on money: a config with such a cap needs a price for all that it may send.
        """
        calls = self.calls
        money_left = dict(self.units)
        fitting: dict[str, int | None] = {}
        over = {}
        for key, units in asked.items():
            needed = units or 0
            exceeded = [cap for cap, money in money_left.items() if needed > money]
            if calls is not None and len(fitting) >= calls:
                exceeded.insert(0, "max_calls")
            if exceeded:
                over[key] = exceeded[0]
                continue
            fitting[key] = units
            money_left = {cap: money - needed for cap, money in money_left.items()}
        return fitting, over


class Budgets:
    """The caps of all runs that claim through one open ledger."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, int], _Meter] = {}

    def room(self, connection: Connection, terms: ClaimTerms) -> Room:
        """Return what the caps of a run leave."""
        calls = None
        if terms.max_calls is not None:
            used = calls_of(connection, terms.run_id)
            calls = max(0, terms.max_calls - used)
        # Of a run without a price, what nobody wrote down counts as nothing.
        price = to_units(terms.price or Decimal(0))
        units = {}
        if terms.max_cost is not None:
            spent = self._of_run(terms).spent(connection, price)
            units["max_cost"] = to_units(terms.max_cost) - spent
        if terms.max_cost_per_month is not None:
            spent = self._of_month(terms).spent(connection, price)
            cap = to_units(terms.max_cost_per_month)
            units["max_cost_per_month"] = cap - spent
        return Room(calls, units)

    def _of_run(self, terms: ClaimTerms) -> "_Meter":
        key = (terms.run_id, 0)
        if key not in self._meters:
            of_run = attempts.c.run_id == terms.run_id
            in_flight = jobs.c.claim_run == terms.run_id
            self._meters[key] = _Meter(of_run, of_run, in_flight)
        return self._meters[key]

    def _of_month(self, terms: ClaimTerms) -> "_Meter":
        begin = month_begins(terms.timezone)
        key = (terms.account, begin)
        if key not in self._meters:
            of_account = attempts.c.account == terms.account
            first = of_account & (attempts.c.answered_at >= begin)
            # A sum, so that no index on the time is used to look at the whole month again for the
            # few that were added.
            later = of_account & (attempts.c.answered_at + 0 >= begin)
            in_flight = jobs.c.claim_account == terms.account
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
        self._add_ended(connection, price)
        total = self._ended
        # In flight. Held by a process, or left to nobody: each has an index of its own.
        for is_claimed in (jobs.c.owner.is_not(None), is_unattended()):
            of_each = func.coalesce(jobs.c.claim_amount, price)
            claimed = select(func.sum(of_each)).where(is_claimed, self._claimed)
            total += int(connection.execute(claimed).scalar() or 0)
        return total

    def _add_ended(self, connection: Connection, price: int) -> None:
        """Bring the sum of ended calls up to date with those that were recorded since the last
        look."""
        last: int = connection.execute(
            select(func.coalesce(func.max(attempts.c.id), 0))
        ).scalar_one()
        if last == self._seen:
            return
        if self._seen is None:
            self._ended = _money(connection, self._first & IS_LAST_WORD, price)
        else:
            added = (attempts.c.id > self._seen) & self._later & IS_LAST_WORD
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
