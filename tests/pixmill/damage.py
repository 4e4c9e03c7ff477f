"""Harming what was published, for the tests that find the damage and those that repair it."""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from pixmill.config_file import load_config
from tests.conftest import Simulated, Workshop, carry_out, results

ROWS = 6


def paid_store(folder: Path, simulated: Simulated) -> Path:
    """Pay for the rows of a new workshop, with their images; return its store, for tests to copy."""
    folder.mkdir(exist_ok=True)
    workshop = Workshop(folder)
    workshop.write_rows(workshop.rows(ROWS))
    workshop.use(simulated)
    carry_out(workshop.path)
    return folder / "out"


def copied(workshop: Workshop, store: Path, simulated: Simulated) -> Workshop:
    """Make `workshop` one whose rows are paid for, by a copy of `store`."""
    workshop.write_rows(workshop.rows(ROWS))
    workshop.use(simulated)
    shutil.copytree(store, workshop.folder / "out")
    return workshop


def flip(path: Path, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dataset(workshop: Workshop) -> Path:
    return load_config(workshop.path).dataset_folder / "dataset.parquet"


def rows(workshop: Workshop) -> list[dict[str, Any]]:
    return results({"dataset": dataset(workshop)})


def image_files(workshop: Workshop) -> list[Path]:
    """The image files of the rows, in their order."""
    store = load_config(workshop.path).store_path
    return [store / row["file_name"] for row in rows(workshop)]


def edit_ledger(workshop: Workshop, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(load_config(workshop.path).store_path / "ledger.db")) as ledger, ledger:
        ledger.execute(statement, values)
