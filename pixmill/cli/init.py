"""The command `init`: a config and a table to start from."""

import shlex
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copyfile, copytree
from typing import Annotated

import typer

from pixmill.cli.console import echo
from pixmill.errors import UserError
from pixmill.local_paths import given_path

STARTER = ("pets.yaml", "pets.csv", "pets")
"""What is written: a config, its table, and the folder of the images that the table names; beside them a schema."""


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            parser=given_path,
            help="The folder to write to; created if it does not exist.",
        ),
    ],
) -> None:
    """Write a small config, table and images to start from.

    They run on the built-in simulator, for free.
    """
    from pixmill.config.json_schema import SCHEMA_FILE, schema_text

    # Checked for all of them first: half a project would be worse than none.
    existing = [name for name in STARTER if (folder / name).exists()]
    if existing:
        raise UserError(
            f"{folder / existing[0]} exists already",
            hint="choose another folder; nothing was written",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in STARTER:
            source = files("pixmill.cli.templates").joinpath(name)
            with as_file(source) as template:
                if template.is_dir():
                    copytree(template, folder / name, copy_function=copyfile)
                else:
                    copyfile(template, folder / name)
        # Editors complete and check the config by it: its first line names it.
        (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror}") from None
    echo(f"wrote {', '.join(str(folder / name) for name in STARTER)}")
    echo(f"next: cd {shlex.quote(str(folder))} && pixmill run {STARTER[0]}")
