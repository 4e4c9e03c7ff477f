"""The agreement to pay: asked for on a terminal, else given by flags and caps."""

import sys
from typing import TYPE_CHECKING

import typer

from pixmill.cli.console import cost_text, echo
from pixmill.cli.plan import print_changes
from pixmill.errors import SpendingRefused

if TYPE_CHECKING:
    from pixmill.execution.caps import CallsWithinCaps
    from pixmill.execution.prepare import PreparedRun


def agree(
    run: "PreparedRun", within_caps: "CallsWithinCaps", *, yes: bool, new_store: bool
) -> None:
    """Ask on a terminal what nobody agreed to before; without one hold the run to its rules.

    A simulated run pays nothing, so that there is nothing to ask. Raises SpendingRefused, and
    TableError for too many invalid rows.
    """
    from pixmill.cli.run_outlook import describe_agreement
    from pixmill.execution.spending_rules import (
        check_invalid,
        check_spending,
        month_to_date,
    )

    config = run.config
    check_invalid(run.plan)
    if config.simulated:
        return
    print_changes(run.plan)
    if config.budget.highest_price is not None:
        spent = month_to_date(config, run.ledger)
        echo(f"  this month so far: {cost_text(spent, config.budget.currency)}")
    agreement = describe_agreement(within_caps, config.budget.currency)
    if sys.stdin.isatty() and sys.stderr.isatty():
        _ask(run, agreement, yes=yes, new_store=new_store)
        return
    if not yes:
        raise SpendingRefused(
            f"this run would pay for {agreement}, and there is no terminal to ask on",
            hint="`pixmill plan` shows what it would cost; --yes agrees to it",
        )
    check_spending(run.plan, new_store=new_store, known=run.known_ledger)


def _ask(run: "PreparedRun", agreement: str, *, yes: bool, new_store: bool) -> None:
    """Ask the person on the terminal. Raises SpendingRefused where they do not agree."""
    from pixmill.execution.known_ledger import RESTORE

    question = f"Pay for {agreement}?"
    known = run.known_ledger
    if known.is_new and not new_store:
        # --yes was meant for a store that is there: with a typing error in its name, or from
        # another folder, everything would be paid for again.
        yes = False
        if known.lost_images:
            echo(f"warning: {known.describe_loss(run.config.name)}; {RESTORE}")
            question = f"Pay for {agreement}, all the same?"
        else:
            echo(
                "  there is no ledger yet, so that all of it is paid for: this run starts "
                f"{known.place}"
            )
            question = f"Pay for {agreement}, with a new ledger?"
    # Whoever only presses Enter has not read it.
    if not yes and not typer.confirm(question, default=False, err=True):
        hint = "--yes agrees beforehand, and --new-store to a new ledger; --limit N pays for a few first"
        # Who has just declined to pay twice is not told how to do it.
        raise SpendingRefused(
            "nothing was sent", hint=RESTORE if known.lost_images else hint
        )
