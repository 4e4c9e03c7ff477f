"""The virtual world takes the place of threads and clocks for the length of a test."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixmill.ledger import Ledger
from tests.virtual.threads import install


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without jobs, to be copied: making one takes longer than a whole run here."""
    path = tmp_path_factory.mktemp("virtual") / "ledger.db"
    Ledger(path).close()
    return path


@pytest.fixture
def stores() -> Iterator[Path]:
    """A folder in memory where there is one: these ledgers need not outlive a power cut."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(
        prefix="pixmill-", dir=memory if memory.is_dir() else None
    )
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def virtual(
    empty_ledger: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Threads and clocks are those of the world that was entered last."""
    caplog.set_level(logging.CRITICAL, "pixmill")
    install(monkeypatch)
