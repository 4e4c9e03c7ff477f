"""The command `report`: the page to look at, as each run writes it."""

from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides, echo, print_json
from pixmill.local_paths import given_path


def report(
    config: ConfigPath,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=given_path,
            help="Where to write it, instead of beside the dataset.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write a page to look at: X/Y grid, gallery, figures.

    It opens from disk and needs no network.
    """
    from pixmill.config.loading import load_config
    from pixmill.datasets.report import page_of, write_report
    from pixmill.storage import open_store

    settings = load_config(config, overrides or ())
    page = write_report(settings, out)
    shown = str(page)
    # A browser opens the copy on this machine; others find the page in the bucket.
    if settings.bucket and not out:
        shown = open_store(settings).display_name(page_of(settings))
        echo(f"wrote {shown}")
    echo(f"open {page}")
    if as_json:
        print_json({"report": shown})
