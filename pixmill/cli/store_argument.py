"""The argument STORE of `bill`, `ledger` and `view`, and the ledger that it means."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

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


class GivenStore(NamedTuple):
    """What the argument STORE means."""

    config: "Config | None"
    """The config that it is the path of, `None` where it is a folder, a ledger or a database."""

    ledger: Path | str
    """The file or the database URL of its ledger, which may not be there."""

    @property
    def is_simulated(self) -> bool:
        """Whether that is the simulator's, which has a folder of its own in each store."""
        ledger = self.ledger
        return isinstance(ledger, Path) and ledger.absolute().parent.name == "simulated"

    def image_sizes(self) -> dict[str, int]:
        """Count its images; empty where only a database is named, which knows no folder."""
        from pixmill.storage import FolderStore, open_store

        if self.config:
            return open_store(self.config).image_sizes()
        if isinstance(self.ledger, Path):
            return FolderStore(self.ledger.parent).image_sizes()
        return {}


@contextmanager
def open_store_ledger(given: GivenStore) -> "Iterator[Ledger]":
    """Open the ledger of a store for reading. Raises UserError where there is none."""
    from pixmill.ledger import open_ledger

    address = given.ledger
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


def find_store(store: str) -> GivenStore:
    """Return what the text of an argument STORE means. Raises UserError for a bucket, ConfigError."""
    config = config_of(store)
    if config:
        return GivenStore(config, config.ledger_address)
    if is_bucket_url(store):
        raise UserError(
            f"{store.partition('?')[0]} is a bucket, which can't hold a ledger",
            hint="pass the config, or the database that its `ledger` names: postgresql+psycopg://…",
        )
    if is_database_url(store):
        return GivenStore(None, store)
    path = Path(store)
    # A copy of a ledger may have any name.
    return GivenStore(None, path if path.is_file() else path / "ledger.db")
