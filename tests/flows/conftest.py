"""One Prefect server for the tests of flows, and a table that they may pay for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.logging.handlers import APILogHandler
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_LEVEL,
    temporary_settings,
)

from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from tests.conftest import Project, Simulated
from tests.real_command import shared_server


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with shared_server(tmp_path_factory.mktemp("prefect")) as url:
        yield url
        APILogHandler().flush()  # or what still waits is sent to a server that has ended


@contextmanager
def client_of(api: str) -> Iterator[SyncPrefectClient]:
    """A client of a server; meanwhile Prefect works with that one, and says nothing."""
    settings = {PREFECT_API_URL: api, PREFECT_LOGGING_LEVEL: "CRITICAL"}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def prefect(api: str) -> Iterator[SyncPrefectClient]:
    """A client of the server that flows of the test run on."""
    with client_of(api) as client:
        yield client


@pytest.fixture
def shop(project: Project, simulated: Simulated) -> Project:
    """A project that may pay, on a ledger that exists, as flow runs demand."""
    project.write_rows(project.rows(6))
    project.use_simulator(simulated)
    project.write_config(input={"row_key": ["id"]})
    ledger = prepare(load_config(project.path)).ledger
    ledger.begin_run("an earlier one", "pets")
    ledger.close()
    return project
