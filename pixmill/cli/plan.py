"""The command `plan`: what a run would do, cost and take. `run`, `retry` and `validate` print parts of it."""

import json
from itertools import islice
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

    from pixmill.config.model import Config
    from pixmill.planning.plan import Plan

SHOWN_VALUES = 12
"""Values of an axis that are printed; the rest are counted."""

SHOWN_FILES = 5
"""Names of files beside the table that are printed."""

SHOWN_ROWS = 5
"""Rows that a run would begin with, which are printed."""

LOOKED_AT = 1_000
"""Jobs among which these are looked for: a row of a sweep may have many."""

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
    from pixmill.config.loading import load_config
    from pixmill.datasets.dry_publication import publish_dry
    from pixmill.datasets.gate import check_gate_columns
    from pixmill.planning.planner import plan_config

    made = plan_config(load_config(config, overrides or ()))
    check_gate_columns(made)
    # As `run` does before it pays: a column that can't be published is found while nothing is paid.
    if made.most_to_pay:
        publish_dry(made)
    print_plan(made)
    _print_axes(made)
    counts = made.condition_counts()
    if counts:
        echo("  conditions:")
    for count in counts:
        echo(f"      {count.describe()}")
    _print_request(made)
    print_changes(made)
    would = _describe_run(made, made.limit_within_rows(limit, rows))
    flags = [
        f"{flag} {count}"
        for flag, count in (("--limit", limit), ("--rows", rows))
        if count is not None
    ]
    if would["calls"]:
        typed = cli_arguments(config, overrides or ())
        echo(f"next: {' '.join(['pixmill run', typed, *flags])}")
    if as_json:
        print_json(
            {
                **made.summary(),
                "conditions": [count._asdict() for count in counts],
                "run": would,
            }
        )


def _find_refusal(made: "Plan") -> str | None:
    """Return why a run would refuse the table, None where it would not."""
    from pixmill.datasets.publishing import published_folder
    from pixmill.datasets.step_back import check_has_rows
    from pixmill.execution.spending_rules import check_invalid

    try:
        check_invalid(made)
        if not made.rows:
            check_has_rows(made, published_folder(made.config))
    except TableError as error:
        return str(error).partition("; nothing was sent")[0]
    return None


def _has_runs(config: "Config") -> bool:
    """Whether the ledger knows of runs: one that a refused run has opened is as good as none."""
    from pixmill.ledger import open_ledger, queries

    ledger = open_ledger(config.ledger_address, read_only=True)
    if ledger is None:
        return False
    try:
        return ledger.read(queries.has_runs)
    finally:
        ledger.close()


def _describe_run(made: "Plan", limit: int | None) -> dict[str, Any]:
    """Print what `run` with these flags would do, and return it as plain JSON values."""
    from pixmill.datasets.changed_seeds import count_changed_seeds
    from pixmill.execution.spending_rules import ledger_place

    refused = _find_refusal(made)
    if refused:
        echo(f"run would refuse: {refused}")
        # As it sends nothing, it has no first rows and costs nothing.
        limit = 0
    config = made.config
    to_pay = made.to_pay if limit is None else min(limit, made.to_pay)
    jobs = made.jobs_to_pay(to_pay)
    looked_at = list(islice(jobs, LOOKED_AT))
    rows = list(dict.fromkeys(job.row_label for job in looked_at))
    first = rows[:SHOWN_ROWS]
    changed = count_changed_seeds(config, looked_at)
    if changed:
        at_least = "at least " if len(looked_at) == LOOKED_AT else ""
        echo(_note_changed_seeds(made, f"{at_least}{counted(changed, 'job')}"))
    cost = made.cost_of(limit)
    most = made.most_calls_within(limit)
    most_cost = made.most_cost_within(limit)
    if to_pay:
        listed = ", ".join(first)
        is_all = len(rows) == len(first) and to_pay == len(looked_at)
        more = "" if is_all else ", …"
        does = "make" if config.simulated else "pay for"
        price = (
            "" if config.simulated else f", {cost_text(cost, config.budget.currency)}"
        )
        later = ""
        if most > to_pay:
            later = f", then up to {most - to_pay:,} more for further candidates"
            if not config.simulated:
                in_all = cost_text(most_cost, config.budget.currency)
                later += f", at most {in_all} in all"
        calls = f"{counted(to_pay, 'call')}{price}, of {listed}{more}"
        echo(f"run would {does} {calls}{later}")
        if not config.simulated and not _has_runs(config):
            echo(f"run would start a new ledger: {ledger_place(config)}")
    return {
        "refused": refused,
        "calls": to_pay,
        "cost": None if cost is None else float(cost),
        "most_calls": most,
        "most_cost": None if most_cost is None else float(most_cost),
        "first_rows": first,
    }


def _note_changed_seeds(made: "Plan", jobs: str) -> str:
    """Say that `jobs` to pay for get other seeds, and what would have kept them at which price."""
    note = (
        f"note: {jobs} to pay for would be drawn with another seed than the published image of "
        "the row"
    )
    # Of the other policies the seed itself was edited, or the policy: nothing else keeps it.
    if made.config.seed.policy not in ("per_row", "per_job"):
        return note
    # Every key has the seed in it, so that another policy makes every job a new one.
    return (
        f"{note}, as the row or the policy was edited; seed.policy: per_key keeps the seed of an "
        f"edited row, but is for new datasets: switching now pays for all {made.distinct:,} again"
    )


def print_changes(made: "Plan") -> None:
    """Print what differs from the config of the last run."""
    from pixmill.execution.spending_rules import changes_since_last_run

    for change in changes_since_last_run(made)[:SHOWN_CHANGES]:
        echo(f"  changed since the last run: {change}")


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
        if not config.simulated:
            yield f"  cost: {cost}"
        yield f"  time: about {duration(counts['eta_seconds'])}; {made.bound()}"
    yield from candidate_lines(made)
    yield from invalid_lines(made)
    for count in made.condition_counts():
        # A typing error, mostly: a value that no row has, or text where a number was meant.
        if not count.matched:
            yield f"  warning: {count.describe()}"
    if made.long_prompts:
        limit = config.input.warn_prompt_chars
        yield f"  warning: {made.long_prompts:,} prompts are longer than {limit} characters"


def invalid_lines(made: "Plan") -> "Iterator[str]":
    """Yield the reasons for invalid rows with examples, the most frequent first, and notes on other rows."""
    from pixmill.planning.row_checks import NOTES

    # The reasons are few, the rows may be millions: each reason has a count and a few examples.
    for reason, count in sorted(made.reasons.items(), key=lambda item: -item[1]):
        yield f"  {count:,} × {reason}"
        for row in made.examples[reason]:
            yield f"      {row.describe()}"
    for note, count in made.notes.items():
        if count:
            yield f"  note: {count:,} {NOTES[note]}"
    if warning := _warn_of_one_prompt(made):
        yield f"  {warning}"
    skipped = made.table.skipped
    if skipped:
        more = ", …" if len(skipped) > SHOWN_FILES else ""
        yield (
            f"  note: {counted(len(skipped), 'file')} beside the table not read, because of "
            "the name: "
            f"{', '.join(skipped[:SHOWN_FILES])}{more}"
        )


def _warn_of_one_prompt(made: "Plan") -> str | None:
    """Say that the rows differ in no prompt; None where they do, or there is one row or no prompt."""
    source = made.config.input
    if made.rows < 2 or made.config.request.prompt is None:
        return None
    if made.expander.reads_prompts:
        return None
    said = "request.prompt reads no column, so all rows get the same prompt"
    column = source.column("prompt")
    if column is None:
        # One edit of many pictures is what many want.
        kind = "note" if source.image_columns else "warning"
        return (
            f"{kind}: {said}; a column is read by its name in braces, such as {{text}}"
        )
    said += f", and {column!r} of input.columns.prompt is not used; write {{{column}}} into it"
    if source.image_columns:
        said += "; rows of the same image are the same request"
    return f"warning: {said}"


def _describe_jobs(made: "Plan") -> str:
    """Say how many jobs the table makes: rows × points × replicates where a row makes several.

    Such as `24 rows × 6 points = 144 jobs, 144 of them distinct`.
    """
    points = len(made.expander.sweep.points)
    replicates = made.config.seed.replicates
    factors = [f"{made.rows:,} rows"]
    if points > 1:
        factors.append(f"{points:,} points")
    if replicates > 1:
        factors.append(f"{replicates:,} replicates")
    if len(factors) == 1:
        return f"{factors[0]}, {made.distinct:,} distinct jobs"

    # An invalid row counts as one job, however many it would have made.
    valid = made.rows - made.invalid
    left_out = valid * points * replicates + made.invalid - made.jobs
    jobs = f"{made.jobs:,} jobs"
    if left_out:
        jobs += f" ({left_out:,} left out by conditions)"
    return f"{' × '.join(factors)} = {jobs}, {made.distinct:,} of them distinct"


def _print_axes(made: "Plan") -> None:
    """Print the axes of the sweep with their values."""
    axes = made.expander.sweep.axes
    if not axes:
        return
    echo("  axes:")
    width = max(len(axis.path) for axis in axes)
    for axis in axes:
        labels = [value.label for value in axis.values]
        shown = "  ".join(labels[:SHOWN_VALUES])
        if len(labels) > SHOWN_VALUES:
            shown += f"  … {len(labels):,} values"
        echo(f"      {axis.path:<{width}}  {shown}")
    job = made.example()
    is_swept = any(axis.path == "use_rephraser" for axis in axes)
    if job and job.request().get("use_rephraser") and not is_swept:
        echo(
            "  warning: the rephraser is on and rewrites the prompt of each call, so that points "
            "differ in more than their axes; request.params: {use_rephraser: false} turns it off"
        )


def _print_request(made: "Plan") -> None:
    """Print one request as it is sent, without the bytes of local images."""
    job = made.example()
    if not job:
        return
    sent = job.request()
    # What differs from row to row comes first; the rest is as the config has it.
    first = [name for name in ("prompt", "image_urls", "seed") if name in sent]
    width = max(map(len, sent))
    echo(f"  the request of {job.label}:")
    for name in dict.fromkeys([*first, *sent]):
        value = json.dumps(sent[name], ensure_ascii=False, allow_nan=False)
        echo(f"      {name:<{width}}  {value}")
