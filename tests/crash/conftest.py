"""The experiment server that the tests of one process share."""

from collections.abc import Iterator

import pytest

from tests.crash.experiment_server import Experiment, fork_server
from tests.crash.tracing import why_not


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    """What calls an experiment by name; tests are skipped where system calls can't be watched."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with fork_server(tmp_path_factory.mktemp("crash")) as started:
        yield started
