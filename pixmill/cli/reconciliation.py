"""Where the provider's console and the ledger differ, in tables."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from pixmill.cli.console import echo
from pixmill.cli.tables import clean_cell, make_table, print_parts
from pixmill.text import amount, counted, describe_range, in_words

if TYPE_CHECKING:
    from pixmill.ledger.billing.queries import UnmatchedIds
    from pixmill.ledger.billing.reconciliation import Day, Reconciliation


def print_reconciliation(found: "Reconciliation") -> None:
    """Print what was compared, and each day and request that differs."""
    export = found.export
    columns = ", ".join(
        f"{in_words(part)} from {clean_cell(name)}"
        for part, name in export.columns.items()
    )
    echo()
    echo(f"the console's export: {counted(len(export.rows), 'row')}; {columns}")
    if export.left_out:
        echo(f"  left out, as they have no date: {counted(export.left_out, 'row')}")
    if found.outside:
        echo(f"  outside {found.period.label}: {counted(found.outside, 'row')}")
    _print_days([day for day in found.days if day.differs])
    _print_ids(
        found.only_console,
        "only the console has",
        "charged there, and unknown or not charged here",
    )
    _print_ids(found.only_ledger, "only the ledger has", "charged here")
    if not found.differs:
        echo("no difference")


def _print_days(differing: "Sequence[Day]") -> None:
    if not differing:
        return
    figures = ("charged", "unknown", "console", "spent", "console", "difference")
    table = make_table(("differs",), figures)
    for day in differing:
        calls = "" if day.console_calls is None else f"{day.console_calls:,}"
        cost = "" if day.console_amount is None else amount(day.console_amount)
        table.add_row(
            day.day or "all",
            f"{day.charged:,}",
            f"{day.unknown:,}",
            calls,
            describe_range(day.least, day.most),
            cost,
            ", ".join(_describe_differences(day)),
        )
    print_parts(table)


def _describe_differences(day: "Day") -> Iterator[str]:
    """Say how far the console is outside what the ledger allows, in calls and in money."""
    if day.calls_differ and day.console_calls is not None:
        # Calls that may have been charged make the ledger's side a range, too.
        allowed = day.charged
        if day.console_calls > day.charged:
            allowed = day.charged + day.unknown
        yield f"{day.console_calls - allowed:+,} calls"
    if day.amounts_differ and day.console_amount is not None:
        bound = day.most
        if day.least is not None and day.console_amount < day.least:
            bound = day.least
        over = day.console_amount - (bound or Decimal(0))
        sign = "+" if over > 0 else "-"
        yield f"{sign}{amount(abs(over))}"


def _print_ids(side: "UnmatchedIds | None", whose: str, meaning: str) -> None:
    if not side or not side.number:
        return
    echo(f"{whose} {counted(side.number, 'request id')} ({meaning}):")
    for request_id in side.ids:
        echo(f"  {clean_cell(request_id)}")
    more = side.number - len(side.ids)
    if more > 0:
        echo(f"  and {more:,} more")
