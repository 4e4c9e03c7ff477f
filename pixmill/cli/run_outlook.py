"""What a run of a plan would do now: refuse, or pay for which rows at which cost."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from pixmill.cli.console import cost_text
from pixmill.config.model import Config
from pixmill.datasets.changed_seeds import count_changed_seeds
from pixmill.datasets.publishing import published_folder
from pixmill.datasets.step_back import check_has_rows
from pixmill.errors import TableError
from pixmill.execution.caps import CallsWithinCaps, fit_into_caps
from pixmill.execution.host_refusals import last_refusal
from pixmill.execution.known_ledger import RESTORE, KnownLedger, examine_ledger
from pixmill.execution.spending_rules import check_invalid, month_to_date
from pixmill.execution.stop_reasons import no_call_fits
from pixmill.ledger import open_ledger
from pixmill.planning.plan import Plan
from pixmill.text import counted

SHOWN_ROWS = 5
"""Rows that a run would begin with, which are shown."""

LOOKED_AT = 1_000
"""Jobs among which these are looked for: a row of a sweep may have many."""


class RunOutlook(NamedTuple):
    """What a run would do."""

    config: Config
    refused: str | None
    """Why it would refuse the table, `None` where it would not."""
    within_caps: CallsWithinCaps
    spent: Decimal | None
    """What the account was charged this month, `None` where no price is known or nothing is paid."""
    first_rows: tuple[str, ...]
    """The rows that it would begin with."""
    has_more_rows: bool
    """Whether it would pay for others after these."""
    seed_note: str | None
    """What to say where rows would get other seeds than they have in the published dataset."""
    ledger: KnownLedger
    """What the ledger, if there is one, knows of the store."""
    images_to_fetch: int = 0
    """Images of earlier runs that are missing and may be had without paying."""
    image_refusal: str | None = None
    """Why the last run did not have most of them, `None` where that is not known."""

    @property
    def calls(self) -> int:
        """How many calls it would pay for, without further candidates."""
        return self.within_caps.calls

    def lines(self) -> Iterator[str]:
        """Yield what `pixmill plan` prints of it."""
        if self.refused:
            yield f"run would refuse: {self.refused}"
        if self.seed_note:
            yield f"note: {self.seed_note}"
        if self.images_to_fetch:
            why = f": {self.image_refusal}" if self.image_refusal else ""
            missing = counted(self.images_to_fetch, "image")
            yield f"note: {missing} of earlier runs not fetched{why}"
        found = self.within_caps
        if not found.planned:
            return
        budget = self.config.budget
        if self.spent is not None:
            yield f"  this month so far: {cost_text(self.spent, budget.currency)}"
        if found.ends_at_once and found.cap:
            yield f"run would end at once: {no_call_fits(found.cap, budget).reason}"
            return
        rows = ", ".join(self.first_rows)
        more = ", …" if self.has_more_rows else ""
        does = "make" if self.config.simulated else "pay for"
        calls = describe_calls(found)
        if not found.is_exact:
            calls = f"at least {calls}"
        price = later = ""
        if not self.config.simulated:
            # Of calls that are a lower bound, a sum would be one as well.
            at_most = "" if found.is_exact else "at most "
            cost = found.cost if found.is_exact else found.most_cost
            price = f", {at_most}{cost_text(cost, budget.currency)}"
        if found.most_calls > found.planned:
            further = found.most_calls - found.calls
            later = f", then up to {further:,} more for further candidates"
            if not self.config.simulated:
                later += (
                    f", at most {cost_text(found.most_cost, budget.currency)} in all"
                )
        yield f"run would {does} {calls}{price}, of {rows}{more}{later}"
        if self.ledger.lost_images:
            yield f"warning: {self.ledger.describe_loss(self.config.name)}; {RESTORE}"
        elif self.ledger.is_new and not self.config.simulated:
            yield f"run would start a new ledger: {self.ledger.place}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values: `run` of `pixmill plan --json`."""
        found = self.within_caps
        return {
            "refused": self.refused,
            "calls": found.calls,
            "cost": None if found.cost is None else float(found.cost),
            "most_calls": found.most_calls,
            "most_cost": None if found.most_cost is None else float(found.most_cost),
            "first_rows": list(self.first_rows),
        }


def describe_calls(found: CallsWithinCaps) -> str:
    """Return how many calls are sure to fit: `5 of 13 calls (budget.max_calls)`, `13 calls`."""
    if found.cap is None:
        return counted(found.calls, "call")
    planned = counted(found.planned, "call")
    return f"{found.calls:,} of {planned} (budget.{found.cap})"


def describe_agreement(found: CallsWithinCaps, currency: str) -> str:
    """Return what there is to agree to, which is the worst case: `at most 12 calls, 2.40 CNY`."""
    calls = describe_calls(found)
    if found.most_calls > found.calls:
        capped = f" (budget.{found.cap})" if found.cap else ""
        calls = f"at most {counted(found.most_calls, 'call')}{capped}"
    if found.most_cost is None:
        return f"{calls}, at an unknown price"
    return f"{calls}, {cost_text(found.most_cost, currency)}"


def look_ahead(made: Plan, limit: int | None = None) -> RunOutlook:
    """Return what a run would do that pays for at most `limit` keys."""
    refused = _find_refusal(made)
    if refused:
        # As it sends nothing, it has no first rows and costs nothing.
        limit = 0
    config = made.config
    ledger = open_ledger(config.ledger_address, read_only=True)
    try:
        within_caps = fit_into_caps(made, limit, ledger)
        known = examine_ledger(config, ledger)
        image_refusal = None
        if ledger is not None and made.has_images_to_fetch:
            image_refusal = last_refusal(ledger, config.name)
        spent = None
        if not config.simulated and config.budget.highest_price is not None:
            spent = month_to_date(config, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    calls = within_caps.calls
    looked_at = list(islice(made.jobs_to_pay(calls), LOOKED_AT))
    rows = tuple(dict.fromkeys(job.row_label for job in looked_at))
    seed_note = None
    if changed := count_changed_seeds(config, looked_at):
        at_least = "at least " if len(looked_at) == LOOKED_AT else ""
        seed_note = _note_changed_seeds(made, f"{at_least}{counted(changed, 'job')}")
    return RunOutlook(
        config,
        refused,
        within_caps,
        spent,
        rows[:SHOWN_ROWS],
        has_more_rows=len(rows) > SHOWN_ROWS or calls > len(looked_at),
        seed_note=seed_note,
        ledger=known,
        images_to_fetch=made.images_missing - made.images_lost,
        image_refusal=image_refusal,
    )


def _find_refusal(made: Plan) -> str | None:
    """Return why a run would refuse the table, None where it would not."""
    try:
        check_invalid(made)
        if not made.rows:
            check_has_rows(made, published_folder(made.config))
    except TableError as error:
        return str(error).partition("; nothing was sent")[0]
    return None


def _note_changed_seeds(made: Plan, jobs: str) -> str:
    """Say that `jobs` to pay for get other seeds, and what would have kept them at which price."""
    note = f"{jobs} to pay for would be drawn with another seed than the published image of the row"
    # Of the other policies the seed itself was edited, or the policy: nothing else keeps it.
    if made.config.seed.policy not in ("per_row", "per_job"):
        return note
    # Every key has the seed in it, so that another policy makes every job a new one.
    return (
        f"{note}, as the row or the policy was edited; seed.policy: per_key keeps the seed of an "
        f"edited row, but is for new datasets: switching now pays for all {made.distinct:,} again"
    )
