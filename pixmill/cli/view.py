"""The command `view`: a store in the browser, while runs go on."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import echo, place
from pixmill.cli.store_argument import config_of
from pixmill.config.bucket_address import is_bucket_url
from pixmill.errors import UserError


def view(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE",
            parser=place,
            help="The store (out), or a config that names it.",
        ),
    ] = "out",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes a free one.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, open nothing.")
    ] = False,
) -> None:
    """Show the datasets of a store in the browser, live during runs.

    Read-only and on this machine alone; the address has a token. Ctrl-C ends it.
    """
    from pixmill.memory import keep_less_memory
    from pixmill.view.server import serve

    folder = _find_folder(store)
    keep_less_memory()

    def show(address: str) -> None:
        echo(f"{folder} at {address}   (Ctrl-C ends it)")
        # Without a window of its own, a browser would take over the terminal.
        has_windows = sys.platform == "darwin" or any(
            os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
        )
        if not no_browser and sys.stderr.isatty() and has_windows:
            webbrowser.open(address)

    serve(folder, port, show)


def _find_folder(store: str) -> Path:
    """Return the folder of a store, this machine's copy of one in a bucket. Raises UserError."""
    from pixmill.datasets.publishing import published_folder

    config = config_of(store)
    if config:
        # The simulator's store is shown with the one around it.
        around = config.simulated and config.bucket is None
        folder = config.store_path.parent if around else config.store_path
        if config.bucket:
            # Another machine may have published it.
            folder.mkdir(parents=True, exist_ok=True)
            published_folder(config)
    elif is_bucket_url(store):
        raise UserError(
            f"{store.partition('?')[0]} is a bucket; a view of it needs a config",
            hint="pixmill view CONFIG",
        )
    else:
        folder = Path(store)
    if not folder.is_dir():
        raise UserError(
            f"there is no store at {folder}", hint="`pixmill run` creates one"
        )
    return folder.absolute()
