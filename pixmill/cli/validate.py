"""The command `validate`: everything about config and table that can be checked for free."""

from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import ConfigPath, Force, Json, Overrides, echo, print_json
from pixmill.cli.plan import invalid_lines, warning_lines
from pixmill.local_paths import given_path
from pixmill.text import cli_arguments

EXIT_INVALID = 3


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
    force: Force = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Check the config and every row of the table, for free.

    Also whether the table can be published. Exit 3 if rows are invalid.
    """
    from pixmill.config.loading import load_config
    from pixmill.datasets.dry_publication import publish_dry
    from pixmill.datasets.export.targets import check_target
    from pixmill.datasets.invalid_rows import is_table_of_invalid, write_invalid_rows
    from pixmill.datasets.publishing import published_folder
    from pixmill.datasets.step_back import check_has_rows
    from pixmill.planning.planner import make_plan

    settings = load_config(config, overrides or ())
    if out:
        # Who fixes rows writes it again and again, and nobody needs the one before.
        is_ours = force or is_table_of_invalid(out)
        check_target(settings, config, out, overwrite=is_ours)
    plan = make_plan(settings, None)
    valid = plan.rows - plan.invalid
    echo(f"{plan.rows:,} rows, {valid:,} valid, {plan.invalid:,} invalid")
    for line in (*invalid_lines(plan), *warning_lines(plan)):
        echo(line)
    if out:
        write_invalid_rows(plan, str(out))
        echo(f"all invalid rows are in {out}")
    if not plan.rows:
        check_has_rows(plan, published_folder(settings))
    # After the rows: a column that can't be published ends the command with an error.
    publish_dry(plan)
    if not plan.invalid:
        echo(f"next: pixmill plan {cli_arguments(config, overrides or ())}")
    if as_json:
        examples = {
            reason: [row.as_dict() for row in rows]
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
    raise typer.Exit(EXIT_INVALID if plan.invalid else 0)
