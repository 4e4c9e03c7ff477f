"""The command `promote`: the config of a full dataset from the best points of a sweep."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides, echo, place, print_json
from pixmill.errors import UserError
from pixmill.local_paths import given_path
from pixmill.text import cli_arguments

Point = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="The point, as the report and the column point_id name it."
    ),
]
Picks = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE",
        parser=place,
        help="Instead of one point: the report's picks.csv.",
    ),
]
FullTable = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="TABLE",
        help="The full table, if it is another than the sweep's.",
    ),
]
RowsWhere = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only rows of the full table for which this holds, instead of input.where; '' "
        "takes all.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=given_path,
        help="Write the config to this new file instead of printing it.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the new dataset. Default: the sweep's, and the id.",
    ),
]


def promote(
    config: ConfigPath,
    point: Point = None,
    picks: Picks = None,
    table: FullTable = None,
    where: RowsWhere = None,
    name: Name = None,
    out: Out = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Print a config for the full table from a sweep's best points.

    With the parameters of one point, or of each row's own pick.
    """
    from pixmill.config.loading import load_config
    from pixmill.planning.promotion import promote_picks, promote_point

    if (point is None) == (picks is None) or (picks and (table or where is not None)):
        raise UserError(
            "promote takes either --point ID, with --input TABLE and --where CONDITION or "
            "without, or --picks TABLE"
        )
    if out is not None and os.path.lexists(out):
        raise UserError(
            f"{out} exists already", hint="name a new file, or remove this one first"
        )
    changes = [*(overrides or ()), *_write_overrides(table, where, name)]
    loaded = load_config(config, changes)
    made = (
        promote_point(loaded, point, name)
        if point is not None
        else promote_picks(loaded, picks or "", name)
    )
    text = made.to_yaml()
    echo(f"{made.config.name}: {made.title}")
    for note in made.notes:
        echo(f"  {note}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        echo(f"next: pixmill plan {cli_arguments(str(out), ())}")
    else:
        echo(
            "next: write it to a file (--out full.yaml); `pixmill plan full.yaml` shows what is "
            "already paid for"
        )
    if as_json:
        name = made.config.name
        print_json({"name": name, "config": text, "notes": list(made.notes)})
    elif out is None:
        sys.stdout.write(text)


def _write_overrides(
    table: str | None, where: str | None, name: str | None
) -> Iterator[str]:
    """Yield the flags that change keys of the config as `--set` would."""
    values = {"input.path": table, "input.where": where, "name": name}
    for key, value in values.items():
        if value is None:
            continue
        # Only of the condition: `''` takes all rows, also where the sweep takes some.
        if key == "input.where" and not value:
            yield "input.where=null"
        else:
            # An override is YAML, of which JSON is a part: in quotes any text is a text.
            yield f"{key}={json.dumps(value, ensure_ascii=False, allow_nan=False)}"
