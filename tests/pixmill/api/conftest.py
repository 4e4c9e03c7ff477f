"""Runs of Python callers: in a folder of their own, on a simulator that starts and paints quickly."""

from pathlib import Path

import pytest

from pixmill.simulator import embedded
from tests.fork_server import fork_simulator


@pytest.fixture(autouse=True)
def quick_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "start_child", fork_simulator)


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
