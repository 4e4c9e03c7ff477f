"""Where an export may be written: never over what a dataset is made of, and over other files only on demand.

The mistakes are one letter or one arrow key away: `--out products.csv` where that is the input table.
"""

import os
from pathlib import Path

from pixmill.config.inheritance import find_bases
from pixmill.config.model import Config
from pixmill.errors import UserError
from pixmill.tables.discovery import is_input_file

# Files of a store that lie beside its folders; those of SQLite come and go with its ledger.
_OF_A_LEDGER = ("ledger.db", "ledger.db-wal", "ledger.db-shm")

_ANOTHER = "name another file"


def check_target(
    config: Config, config_file: str, out: Path, *, overwrite: bool = False
) -> None:
    """Raise UserError where `out` must not be written.

    Never the config that was read from `config_file` or one that it extends, a file that the input
    reads or would read from then on, and what the store itself consists of; any other file that
    exists only where `overwrite` was agreed to.
    Folders that exist are left to `atomic_folder`, which fills empty ones only.
    """
    # Through links as well: both names are the same bytes.
    place = out.resolve()
    if place == Path(config_file).resolve():
        raise UserError(f"{out} is the config itself", hint=_ANOTHER)
    if place in [base.resolve() for base in find_bases(Path(config_file))]:
        raise UserError(f"{out} is a config that {config_file} extends", hint=_ANOTHER)
    if is_input_file(config.input.path, place):
        raise UserError(
            f"{out} is read as a part of the input table {config.input.path}",
            hint="name another file, outside of what input.path covers",
        )
    if _is_of_store(config, place):
        raise UserError(
            f"{out} is a part of the store {config.store_name}",
            hint="name a file outside of the store",
        )
    if os.path.lexists(out) and not out.is_dir() and not overwrite:
        raise UserError(f"{out} exists already", hint="--force replaces it")


def _is_of_store(config: Config, place: Path) -> bool:
    """Whether the file `place` is a ledger of the store, an image, or in the folder of a dataset."""
    # The store of simulated runs lies in that of paid ones.
    stores = {config.store_path}
    if not config.bucket:
        stores |= {Path(config.store), Path(config.store) / "simulated"}
    for store in (store.resolve() for store in stores):
        if not place.is_relative_to(store) or place == store:
            continue
        within = place.relative_to(store).parts
        is_dataset = (store / within[0] / "manifest.json").is_file()
        if within[0] in (*_OF_A_LEDGER, "images", config.name) or is_dataset:
            return True
    return False
