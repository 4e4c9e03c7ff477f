"""The commands that look after a ledger: backup, stats. And how a command finds the ledger of a store."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixmill.cli.console import Json, echo, place, print_json
from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.ledger_address import is_database_url
from pixmill.errors import UserError
from pixmill.local_paths import given_path

if TYPE_CHECKING:
    from pixmill.config.model import Config
    from pixmill.ledger import Ledger

StorePath = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        parser=place,
        help="The store (out, out/simulated), its ledger.db, a config, or a database URL.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]

ledger = typer.Typer(
    help="Look after the ledger of a store: backup, stats.", no_args_is_help=True
)


@ledger.command("backup")
def backup(
    store: StorePath,
    out: Annotated[
        Path, typer.Option(metavar="FILE", parser=given_path, help="The file to write.")
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a consistent copy of the ledger, also while runs go on. Images are no part of it."""
    from pixmill.ledger.backup import back_up

    with opened(store) as found:
        done = back_up(found, out, overwrite=force)
    echo(f"wrote {done.path}: {size(done.bytes)}, checked")
    echo(f"  {done.jobs:,} jobs, {done.attempts:,} calls, {done.runs:,} runs")
    if as_json:
        print_json({**done._asdict(), "path": str(done.path)})


@ledger.command("stats")
def stats(store: StorePath, as_json: Json = False) -> None:
    """Show the sizes of ledger and images and what the ledger holds."""
    from pixmill.ledger.stats import read_stats

    with opened(store) as found:
        images = _image_sizes(store)
        read = {
            "ledger": str(found.address),
            **found.ask(found.database.sizes),
            **images,
            **found.ask(read_stats),
        }
    _say_stats(read)
    if as_json:
        print_json(read)


@contextmanager
def opened(store: str) -> "Iterator[Ledger]":
    """Open the ledger of a store for reading. Raises UserError where there is none."""
    from pixmill.ledger import open_ledger

    address = _ledger_address(store)
    found = open_ledger(address, read_only=True)
    if found is None:
        simulated = Path(address).with_name("simulated") / "ledger.db"
        hint = (
            f"the simulator's is {simulated}"
            if simulated.exists()
            else "a store has one after its first run"
        )
        raise UserError(f"there is no ledger at {address}", hint=hint)
    with closing(found):
        yield found


def config_of(store: str) -> "Config | None":
    """Return the config that `store` is the path of; `None` where it is a folder or a ledger."""
    from pixmill.config.loading import load_config

    return load_config(store) if store.endswith((".yaml", ".yml")) else None


def size(number: float) -> str:
    """Return bytes for people: `512 B`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def _ledger_address(store: str) -> Path | str:
    config = config_of(store)
    if config:
        return config.ledger_address
    if is_bucket_url(store):
        raise UserError(
            f"{store.partition('?')[0]} is a bucket, which holds no ledger",
            hint="give a config, or the database that its `ledger` names: postgresql+psycopg://…",
        )
    if is_database_url(store):
        return store
    return Path(store) if Path(store).is_file() else Path(store) / "ledger.db"


def _image_sizes(store: str) -> dict[str, int]:
    """Count the images of a store; empty where only a database is named."""
    from pixmill.storage import FolderStore, open_store

    config = config_of(store)
    address = _ledger_address(store)
    if config:
        return open_store(config).image_sizes()
    return (
        FolderStore(address.parent).image_sizes() if isinstance(address, Path) else {}
    )


def _say_stats(read: dict[str, Any]) -> None:
    log = (
        f" and {size(read['log_bytes'])} of write-ahead log"
        if read["log_bytes"]
        else ""
    )
    echo(
        f"{read['ledger']}: {size(read['ledger_bytes'])}{log}, schema {read['schema_version']}"
    )
    if "images" in read:
        echo(f"  {read['images']:,} image files: {size(read['images_bytes'])}")
    states = ", ".join(
        f"{count:,} {state.replace('_', ' ')}"
        for state, count in read["states"].items()
    )
    echo(f"  {read['jobs']:,} jobs" + (f": {states}" if states else ""))
    first, last = (
        read[end] and read[end][:16].replace("T", " ") for end in ("first", "last")
    )
    span = f", from {first} to {last} UTC" if first else ""
    echo(f"  {read['attempts']:,} calls in {read['runs']:,} runs{span}")
