"""The provider's own account of what was spent, as its console exports it, compared with the
ledger.

The format of the export is not documented: it is a table with a header, and its columns are found
by their names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pixmill.errors import TableError
from pixmill.ledger import Ledger
from pixmill.ledger.billing.bill import Line, Period, make_bill
from pixmill.ledger.billing.queries import UnmatchedIds, ids_only_here, ids_only_there
from pixmill.tables import InputTable, as_text, open_table
from pixmill.tables.spreadsheets import dialect_of

_NAMES = {
    "request_id": ("request id", "requestid", "请求id"),
    "day": ("day", "date", "日期", "账单日", "time", "时间"),
    "calls": ("calls", "count", "usage", "quantity", "次数", "调用量", "用量", "数量"),
    "amount": ("payable", "应付", "amount", "金额", "cost", "fee", "charge", "费用"),
}
"""What columns may be called, in lower case: earlier names win where several columns fit."""

_SUGGESTED = ", ".join(
    "/".join(words[:3]) for part, words in _NAMES.items() if part != "day"
)
"""Names that a message proposes where a column is missing."""

_DAY = re.compile(r"(\d{4})(?:[-/.年](\d{1,2})[-/.月](\d{1,2})|(\d\d)(\d\d))(?!\d)")
_NUMBER = re.compile(
    r"(?P<before>[-(]?)[^\d.,()-]*(?P<within>-?)(?P<digits>[\d.,]*\d)[^\d.,()-]*(?P<after>[-)]?)"
)
_NOTHING = ("", "-", "--", "–", "—")


class ConsoleRow(NamedTuple):
    """One row of the export; `None` where it has no such column."""

    day: date | None
    calls: int | None
    amount: Decimal | None
    request_id: str | None

    @property
    def charged(self) -> bool:
        """Whether the row says that something was paid."""
        return self.amount is None or self.amount > 0


class Export(NamedTuple):
    """What was read of a console's export: which columns, the rows, and how many had no day (a line
    of totals)."""

    columns: Mapping[str, str]
    rows: tuple[ConsoleRow, ...]
    left_out: int


class Day(NamedTuple):
    """Both sides of one day (`None`: of the whole period). Amounts and calls are `None` where a
    side can't tell."""

    day: str | None
    charged: int
    unknown: int
    least: Decimal | None
    most: Decimal | None
    console_calls: int | None
    console_amount: Decimal | None

    @property
    def calls_differ(self) -> bool:
        """Whether the console counts calls that the ledger can't explain, or too few."""
        return (
            self.console_calls is not None
            and not 0 <= self.console_calls - self.charged <= self.unknown
        )

    @property
    def amounts_differ(self) -> bool:
        """Whether the console's amount is outside what the ledger allows."""
        amount = self.console_amount
        if amount is None:
            return False
        return (self.least is not None and amount < self.least) or (
            self.most is not None and amount > self.most
        )

    @property
    def differs(self) -> bool:
        """Whether anything of the day does."""
        return self.calls_differ or self.amounts_differ

    def as_dict(self) -> dict[str, Any]:
        """The day as plain JSON values."""
        amounts = {
            name: None if value is None else float(value)
            for name, value in self._asdict().items()
            if name in ("least", "most", "console_amount")
        }
        return {**self._asdict(), **amounts, "differs": self.differs}


@dataclass(frozen=True)
class Reconciliation:
    """The export and the ledger side by side, with the ids of charged calls that only one of them
    has."""

    export: Export
    period: Period
    outside: int
    days: tuple[Day, ...]
    only_console: UnmatchedIds | None
    only_ledger: UnmatchedIds | None

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        sides = (self.only_console, self.only_ledger)
        return any(day.differs for day in self.days) or any(
            side.number for side in sides if side
        )

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        sides = {"only_console": self.only_console, "only_ledger": self.only_ledger}
        return {
            "differs": self.differs,
            "columns": dict(self.export.columns),
            "rows": len(self.export.rows),
            "left_out": self.export.left_out,
            "outside_period": self.outside,
            "period": self.period.label,
            "days": [day.as_dict() for day in self.days],
            **{
                name: side and {"number": side.number, "ids": list(side.ids)}
                for name, side in sides.items()
            },
        }


def read_export(path: str, zone: ZoneInfo) -> Export:
    """Read a console's export: CSV in UTF-8 or GB18030, or any other table. Days are those of
    `zone`.

    Raises TableError where it can't be read, where no column says what was spent, or where a cell
    is no number.
    """
    table = _open(path)
    names = table.schema.names
    # Which column plays which part; none plays two.
    columns: dict[str, str] = {}
    for part, words in _NAMES.items():
        free = [name for name in names if name not in columns.values()]
        exact = (name for word in words for name in free if _spell(name) == word)
        within = (name for word in words for name in free if _says(_spell(name), word))
        if name := next(exact, None) or next(within, None):
            columns[part] = name
    if not columns.keys() & {"calls", "amount", "request_id"}:
        shown = ", ".join(table.schema.names)
        raise TableError(
            f"{path}: no column says what was spent: {shown}",
            hint=f"name one {_SUGGESTED}; if they look odd, save the file as UTF-8",
        )
    rows = []
    left_out = 0
    for number, cells in enumerate(_records(path, columns), 1):
        day = _day(cells["day"], zone) if "day" in cells else None
        if "day" in cells and day is None:
            left_out += 1
        else:
            where = f"{path}: row {number}"
            amount = _number(cells["amount"], where) if "amount" in cells else None
            request_id = cells.get("request_id") or None
            calls = int(_number(cells["calls"], where)) if "calls" in cells else None
            if calls is None and "request_id" in cells:
                # A line of nothing is no charge, and one of less is given back.
                calls = int(bool(request_id) and (amount is None or amount > 0))
            rows.append(ConsoleRow(day, calls, amount, request_id))
    return Export(columns, tuple(rows), left_out)


def days_of(export: Export, zone: ZoneInfo) -> Period | None:
    """Return the period from the first day of an export to the last; `None` where it names no
    days."""
    days = [row.day for row in export.rows if row.day]
    if not days:
        return None
    first = min(days)
    last = max(days)
    return Period(f"{first} to {last}", zone, first, last + timedelta(1))


def compare(ledger: Ledger, export: Export, period: Period) -> Reconciliation:
    """Hold the rows of `export` in `period` against the calls of the ledger that ended in it."""
    rows = [row for row in export.rows if row.day is None or period.holds(row.day)]
    by_day = "day" in export.columns
    ours: dict[str | None, list[Line]] = defaultdict(list)
    for line in make_bill(ledger, period, ("day",) if by_day else ()).lines:
        ours[line.group[0] if by_day else None].append(line)
    theirs: dict[str | None, list[ConsoleRow]] = defaultdict(list)
    for row in rows:
        theirs[row.day.isoformat() if row.day else None].append(row)
    days = sorted({*ours, *theirs}, key=str)
    made = tuple(
        _both(day, ours.get(day, []), theirs.get(day, []), export.columns)
        for day in days
    )
    only_console = None
    only_ledger = None
    if "request_id" in export.columns:
        charged = [row.request_id for row in rows if row.request_id and row.charged]
        # A call at midnight may be of another day over there, so the console's ids are looked for a
        # day further out.
        wide = period.microseconds(margin_days=1)
        only_console = ledger.read(ids_only_there, *wide, charged)
        only_ledger = ledger.read(ids_only_here, *period.microseconds(), charged)
    outside = len(export.rows) - len(rows)
    return Reconciliation(export, period, outside, made, only_console, only_ledger)


def _open(path: str) -> InputTable:
    """Consoles in China export UTF-8 or, for spreadsheets, GB18030, which takes almost any
    bytes."""
    dialect = dialect_of(path, "gb18030", "cp1252")
    return open_table(path, encoding=dialect.encoding, delimiter=dialect.delimiter)


def _spell(name: str) -> str:
    """`RequestId` and `request_id` as `request id`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\W_]+", apart.lower())).strip()


def _says(spelled: str, word: str) -> bool:
    """Whether a name has `word` in it: a whole one in English, as `discount` is no count; anywhere
    in Chinese."""
    return (
        f" {word} " in f" {spelled} "
        if word.isascii()
        else word in spelled.replace(" ", "")
    )


def _records(path: str, columns: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for batch in _open(path).batches():
        for bad in batch.problems.values():
            raise TableError(f"{path}: {bad.message}")
        texts = [as_text(batch.rows[name]).to_pylist() for name in columns.values()]
        for cells in zip(*texts, strict=True):
            yield {
                part: (cell or "").strip()
                for part, cell in zip(columns, cells, strict=True)
            }


def _number(text: str, where: str) -> Decimal:
    if text in _NOTHING:
        return Decimal(0)
    found = _NUMBER.fullmatch(text.replace("\u2212", "-"))
    digits = _digits(found["digits"]) if found else None
    if not found or digits is None:
        raise TableError(
            f"{where}: {text!r} is not a number", hint="such as 1234.50 or ¥1,234.50"
        )
    signs = (found["before"], found["within"], found["after"])
    is_negative = "-" in signs or (found["before"], found["after"]) == ("(", ")")
    return -Decimal(digits) if is_negative else Decimal(digits)


def _digits(text: str) -> str | None:
    """Return digits with a point for the fraction, as which a comma counts that groups no
    thousands; or None."""
    if re.fullmatch(r"\d+(\.\d+)?|[1-9]\d{0,2}(,\d{3})+(\.\d+)?", text):
        return text.replace(",", "")
    if re.fullmatch(r"\d+,\d+|[1-9]\d{0,2}(\.\d{3})+,\d+", text):
        return text.replace(".", "").replace(",", ".")
    return text.replace(",", "") if re.fullmatch(r"\d+(,\d+)+(\.\d+)?", text) else None


def _day(text: str, zone: ZoneInfo) -> date | None:
    """The day of a date or a time; `None` where the text is neither. A time without a zone is one
    of `zone`."""
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(zone) if moment.tzinfo else moment).date()
    found = _DAY.match(text)
    if found:
        with suppress(ValueError):
            return date(*map(int, filter(None, found.groups())))
    return None


def _both(
    day: str | None,
    ours: Sequence[Line],
    theirs: Iterable[ConsoleRow],
    columns: Mapping[str, str],
) -> Day:
    comparable = len(ours) < 2  # a console's amounts are in one currency
    rows = list(theirs)
    counted = "calls" in columns or "request_id" in columns
    return Day(
        day,
        sum(line.yes.calls for line in ours),
        sum(line.unknown.calls for line in ours),
        (ours[0].least if ours else Decimal(0)) if comparable else None,
        (ours[0].most if ours else Decimal(0)) if comparable else None,
        sum(row.calls or 0 for row in rows) if counted else None,
        sum((row.amount or Decimal(0) for row in rows), Decimal(0))
        if "amount" in columns
        else None,
    )
