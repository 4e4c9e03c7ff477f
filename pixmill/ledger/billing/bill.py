"""What was spent: calls and money of a period from the ledger, separately by whether calls were
charged.

Money is exact: the database adds up whole numbers (`pixmill.money`). What is not known stays so:
calls that may have been charged make a range, calls without a price make an amount that has no
upper end.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pixmill.errors import UserError
from pixmill.ledger import Ledger
from pixmill.ledger.billing.queries import (
    CallSum,
    call_sums,
    paid_runs,
)
from pixmill.money import from_units

BY = ("day", "req_key", "code", "config")
CHARGED = ("yes", "no", "unknown")
ZONE = "Asia/Shanghai"
"""Where the provider's days begin and end."""

ALL = "all"
_MOST_MICROSECONDS = 2**63 - 1


class Period(NamedTuple):
    """Days in a time zone, from `begin` until before `end`; all of time where these are `None`."""

    label: str
    zone: ZoneInfo
    begin: date | None = None
    end: date | None = None

    def microseconds(self, margin_days: int = 0) -> tuple[int, int]:
        """Begin and end since 1970 UTC, each `margin_days` further out."""
        if self.begin is None or self.end is None:
            return 0, _MOST_MICROSECONDS
        days = self.begin - timedelta(margin_days), self.end + timedelta(margin_days)
        begin, end = (
            datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()
            for day in days
        )
        return int(begin) * 1_000_000, int(end) * 1_000_000

    def holds(self, day: date) -> bool:
        """Whether `day` is one of the period."""
        return self.begin is None or self.end is None or self.begin <= day < self.end


class BillLine(NamedTuple):
    """Calls that were all charged, all not, or all perhaps: what those with a price cost, and how
    many have none."""

    calls: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def plus(self, other: "BillLine") -> "BillLine":
        """Both together."""
        return BillLine(
            self.calls + other.calls,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True)
class Line:
    """The calls of one group, in one currency (`None`: not known)."""

    group: tuple[str | None, ...]
    currency: str | None
    yes: BillLine
    no: BillLine
    unknown: BillLine

    @property
    def calls(self) -> int:
        """All calls, charged or not."""
        return self.yes.calls + self.no.calls + self.unknown.calls

    @property
    def unpriced(self) -> int:
        """Calls that were or may be charged and have no price."""
        return self.yes.unpriced + self.unknown.unpriced

    @property
    def least(self) -> Decimal | None:
        """What was spent at least; `None` where calls without a price leave nothing to say."""
        return None if self.unpriced and not self.yes.cost else self.yes.cost

    @property
    def most(self) -> Decimal | None:
        """What was spent at most; `None` where a call without a price was or may be charged."""
        return None if self.unpriced else self.yes.cost + self.unknown.cost

    def as_dict(self, by: Sequence[str]) -> dict[str, Any]:
        """The line as plain JSON values; an unknown amount is null."""
        return {
            **dict(zip(by, self.group, strict=True)),
            "calls": self.calls,
            "yes": _plain(self.yes),
            "no": {"calls": self.no.calls},
            "unknown": _plain(self.unknown),
            "cost": {
                "least": _number(self.least),
                "most": _number(self.most),
                "currency": self.currency,
            },
        }


@dataclass(frozen=True)
class Bill:
    """The lines of a period, grouped `by` some of `BY`, and the totals: one for each currency."""

    period: Period
    by: tuple[str, ...]
    lines: tuple[Line, ...]
    totals: tuple[Line, ...]

    def as_dict(self) -> dict[str, Any]:
        """The bill as plain JSON values."""
        return {
            "period": self.period.label,
            "timezone": self.period.zone.key,
            "by": list(self.by),
            "lines": [line.as_dict(self.by) for line in self.lines],
            "totals": [line.as_dict(()) for line in self.totals],
        }


def month_period(month: str | None, zone: ZoneInfo, now: datetime) -> Period:
    """Return the month that `month` names (`2026-11`), the one of `now` where it is `None`, or
    `all` of time."""
    if month == ALL:
        return Period(ALL, zone)
    named = f"{now.astimezone(zone):%Y-%m}" if month is None else month
    if (
        not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", named)
        or not "1970" <= named < "9999"
    ):
        raise UserError(
            f"--month: {month!r} is not a month", hint="such as 2026-11, or all"
        )
    begin = date.fromisoformat(f"{named}-01")
    return Period(named, zone, begin, (begin + timedelta(31)).replace(day=1))


def grouping(text: str) -> tuple[str, ...]:
    """Read `day,config` into names of `BY`. Raises UserError for other ones."""
    names = tuple(
        dict.fromkeys(filter(None, (name.strip() for name in text.split(","))))
    )
    for name in names:
        if name not in BY:
            raise UserError(
                f"--by: {name!r} is not a valid group",
                hint=f"one or more of {', '.join(BY)}",
            )
    return names


def make_bill(ledger: Ledger, period: Period, by: Sequence[str] = ()) -> Bill:
    """Sum what the calls that ended in `period` came to."""
    of_runs = ledger.read(paid_runs)
    sums = ledger.read(call_sums, *period.microseconds(), by)
    # A run that got no answer did not say its currency: where there is only one, it is that.
    found = [run.currency if (run := of_runs.get(one.run_id)) else None for one in sums]
    known = {currency for currency in found if currency}
    currencies = [next(iter(known))] * len(sums) if len(known) == 1 else found
    groups = []
    for one in sums:
        run = of_runs.get(one.run_id)
        values = {
            "day": one.day(period.zone),
            "req_key": one.req_key,
            "code": one.code,
            "config": run.config if run else None,
        }
        groups.append(tuple(values[name] for name in by))
    lines = _lines(zip(groups, currencies, sums, strict=True))
    totals = _lines(
        ((), currency, one) for currency, one in zip(currencies, sums, strict=True)
    )
    return Bill(
        period,
        tuple(by),
        lines,
        totals or (Line((), None, BillLine(), BillLine(), BillLine()),),
    )


def _lines(
    sums: Iterable[tuple[tuple[str | None, ...], str | None, CallSum]],
) -> tuple[Line, ...]:
    cells: dict[tuple[tuple[str | None, ...], str | None], dict[str, BillLine]] = (
        defaultdict(dict)
    )
    for group, currency, one in sums:
        parts = cells[group, currency]
        part = BillLine(one.calls)
        if one.charged != "no":
            unpriced = one.calls - one.priced
            part = BillLine(one.calls, from_units(one.units), unpriced)
        parts[one.charged] = parts.get(one.charged, BillLine()).plus(part)
    lines = (
        Line(*group, *(parts.get(charged, BillLine()) for charged in CHARGED))
        for group, parts in cells.items()
    )
    return tuple(
        sorted(
            lines,
            key=lambda line: [part or "" for part in (*line.group, line.currency)],
        )
    )


def _plain(part: BillLine) -> dict[str, Any]:
    return {
        "calls": part.calls,
        "cost": None if part.unpriced else float(part.cost),
        "unpriced": part.unpriced,
    }


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
