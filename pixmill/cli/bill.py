"""The command that says what was spent: bill."""

import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixmill.cli.console import Json, echo, place, print_json
from pixmill.cli.store_argument import StorePath, config_of, open_store_ledger
from pixmill.errors import UserError
from pixmill.text import amount, money

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from rich.table import Table

    from pixmill.ledger.billing.bill import Bill, BillLine, Line
    from pixmill.ledger.billing.queries import UnmatchedIds
    from pixmill.ledger.billing.reconciliation import Day, Reconciliation

PLAIN_WIDTH = 140
SHOWN_CHARACTERS = 60

Month = Annotated[
    str | None,
    typer.Option(
        metavar="YYYY-MM", help="A month, or all. Default: the current month."
    ),
]
By = Annotated[
    str, typer.Option(metavar="NAMES", help="Group by any of day,req_key,code,config.")
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        parser=place,
        help="A CSV export of the provider's console to compare with.",
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="Where days begin. Default: the config's, or Asia/Shanghai.",
    ),
]


def bill(
    store: StorePath,
    month: Month = None,
    by: By = "",
    against: Against = None,
    timezone: Zone = None,
    as_json: Json = False,
) -> None:
    """Show what was spent: charged, not charged and unknown separately. Exit 3 where --against finds differences."""
    from datetime import UTC, datetime

    from pixmill.ledger.billing.bill import grouping, make_bill, month_period

    names = grouping(by)
    zone = _zone(store, timezone)
    period = month_period(month, zone, datetime.now(UTC))
    comparison = None
    with open_store_ledger(store) as ledger:
        if against:
            from pixmill.ledger.billing.reconciliation import (
                compare,
                days_of,
                read_export,
            )

            export = read_export(against, zone)
            period = (days_of(export, zone) if month is None else None) or period
            comparison = compare(ledger, export, period)
        made = make_bill(ledger, period, names)
    _say_bill(made)
    if comparison:
        _say_comparison(comparison)
    if as_json:
        print_json({**made.as_dict(), "against": comparison and comparison.as_dict()})
    raise typer.Exit(3 if comparison and comparison.differs else 0)


def _zone(store: str, named: str | None) -> "ZoneInfo":
    from zoneinfo import ZoneInfo

    from pixmill.ledger.billing.bill import ZONE

    config = None if named else config_of(store)
    name = named or (config.budget.timezone if config else ZONE)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UserError(
            f"--timezone: {name!r} is no time zone", hint="such as Asia/Shanghai or UTC"
        ) from None


def spent(line: "Line") -> str:
    """What was spent as one text: an amount, a range, or how much of it is not known."""
    if line.least is None:
        return "unknown"
    if line.most is None:
        return f"{money(line.least, line.currency)} or more"
    if line.least == line.most:
        return money(line.least, line.currency)
    return f"{amount(line.least)} to {money(line.most, line.currency)}"


def _say_bill(made: "Bill") -> None:
    period = f"{made.period.label} ({made.period.zone.key})"
    calls, charged = (
        sum(counts)
        for counts in zip(
            *((of.calls, of.yes.calls) for of in made.totals), strict=True
        )
    )
    echo(
        f"{period}: {' + '.join(map(spent, made.totals))} for {charged:,} charged of {calls:,} calls"
    )
    doubtful, unpriced = (
        sum(one)
        for one in zip(
            *((of.unknown.calls, of.unpriced) for of in made.totals), strict=True
        )
    )
    if doubtful:
        echo(f"  {doubtful:,} calls may have been charged or not")
    if unpriced:
        echo(
            f"  {unpriced:,} calls have no price, as budget.price_per_call was not set when they were made"
        )
    if calls:
        _show(_charges(made))


def _charges(made: "Bill") -> "Table":
    named = made.by or ("",)
    heads = ("calls", "charged", "for", "unknown", "for", "not charged", "spent")
    table = _table(named, heads)
    for line in made.lines if made.by else ():
        table.add_row(*(_plain(part or "–") for part in line.group), *_cells(line))
    if made.by:
        table.add_section()
    for line in made.totals:
        table.add_row("total", *[""] * (len(named) - 1), *_cells(line))
    return table


def _cells(line: "Line") -> Iterator[str]:
    yield f"{line.calls:,}"
    for part in (line.yes, line.unknown):
        yield f"{part.calls:,}"
        yield _cost(part)
    yield f"{line.no.calls:,}"
    yield spent(line)


def _cost(part: "BillLine") -> str:
    if not part.unpriced:
        return amount(part.cost) if part.calls else ""
    return f"{amount(part.cost)} or more" if part.cost else "unknown"


def _say_comparison(found: "Reconciliation") -> None:
    export = found.export
    columns = ", ".join(
        f"{part.replace('_', ' ')} from {_plain(name)}"
        for part, name in export.columns.items()
    )
    echo()
    echo(f"the console's export: {len(export.rows):,} rows; {columns}")
    if export.left_out:
        echo(f"  left out, as they have no date: {export.left_out:,} rows")
    if found.outside:
        echo(f"  outside {found.period.label}: {found.outside:,} rows")
    _say_days(found.days)
    _say_ids(
        found.only_console,
        "only the console has",
        "charged there, and unknown or not charged here",
    )
    _say_ids(found.only_ledger, "only the ledger has", "charged here")
    if not found.differs:
        echo("no difference")


def _say_days(days: "Sequence[Day]") -> None:
    differing = [day for day in days if day.differs]
    if not differing:
        return
    table = _table(
        ("differs",),
        ("charged", "unknown", "console", "spent", "console", "difference"),
    )
    for day in differing:
        console = "" if day.console_calls is None else f"{day.console_calls:,}"
        theirs = "" if day.console_amount is None else amount(day.console_amount)
        ours = (f"{day.charged:,}", f"{day.unknown:,}", console, _range(day), theirs)
        table.add_row(day.day or "all", *ours, ", ".join(_differences(day)))
    _show(table)


def _range(day: "Day") -> str:
    if day.least is None:
        return "unknown"
    if day.most is None:
        return f"{amount(day.least)} or more"
    return (
        amount(day.least)
        if day.least == day.most
        else f"{amount(day.least)} to {amount(day.most)}"
    )


def _differences(day: "Day") -> Iterator[str]:
    """How far the console is outside what the ledger allows."""
    if day.calls_differ and day.console_calls is not None:
        nearest = (
            day.charged
            if day.console_calls < day.charged
            else day.charged + day.unknown
        )
        yield f"{day.console_calls - nearest:+,} calls"
    if day.amounts_differ and day.console_amount is not None:
        bound = (
            day.least
            if day.least is not None and day.console_amount < day.least
            else day.most
        )
        over = day.console_amount - (bound or Decimal(0))
        yield f"{'+' if over > 0 else '-'}{amount(abs(over))}"


def _say_ids(side: "UnmatchedIds | None", whose: str, meaning: str) -> None:
    if side and side.number:
        echo(f"{whose} {side.number:,} request ids ({meaning}):")
        for request_id in side.ids:
            echo(f"  {_plain(request_id)}")
        if side.number > len(side.ids):
            echo(f"  and {side.number - len(side.ids):,} more")


def _table(groups: Sequence[str], heads: Sequence[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for name in groups:
        table.add_column(name, style="cyan")
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _show(table: "Table") -> None:
    from rich.console import Console

    width = None if sys.stderr.isatty() else PLAIN_WIDTH
    console = Console(stderr=True, highlight=False, markup=False, width=width)
    console.print()
    console.print(table)


def _plain(text: Any) -> str:
    """Text of a ledger or an export as a terminal may see it: no control characters, and not too long."""
    shown = "".join(one if one.isprintable() else "�" for one in str(text))
    return (
        shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[: SHOWN_CHARACTERS - 1]}…"
    )
