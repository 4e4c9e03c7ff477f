"""Harming what was published, for the tests that find the damage and those that repair it."""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pixmill.config.loading import load_config
from tests.conftest import KEY, Simulated, Workshop, carry_out, results, simulator

ROWS = 6


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """The simulator that all tests of a file pay."""
    with simulator(tmp_path_factory.mktemp("simulator")) as started:
        yield started


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, running: Simulated) -> Path:
    """A store of paid rows, for tests to copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXMILL_API_KEY", KEY)
        return paid_store(tmp_path_factory.mktemp("paid"), running)


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
    with (
        closing(
            sqlite3.connect(load_config(workshop.path).store_path / "ledger.db")
        ) as ledger,
        ledger,
    ):
        ledger.execute(statement, values)
