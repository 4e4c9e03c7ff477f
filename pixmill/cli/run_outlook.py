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
from pixmill.execution.spending_rules import check_invalid, ledger_place
from pixmill.ledger import open_ledger, queries
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
    calls: int
    """How many calls it would pay for, without further candidates."""
    cost: Decimal | None
    """What these cost at most, `None` where a price is not known."""
    most_calls: int
    """The same with the candidates that may have to be paid for later."""
    most_cost: Decimal | None
    first_rows: tuple[str, ...]
    """The rows that it would begin with."""
    has_more_rows: bool
    """Whether it would pay for others after these."""
    seed_note: str | None
    """What to say where rows would get other seeds than they have in the published dataset."""
    new_ledger: str | None
    """Where it would start a new ledger, `None` where the ledger has runs."""

    def lines(self) -> Iterator[str]:
        """Yield what `pixmill plan` prints of it."""
        if self.refused:
            yield f"run would refuse: {self.refused}"
        if self.seed_note:
            yield f"note: {self.seed_note}"
        if not self.calls:
            return
        currency = self.config.budget.currency
        simulated = self.config.simulated
        does = "make" if simulated else "pay for"
        price = "" if simulated else f", {cost_text(self.cost, currency)}"
        rows = ", ".join(self.first_rows)
        more = ", …" if self.has_more_rows else ""
        later = ""
        if self.most_calls > self.calls:
            further = self.most_calls - self.calls
            later = f", then up to {further:,} more for further candidates"
            if not simulated:
                later += f", at most {cost_text(self.most_cost, currency)} in all"
        calls = counted(self.calls, "call")
        yield f"run would {does} {calls}{price}, of {rows}{more}{later}"
        if self.new_ledger:
            yield f"run would start a new ledger: {self.new_ledger}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values: `run` of `pixmill plan --json`."""
        return {
            "refused": self.refused,
            "calls": self.calls,
            "cost": None if self.cost is None else float(self.cost),
            "most_calls": self.most_calls,
            "most_cost": None if self.most_cost is None else float(self.most_cost),
            "first_rows": list(self.first_rows),
        }


def look_ahead(made: Plan, limit: int | None = None) -> RunOutlook:
    """Return what a run would do that pays for at most `limit` keys."""
    refused = _find_refusal(made)
    if refused:
        # As it sends nothing, it has no first rows and costs nothing.
        limit = 0
    config = made.config
    calls = made.to_pay if limit is None else min(limit, made.to_pay)
    looked_at = list(islice(made.jobs_to_pay(calls), LOOKED_AT))
    rows = tuple(dict.fromkeys(job.row_label for job in looked_at))
    seed_note = None
    if changed := count_changed_seeds(config, looked_at):
        at_least = "at least " if len(looked_at) == LOOKED_AT else ""
        seed_note = _note_changed_seeds(made, f"{at_least}{counted(changed, 'job')}")
    is_new = calls > 0 and not config.simulated and not _has_runs(config)
    return RunOutlook(
        config,
        refused,
        calls,
        made.cost_of(limit),
        made.most_calls_within(limit),
        made.most_cost_within(limit),
        rows[:SHOWN_ROWS],
        has_more_rows=len(rows) > SHOWN_ROWS or calls > len(looked_at),
        seed_note=seed_note,
        new_ledger=ledger_place(config) if is_new else None,
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


def _has_runs(config: Config) -> bool:
    """Whether the ledger knows of runs: one that a refused run has opened is as good as none."""
    ledger = open_ledger(config.ledger_address, read_only=True)
    if ledger is None:
        return False
    try:
        return ledger.read(queries.has_runs)
    finally:
        ledger.close()


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
