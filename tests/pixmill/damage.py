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
from tests.conftest import KEY, Project, Simulated, results, run_config, simulator

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
    """Pay for the rows of a new project, with their images; return its store, for tests to copy."""
    folder.mkdir(exist_ok=True)
    project = Project(folder)
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    run_config(project.path)
    return folder / "out"


def copied(project: Project, store: Path, simulated: Simulated) -> Project:
    """Make `project` one whose rows are paid for, by a copy of `store`."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    shutil.copytree(store, project.folder / "out")
    return project


def flip(path: Path, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dataset(project: Project) -> Path:
    return load_config(project.path).dataset_folder / "dataset.parquet"


def rows(project: Project) -> list[dict[str, Any]]:
    return results({"dataset": dataset(project)})


def image_files(project: Project) -> list[Path]:
    """The image files of the rows, in their order."""
    store = load_config(project.path).store_path
    return [store / row["file_name"] for row in rows(project)]


def edit_ledger(project: Project, statement: str, *values: Any) -> None:
    with (
        closing(
            sqlite3.connect(load_config(project.path).store_path / "ledger.db")
        ) as ledger,
        ledger,
    ):
        ledger.execute(statement, values)
