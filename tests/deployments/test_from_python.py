"""The two ways of Prefect to deploy from Python, each carried out on a server: what they make runs and publishes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from tests.conftest import ROOT
from tests.real_command import prefect_state, wait_until

pytestmark = [pytest.mark.stack]

USAGE = "usage: python -m deployments."
UNSET = "error: PREFECT_API_URL is not set"
NOBODY = "error: no Prefect server answers at http://127.0.0.1:9/api"


@contextmanager
def client_of(api: str, home: Path) -> Iterator[SyncPrefectClient]:
    settings = {PREFECT_API_URL: api, PREFECT_HOME: home}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield client


@contextmanager
def started(api: str, home: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of the project on the server `api`; it is ended when the body is."""
    environment = {**os.environ, **prefect_state(home), "PREFECT_API_URL": api}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def order(client: SyncPrefectClient, name: str, store: Path) -> UUID:
    """Order a run of a deployment that may start its ledger."""
    deployment = client.read_deployment_by_name(name)
    parameters: dict[str, Any] = {
        **deployment.parameters,
        "overrides": [f"store={store}", "output.images=url", "limits.qps=100"],
        "new_store": True,
    }
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    return run.id


def assert_published(client: SyncPrefectClient, run: UUID, store: Path) -> None:
    def is_over() -> bool:
        state = client.read_flow_run(run).state
        return state is not None and state.is_final()

    wait_until(is_over, "the run of the deployment ends")
    state = client.read_flow_run(run).state
    assert state is not None
    assert state.is_completed(), state.message
    dataset = store / "simulated" / "nightly" / "dataset.parquet"
    assert set(pq.read_table(dataset)["status"].to_pylist()) == {"succeeded"}


def test_a_served_flow_runs(prefect_api: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = tmp_path / "out"
    arguments = ("deployments.serve", "configs/nightly.yaml", str(store))
    name = "generate-dataset/nightly-served"
    with (
        client_of(prefect_api, home) as client,
        started(prefect_api, home, *arguments) as process,
    ):

        def is_served() -> bool:
            assert process.poll() is None
            deployments = client.read_deployments()
            return "nightly-served" in {each.name for each in deployments}

        wait_until(is_served, "the flow is served")
        deployment = client.read_deployment_by_name(name)
        assert [str(each.schedule.timezone) for each in deployment.schedules] == [  # type: ignore[union-attr]
            "Asia/Shanghai"
        ]
        assert_published(client, order(client, name, store), store)


def test_a_flow_that_was_deployed_from_its_source_runs(
    prefect_api: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    store = tmp_path / "out"
    environment = {**os.environ, **prefect_state(home), "PREFECT_API_URL": prefect_api}

    def prefect(*arguments: str) -> None:
        command = [sys.executable, "-m", *arguments]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)

    prefect("prefect", "work-pool", "create", "pixmill", "--type", "process")
    arguments = (str(ROOT), "configs/nightly.yaml", str(store))
    with (
        started(prefect_api, home, "deployments.deploy_flow", *arguments) as deploying,
        client_of(prefect_api, home) as client,
    ):
        assert deploying.wait(120) == 0
        run = order(client, "generate-dataset/nightly-from-python", store)
        # Away from the project: what a worker runs comes from the source.
        worker = ("prefect", "worker", "start", "--pool", "pixmill", "--run-once")
        prefect(*worker)
        assert_published(client, run, store)
        client.delete_deployment(
            client.read_deployment_by_name("generate-dataset/nightly-from-python").id
        )


@pytest.mark.parametrize(
    ("arguments", "api", "code", "said"),
    [
        (("deployments.serve",), "", 2, USAGE),
        (("deployments.deploy_flow",), "", 2, USAGE),
        (("deployments.serve", "configs/nightly.yaml", "out"), "", 1, UNSET),
        (
            ("deployments.serve", "configs/nightly.yaml", "out"),
            "http://127.0.0.1:9/api",
            1,
            NOBODY,
        ),
    ],
)
def test_without_arguments_or_a_server_it_says_what_is_missing(
    arguments: tuple[str, ...], api: str, code: int, said: str, tmp_path: Path
) -> None:
    environment = {**os.environ, **prefect_state(tmp_path / "home")}
    environment.pop("PREFECT_API_URL", None)
    if api:
        environment["PREFECT_API_URL"] = api
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, said in ended.stderr) == (code, True)
    assert "Traceback" not in ended.stderr
