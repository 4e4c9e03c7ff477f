"""The command `init`: a config to start from, for a table of one's own or with a small one."""

from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.starters import write_example, write_for_table
from pixmill.errors import UserError
from pixmill.local_paths import given_path


def init(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_OR_TABLE",
            parser=given_path,
            help="A folder to write an example to, created if it does not exist; or your own "
            "table, for which a config is written.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            parser=given_path,
            help="Where the config of a table goes; by default it is called like the table.",
        ),
    ] = None,
) -> None:
    """Write a config to start from: for your table, or an example.

    Both run on the built-in simulator, for free. Of a table it finds the columns by their names and content,
    and asks on a terminal where several may be meant.
    """
    # A file, or a pattern of some: what is meant as a table and is not there is named as one.
    if place.is_file() or (place.suffix and not place.is_dir()):
        write_for_table(place, out)
        return
    if out is not None:
        raise UserError("--out is where the config of a table goes; name the table")
    write_example(place)
