"""What several tests of runs share: a scripted provider, and the command line without a Prefect server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pixmill.run_checks import Provider
from tests.real_command import Command


@pytest.fixture
def pixmill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line with a Prefect API that nobody serves: what pays nothing must not need one."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    return Command(tmp_path, forked=True)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running
