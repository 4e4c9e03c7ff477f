"""Commands that look and never spend: validate, plan, status."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixmill.cli.console import (
    ConfigPath,
    Json,
    Overrides,
    duration,
    echo,
    money,
    print_json,
)
from pixmill.local_paths import given_path

if TYPE_CHECKING:
    from pixmill.execution.status import Status
    from pixmill.planning.plan import Plan


SHOWN_VALUES = 12
"""Values of an axis that are printed before the rest is counted."""


def validate(
    config: ConfigPath,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=given_path,
            help="Write all invalid rows to this CSV file.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Check the config and every row of the table, and whether it can be published. Exit 3 if rows are invalid."""
    from pixmill.config.loading import load_config
    from pixmill.datasets.dry_publication import publish_dry
    from pixmill.datasets.rejected_rows import write_invalid_rows
    from pixmill.planning.planner import make_plan

    plan = make_plan(load_config(config, overrides or ()), None)
    echo(
        f"{plan.rows:,} rows, {plan.rows - plan.invalid:,} valid, {plan.invalid:,} invalid"
    )
    say_invalid(plan)
    if out:
        write_invalid_rows(plan, str(out))
        echo(f"all invalid rows are in {out}")
    publish_dry(plan)
    if as_json:
        examples = {
            reason: [shown.as_dict() for shown in rows]
            for reason, rows in plan.examples.items()
        }
        print_json(
            {
                "rows": plan.rows,
                "invalid": plan.invalid,
                "reasons": dict(plan.reasons),
                "examples": examples,
            }
        )
    raise typer.Exit(3 if plan.invalid else 0)


def plan(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Show what a run would do, cost and take. Makes no call and spends nothing."""
    from pixmill.api import plan as plan_of
    from pixmill.config.loading import load_config
    from pixmill.datasets.dry_publication import publish_dry
    from pixmill.execution.spending_rules import changes_since_last_run

    made = plan_of(load_config(config, overrides or ()))
    if made.to_pay:
        publish_dry(made)
    say_plan(made)
    say_axes(made)
    say_request(made)
    for change in changes_since_last_run(made)[:10]:
        echo(f"  changed since the last run: {change}")
    if as_json:
        print_json(made.summary())


def status(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Show how far the dataset is and how the last runs went, from any terminal."""
    from pixmill.config.loading import load_config
    from pixmill.execution.status import read_status

    found = read_status(load_config(config, overrides or ()))
    counts = found.plan.summary()
    here = counts["cached"] - counts["images_missing"]
    echo(
        f"{found.plan.config.name}: {here:,} of {counts['distinct']:,} images are there"
    )
    for name in (
        "pending",
        "failed",
        "refused",
        "in_doubt",
        "images_missing",
        "invalid",
    ):
        if counts[name]:
            echo(f"  {name.replace('_', ' ')}: {counts[name]:,}")
    _say_doubts(found)
    for run in found.runs:
        echo(f"  {run.describe()}")
    echo(f"next: {found.next_command(shlex.quote(config))}")
    if as_json:
        runs = [run.as_dict() for run in found.runs]
        in_doubt_calls = [doubt.as_dict() for doubt in found.in_doubt_calls]
        print_json({**counts, "doubts": in_doubt_calls, "runs": runs})


def _say_doubts(found: "Status") -> None:
    """Print the jobs in doubt as a person looks for them on the provider's console."""
    if not found.in_doubt_calls:
        return
    echo("  may have been charged, as no answer was seen (sent, row, request id, why):")
    for doubt in found.in_doubt_calls:
        echo(f"      {doubt.describe()}")
    more = found.plan.summary()["in_doubt"] - len(found.in_doubt_calls)
    if more > 0:
        echo(f"      … and {more:,} more")


def say_plan(made: "Plan") -> None:
    """Print the counts of a plan, its cost, its time and what bounds that."""
    counts: dict[str, Any] = made.summary()
    config = made.config
    echo(f"{config.name}: {_product(made)}")
    labels = {
        "cached": "paid for already",
        "failed": "failed before, not asked again",
        "refused": "refused before by moderation",
        "in_doubt": "in doubt: sent, no answer seen",
        "invalid": "invalid rows, never sent",
        "images_missing": "paid for, image missing",
        "pending": "to pay for",
    }
    for name, label in labels.items():
        if counts[name] or name == "pending":
            again = (
                f", of them {made.again:,} asked for again"
                if name == "pending" and made.again
                else ""
            )
            echo(f"  {counts[name]:>12,}  {label}{again}")
    if made.to_pay:
        what = (
            "nothing: the simulator answers"
            if config.simulated
            else money(made.cost(made.to_pay), config.budget.currency)
        )
        echo(f"  cost: {what}")
        echo(f"  time: about {duration(counts['eta_seconds'])}; {made.bound()}")
    say_invalid(made)
    if made.long_prompts:
        echo(
            f"  warning: {made.long_prompts:,} prompts are longer than {config.input.warn_prompt_chars} characters"
        )


def _product(made: "Plan") -> str:
    """Say how many jobs the table makes: rows × points × replicates where a row makes several."""
    points = len(made.maker.sweep.points)
    replicates = made.config.seed.replicates
    valid = made.rows - made.invalid
    factors = [f"{made.rows:,} rows"]
    factors += [f"{points:,} points"] if points > 1 else []
    factors += [f"{replicates:,} replicates"] if replicates > 1 else []
    if len(factors) == 1:
        return f"{factors[0]}, {made.distinct:,} distinct jobs"
    left_out = valid * points * replicates + made.invalid - made.jobs
    less = f" ({left_out:,} left out by conditions)" if left_out else ""
    return f"{' × '.join(factors)} = {made.jobs:,} jobs{less}, {made.distinct:,} of them distinct"


def say_axes(made: "Plan") -> None:
    """Print the axes of the sweep with their values, and how many points there are."""
    axes = made.maker.sweep.axes
    if not axes:
        return
    echo("  axes:")
    width = max(len(axis.path) for axis in axes)
    for axis in axes:
        labels = [value.label for value in axis.values]
        shown = "  ".join(labels[:SHOWN_VALUES]) + (
            f"  … {len(labels):,} values" if len(labels) > SHOWN_VALUES else ""
        )
        echo(f"      {axis.path:<{width}}  {shown}")


def say_request(made: "Plan") -> None:
    """Print one request as it is sent, without local images."""
    job = made.example()
    if job:
        sent = job.request()
        first = [name for name in ("prompt", "image_urls", "seed") if name in sent]
        width = max(map(len, sent))
        echo(f"  the request of {job.label}:")
        for name in dict.fromkeys([*first, *sent]):
            value = json.dumps(sent[name], ensure_ascii=False, allow_nan=False)
            echo(f"      {name:<{width}}  {value}")


def say_invalid(made: "Plan") -> None:
    """Print the reasons for invalid rows, with examples, and what is to be said of others."""
    from pixmill.planning.row_checks import NOTES

    for reason, count in sorted(made.reasons.items(), key=lambda item: -item[1]):
        echo(f"  {count:,} × {reason}")
        for shown in made.examples[reason]:
            echo(f"      {shown.describe()}")
    for note, count in made.notes.items():
        if count:
            echo(f"  note: {count:,} {NOTES[note]}")
