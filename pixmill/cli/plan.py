"""The command `plan`: what a run would do, cost and take. `run`, `retry` and `validate` print parts of it."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixmill.cli.candidates import candidate_lines
from pixmill.cli.console import (
    SIMULATED,
    ConfigPath,
    Json,
    Overrides,
    cost_text,
    echo,
    print_json,
)
from pixmill.errors import TableError
from pixmill.text import cli_arguments, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixmill.cli.run_outlook import RunOutlook
    from pixmill.planning.plan import Plan

SHOWN_VALUES = 12
"""Values of an axis that are printed; the rest are counted."""

SHOWN_FILES = 5
"""Names of files beside the table that are printed."""

SHOWN_CHANGES = 10
"""Changes of the config since the last run that are printed."""

LABELS = {
    "cached": "already paid for",
    "failed": "failed before, not sent again",
    "refused": "refused before by moderation",
    "in_doubt": "in doubt: sent, no answer seen",
    "invalid": "invalid rows, never sent",
    "images_missing": "paid for, image missing",
    "submitted": "submitted before, asked for without paying again",
    "pending": "to pay for",
}
"""What each count of a plan is called, in the order in which they are printed."""


SIMULATED_LABELS = {
    "cached": "already made",
    "images_missing": "made, image missing",
    "pending": "to make, by the simulator",
}
"""Those of them that are about money, where the simulator answers and nothing is paid."""

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        metavar="N",
        min=0,
        help="Pay for at most N jobs, in input order: the next N that have no outcome.",
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        metavar="N",
        min=0,
        help="Pay for the first N rows of the table only, as far as they have no outcome.",
    ),
]


def plan(
    config: ConfigPath,
    limit: Limit = None,
    rows: Rows = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what a run would do, cost and take. Makes no call and spends nothing."""
    from pixmill.cli.run_outlook import look_ahead
    from pixmill.config.loading import load_config
    from pixmill.datasets.dry_publication import publish_dry
    from pixmill.datasets.gate import check_gate_columns
    from pixmill.planning.planner import plan_config

    made = plan_config(load_config(config, overrides or ()))
    check_gate_columns(made)
    # As `run` does before it pays: a column that can't be published is found while nothing is paid.
    if made.most_to_pay:
        publish_dry(made)
    outlook = look_ahead(made, made.limit_within_rows(limit, rows))
    for line in full_plan_lines(made, outlook):
        echo(line)
    flags = [
        f"{flag} {count}"
        for flag, count in (("--limit", limit), ("--rows", rows))
        if count is not None
    ]
    typed = cli_arguments(config, overrides or ())
    if outlook.ledger.lost_images:
        echo(f"next: pixmill verify {typed}")
    elif outlook.images_to_fetch:
        # It pays nothing, and says whether those of more calls would come.
        echo(f"next: pixmill repair {typed}")
    elif outlook.calls:
        echo(f"next: {' '.join(['pixmill run', typed, *flags])}")
    if as_json:
        counts = [count._asdict() for count in made.condition_counts()]
        print_json({**made.summary(), "conditions": counts, "run": outlook.as_dict()})


def full_plan_lines(made: "Plan", outlook: "RunOutlook") -> "Iterator[str]":
    """Yield all that `pixmill plan` prints of a plan and of a run that `outlook` is of."""
    yield from plan_lines(made)
    yield from _axis_lines(made)
    counts = made.condition_counts()
    if counts:
        yield "  conditions:"
    for count in counts:
        yield f"      {count.describe()}"
    yield from _request_lines(made)
    yield from _change_lines(made)
    yield from outlook.lines()


def print_changes(made: "Plan") -> None:
    """Print what differs from the config of the last run."""
    for line in _change_lines(made):
        echo(line)


def _change_lines(made: "Plan") -> "Iterator[str]":
    from pixmill.execution.spending_rules import changes_since_last_run

    for change in changes_since_last_run(made)[:SHOWN_CHANGES]:
        yield f"  changed since the last run: {change}"


def print_plan(made: "Plan") -> None:
    """Print the counts of a plan, its cost, its time and what bounds that."""
    for line in plan_lines(made):
        echo(line)


def plan_lines(made: "Plan") -> "Iterator[str]":
    """Yield what `print_plan` prints."""
    counts: dict[str, Any] = {**made.summary(), "pending": made.to_pay}
    config = made.config
    badge = SIMULATED if config.simulated else ""
    yield f"{badge}{config.name}: {_describe_jobs(made)}"
    for name, label in LABELS.items():
        count = counts[name]
        # "0 to pay for" is an answer; a zero of any other kind is none.
        if not count and name != "pending":
            continue
        if name == "invalid" and count == 1:
            label = "invalid row, never sent"
        if config.simulated:
            label = SIMULATED_LABELS.get(name, label)
        if name == "pending" and made.again:
            label = f"{label}, {made.again:,} of them once more"
        yield f"  {count:>12,}  {label}"
    if made.to_pay:
        cost = cost_text(made.most_cost, config.budget.currency)
        if made.least_cost != made.most_cost:
            least = cost_text(made.least_cost, config.budget.currency)
            cost = f"{least} to {cost}, as the model decides how many images it makes"
        if made.most_cost is not None and made.to_pay > 1:
            # A run may pay for a part of them, by its flags or caps.
            cost = f"{cost}, for all {made.to_pay:,} calls"
        if not config.simulated:
            yield f"  cost: {cost}"
        yield f"  time: about {duration(counts['eta_seconds'])}; {made.bound()}"
    yield from candidate_lines(made)
    yield from invalid_lines(made)
    yield from warning_lines(made)


def warning_lines(made: "Plan") -> "Iterator[str]":
    """Yield what a plan is warned of."""
    from pixmill.planning.plan_warnings import find_warnings

    for warning in find_warnings(made):
        yield f"  warning: {warning}"


def invalid_lines(made: "Plan") -> "Iterator[str]":
    """Yield the reasons for invalid rows with examples, the most frequent first, and notes on other rows."""
    from pixmill.planning.plan_warnings import note_one_prompt
    from pixmill.planning.row_checks import NOTES

    # The reasons are few, the rows may be millions: each reason has a count and a few examples.
    for reason, count in sorted(made.reasons.items(), key=lambda item: -item[1]):
        yield f"  {count:,} × {reason}"
        for row in made.examples[reason]:
            line = None
            # Whoever edits the table meanwhile is told where that matters.
            with suppress(TableError):
                line = made.table.find_line(row.row_number)
            yield f"      {row.describe(line)}"
    for note, count in made.notes.items():
        if count:
            yield f"  note: {count:,} {NOTES[note]}"
    if prompts := note_one_prompt(made):
        yield f"  note: {prompts}"
    skipped = made.table.skipped
    if skipped:
        more = ", …" if len(skipped) > SHOWN_FILES else ""
        yield (
            f"  note: {counted(len(skipped), 'file')} beside the table not read, because of "
            "the name: "
            f"{', '.join(skipped[:SHOWN_FILES])}{more}"
        )


def _describe_jobs(made: "Plan") -> str:
    """Say how many jobs the table makes: rows × points × replicates where a row makes several.

    Such as `24 rows × 6 points = 144 jobs, 144 of them distinct`.
    """
    points = len(made.expander.sweep.points)
    replicates = made.config.seed.replicates
    # An invalid row counts as one job, however many it would have made: it is in no product.
    valid = made.rows - made.invalid
    of_rows = counted(valid, "valid row" if made.invalid else "row")
    factors = [of_rows]
    if points > 1:
        factors.append(f"{points:,} points")
    if replicates > 1:
        factors.append(f"{replicates:,} replicates")
    if len(factors) == 1:
        return f"{made.rows:,} rows, {made.distinct:,} distinct jobs"

    made_by_valid = made.jobs - made.invalid
    left_out = valid * points * replicates - made_by_valid
    jobs = f"{made_by_valid:,} jobs"
    if left_out:
        jobs += f" ({left_out:,} left out by conditions)"
    return f"{' × '.join(factors)} = {jobs}, {made.distinct:,} of them distinct"


def _axis_lines(made: "Plan") -> "Iterator[str]":
    """Yield the axes of the sweep with their values."""
    axes = made.expander.sweep.axes
    if not axes:
        return
    yield "  axes:"
    width = max(len(axis.path) for axis in axes)
    for axis in axes:
        labels = [value.label for value in axis.values]
        shown = "  ".join(labels[:SHOWN_VALUES])
        if len(labels) > SHOWN_VALUES:
            shown += f"  … {len(labels):,} values"
        yield f"      {axis.path:<{width}}  {shown}"


def _request_lines(made: "Plan") -> "Iterator[str]":
    """Yield one request as it is sent, without the bytes of local images."""
    job = made.example()
    if not job:
        return
    sent = job.request()
    # What differs from row to row comes first; the rest is as the config has it.
    first = [name for name in ("prompt", "image_urls", "seed") if name in sent]
    width = max(map(len, sent))
    yield f"  the request of {job.label}:"
    for name in dict.fromkeys([*first, *sent]):
        value = json.dumps(sent[name], ensure_ascii=False, allow_nan=False)
        yield f"      {name:<{width}}  {value}"
