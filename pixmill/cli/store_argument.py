"""The argument STORE of `bill` and `ledger`, and the ledger that it means."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixmill.cli.console import place
from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.ledger_address import is_database_url
from pixmill.errors import UserError

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


@contextmanager
def open_store_ledger(store: str) -> "Iterator[Ledger]":
    """Open the ledger of a store for reading. Raises UserError where there is none."""
    from pixmill.ledger import open_ledger

    address = ledger_address(store)
    ledger = open_ledger(address, read_only=True)
    if ledger is None:
        simulated = Path(address).with_name("simulated") / "ledger.db"
        hint = "a store has a ledger after its first run"
        if simulated.exists():
            hint = f"the simulator's ledger is {simulated}"
        raise UserError(f"there is no ledger at {address}", hint=hint)
    with closing(ledger):
        yield ledger


def config_of(store: str) -> "Config | None":
    """Return the config that `store` is the path of; `None` where it is a folder, a ledger or a database."""
    from pixmill.config.loading import load_config

    return load_config(store) if store.endswith((".yaml", ".yml")) else None


def ledger_address(store: str) -> Path | str:
    """Return the file or the database URL of the ledger that `store` means. Raises UserError for a bucket."""
    config = config_of(store)
    if config:
        return config.ledger_address
    if is_bucket_url(store):
        raise UserError(
            f"{store.partition('?')[0]} is a bucket, which can't hold a ledger",
            hint="pass the config, or the database that its `ledger` names: postgresql+psycopg://…",
        )
    if is_database_url(store):
        return store
    # A copy of a ledger may have any name.
    return Path(store) if Path(store).is_file() else Path(store) / "ledger.db"
