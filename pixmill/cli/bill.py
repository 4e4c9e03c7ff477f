"""The command `bill`: what was spent, and whether the provider's console says the same."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pixmill.cli.console import SIMULATED, Json, echo, place, print_json
from pixmill.cli.reconciliation import print_reconciliation
from pixmill.cli.store_argument import StorePath, find_store, open_store_ledger
from pixmill.cli.tables import clean_cell, make_table, print_parts
from pixmill.errors import UserError
from pixmill.text import amount, counted, describe_range

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from rich.table import Table

    from pixmill.config.model import Config
    from pixmill.ledger.billing.bill import Bill, Line

EXIT_DIFFERS = 3

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
        help="An export of the provider's console to compare with.",
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
    """Show what was spent, and compare it with the provider's console.

    Exit 3 where --against finds differences.
    """
    from datetime import UTC, datetime

    from pixmill.ledger.billing.bill import grouping, make_bill, month_period
    from pixmill.ledger.billing.reconciliation import compare, days_of, read_export

    names = grouping(by)
    given = find_store(store)
    zone = _find_zone(given.config, timezone)
    period = month_period(month, zone, datetime.now(UTC))
    reconciliation = None
    with open_store_ledger(given) as ledger:
        if against:
            export = read_export(against, zone)
            if month is None:
                # The file says itself which days it is about; one without days is about this month.
                period = days_of(export, zone) or period
            reconciliation = compare(ledger, export, period)
        made = make_bill(ledger, period, names)
    _print_bill(made, is_simulated=given.is_simulated)
    if reconciliation:
        print_reconciliation(reconciliation)
    if as_json:
        compared = reconciliation.as_dict() if reconciliation else None
        print_json({**made.as_dict(), "against": compared})
    differs = reconciliation is not None and reconciliation.differs
    raise typer.Exit(EXIT_DIFFERS if differs else 0)


def _find_zone(config: "Config | None", given: str | None) -> "ZoneInfo":
    """Return the time zone that was given, or else that of the config, or of the provider. Raises UserError."""
    from zoneinfo import ZoneInfo

    from pixmill.ledger.billing.bill import ZONE

    name = given
    if name is None:
        name = config.budget.timezone if config else ZONE
    try:
        return ZoneInfo(name)
    # An OSError for a folder of zones, such as `America`.
    except (KeyError, ValueError, OSError):
        raise UserError(
            f"--timezone: {name!r} is not a valid time zone",
            hint="write one such as Asia/Shanghai or UTC",
        ) from None


def _print_bill(made: "Bill", *, is_simulated: bool) -> None:
    calls = sum(line.calls for line in made.totals)
    charged = sum(line.yes.calls for line in made.totals)
    doubtful = sum(line.unknown.calls for line in made.totals)
    unpriced = sum(line.unpriced for line in made.totals)
    spent = " + ".join(
        describe_range(line.least, line.most, line.currency) for line in made.totals
    )
    period = f"{made.period.label} ({made.period.zone.key})"
    if is_simulated:
        answered = f"{counted(calls, 'call')} of the simulator, nothing was paid"
        # Amounts only where the config has prices to try out.
        tried = f"; at your prices {spent}" if calls and not unpriced else ""
        echo(f"{SIMULATED}{period}: {answered}{tried}")
        if calls and (made.by or not unpriced):
            print_parts(_charges_table(made))
        return
    echo(f"{period}: {spent} for {charged:,} charged of {counted(calls, 'call')}")
    if doubtful:
        echo(f"  {counted(doubtful, 'call')} may have been charged or not")
    if unpriced:
        unset = "as budget.price_per_call was not set when they were made"
        echo(f"  {counted(unpriced, 'call')} without a price, {unset}")
    if calls:
        print_parts(_charges_table(made))


def _charges_table(made: "Bill") -> "Table":
    groups = made.by or ("",)
    figures = ("calls", "charged", "for", "unknown", "for", "not charged", "spent")
    table = make_table(groups, figures)
    if made.by:
        for line in made.lines:
            group = (clean_cell(part or "–") for part in line.group)
            table.add_row(*group, *_figures(line))
        table.add_section()
    # One total for each currency: they are never added up.
    for line in made.totals:
        labels = ["total", *[""] * (len(groups) - 1)]
        table.add_row(*labels, *_figures(line))
    return table


def _figures(line: "Line") -> Iterator[str]:
    yield f"{line.calls:,}"
    for part in (line.yes, line.unknown):
        yield f"{part.calls:,}"
        if part.unpriced:
            yield f"{amount(part.cost)} or more" if part.cost else "unknown"
        else:
            yield amount(part.cost) if part.calls else ""
    yield f"{line.no.calls:,}"
    yield describe_range(line.least, line.most, line.currency)
