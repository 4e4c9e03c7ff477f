"""The command that makes a dataset's config of a sweep's winner: promote."""

import json
import sys
from typing import Annotated

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides, echo, place, print_json
from pixmill.errors import UserError


def promote(
    config: ConfigPath,
    point: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The point, as the report and the column point_id name it.",
        ),
    ] = None,
    picks: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            parser=place,
            help="Instead of one point: the report's picks.csv.",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="TABLE",
            help="The full table, if it is another than the sweep's.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the new dataset. Default: the sweep's, and the id."),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Print a config for the full table: with the parameters of one point, or of each row's own pick."""
    from pixmill.config.loading import load_config
    from pixmill.planning.promotion import promote_picks, promote_point

    if (point is None) == (picks is None) or (picks and table):
        raise UserError(
            "promote takes either --point ID, with --input TABLE or without, or --picks TABLE"
        )
    given = [
        f"{key}={_quoted(text)}"
        for key, text in (("input.path", table), ("name", name))
        if text is not None
    ]
    loaded = load_config(config, [*(overrides or ()), *given])
    made = (
        promote_picks(loaded, picks, name)
        if picks is not None
        else promote_point(loaded, point or "", name)
    )
    echo(f"{made.config.name}: {made.title}")
    for note in made.notes:
        echo(f"  {note}")
    echo(
        "next: write it to a file (> full.yaml); `pixmill plan full.yaml` shows what is already paid for"
    )
    if as_json:
        print_json(
            {
                "name": made.config.name,
                "config": made.to_yaml(),
                "notes": list(made.notes),
            }
        )
    else:
        sys.stdout.write(made.to_yaml())


def _quoted(text: str) -> str:
    """The text as YAML, whatever is in it."""
    return json.dumps(text, ensure_ascii=False, allow_nan=False)
