"""Prefect's server dies, fails, hangs or errs under runs of real processes: the bill and the dataset do not mind."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flow_engine import load_flow_run, run_flow
from prefect.states import Crashed, Pending

from flows.generate import generate_dataset
from tests.conftest import Project, Simulated, results, simulator
from tests.flows.conftest import client_of
from tests.fork_server import fork_process
from tests.prefect_proxy import PrefectProxy
from tests.real_command import (
    Command,
    children,
    ledger_rows,
    run_arguments,
    wait_for_result,
    wait_until,
)

pytestmark = pytest.mark.slow

ROWS = 12
SLOW = ("--set", "limits.concurrency=1")


@pytest.fixture(scope="module")
def proxy(prefect_api: str) -> Iterator[PrefectProxy]:
    with PrefectProxy(prefect_api).serving() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def pixmill(proxy: PrefectProxy, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command, with the proxy between it and the server."""
    return Command(tmp_path_factory.mktemp("prefect"), proxy.url, forked=True)


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    """A client that reaches the server past the proxy."""
    with client_of(prefect_api) as client:
        yield client


@pytest.fixture
def table(project: Project) -> Project:
    project.write_rows(project.rows(ROWS))
    return project


@contextmanager
def provider(table: Project, latency: float = 0.1) -> Iterator[Simulated]:
    with simulator(table.folder, "--latency", str(latency)) as simulated:
        table.use_simulator(simulated)
        yield simulated


def test_a_server_that_dies_for_good_in_mid_run_takes_nothing_with_it(
    table: Project, tmp_path: Path
) -> None:
    """C2: the run's own server, which nobody starts again. What `--limit` leaves out is no problem then, either."""
    paid = ROWS - 2
    order = run_arguments(table.path, "--limit", str(paid), *SLOW)
    with (
        provider(table, latency=0.2) as simulated,
        Command(tmp_path).started(*order) as process,
    ):
        wait_until(lambda: simulated.bill.calls >= 2, "2 calls")
        [server] = [
            pid
            for pid, command in children(process.pid).items()
            if "prefect.server" in command
        ]
        os.kill(server, signal.SIGKILL)
        done = wait_for_result(process)
    assert done.exit_code == done.report["exit_code"] == 0, done.stderr
    assert (
        done.report["calls"]
        == simulated.bill.calls
        == len(set(simulated.bill.keys))
        == paid
    )
    statuses = [row["status"] for row in results(done.report)]
    assert statuses == ["succeeded"] * paid + ["skipped"] * 2
    assert "warning: Prefect failed (ConnectError" in done.stderr


def test_a_server_that_takes_no_run_costs_nothing_and_is_named(
    table: Project, pixmill: Command, proxy: PrefectProxy
) -> None:
    """C2: jobs are left, so that the exit code is not 0."""
    with provider(table) as simulated, proxy.fails("/set_state", 500):
        refused = pixmill(*run_arguments(table.path))
    assert (refused.exit_code, refused.stdout, simulated.bill.calls) == (1, "", 0)
    assert "Prefect failed (PrefectHTTPStatusError: Server error '500" in refused.stderr
    assert pixmill("plan", table.path, "--json").report["pending"] == ROWS


def test_artifacts_that_can_not_be_uploaded_change_nothing(
    table: Project, pixmill: Command, proxy: PrefectProxy
) -> None:
    """C14: two warnings, and the same result."""
    with provider(table) as simulated, proxy.fails("/artifacts", 500):
        done = pixmill(*run_arguments(table.path))
    assert proxy.met
    assert (done.exit_code, done.report["exit_code"], simulated.bill.calls) == (
        0,
        0,
        ROWS,
    ), done.stderr
    assert [row["status"] for row in results(done.report)] == ["succeeded"] * ROWS
    assert done.stderr.count("warning: progress can't be shown in Prefect") == 1
    assert done.stderr.count("warning: the results can't be shown in Prefect") == 1


def test_logs_and_artifacts_that_are_never_answered_hold_no_call_back(
    table: Project, pixmill: Command, proxy: PrefectProxy
) -> None:
    """C15: each image brings a warning; no request with log lines or artifacts is answered before the run has ended."""
    with provider(table) as simulated, proxy.fails("/(logs|artifacts)/", "hang"):
        table.write_config(output={"allow_hosts": []}, stop={"images": 100})
        done = pixmill(*run_arguments(table.path))
        assert {route.split("/")[2] for route in proxy.met} == {"logs", "artifacts"}
        assert (
            simulated.bill.calls
            == done.report["calls"]
            == done.report["images_missing"]
            == ROWS
        )
    assert done.exit_code == done.report["exit_code"] == 3, done.stderr


def test_a_run_that_was_marked_crashed_but_lives_shares_the_work_with_the_next(
    table: Project, pixmill: Command, client: SyncPrefectClient
) -> None:
    """C6: two drivers; the claims keep them from paying for one job twice, and each tells what it did itself."""
    count = 3 * ROWS
    table.write_rows(table.rows(count))
    with (
        provider(table, latency=0.5) as simulated,
        pixmill.started(*run_arguments(table.path, *SLOW)) as zombie,
    ):
        wait_until(lambda: simulated.bill.calls >= 2, "2 calls")
        marked = flow_run_of(table, client)
        client.set_flow_run_state(marked.id, Crashed(), force=True)
        before = simulated.bill.calls
        second = pixmill(*run_arguments(table.path))
        first = wait_for_result(zombie)
    assert [first.exit_code, second.exit_code] == [0, 0], first.stderr + second.stderr
    calls = [done.report["calls"] for done in (first, second)]
    assert calls[0] > before
    assert calls[1] > 0
    assert sum(calls) == simulated.bill.calls == len(set(simulated.bill.keys)) == count
    assert len(ledger_rows(table.folder / "out")) == count
    assert all(
        done.report["succeeded"] + done.report["skipped"] == count
        for done in (first, second)
    )
    state = client.read_flow_run(marked.id).state
    assert state
    assert state.name == "Completed"
    assert f"{calls[0]} calls" in str(state.message)


def flow_run_of(table: Project, client: SyncPrefectClient) -> FlowRun:
    """The first flow run of the config of `table`."""
    newest = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC)
    runs = [run for run in newest if run.parameters.get("config") == table.path]
    return min(runs, key=lambda run: run.created)


def test_a_concurrency_lease_that_can_not_be_renewed_cancels_no_call(
    table: Project, pixmill: Command, proxy: PrefectProxy, client: SyncPrefectClient
) -> None:
    """C8: Prefect ends the run; what is in flight is recorded, what is recorded is published."""
    many = 10 * ROWS
    table.write_rows(table.rows(many))
    with provider(table, latency=1) as simulated:
        flow_run = ordered_alone(table, client)
        with (
            proxy.fails("/leases/.*/renew", 410),
            fork_process(
                "tests.faults.test_faulty_prefect:run_config",
                str(flow_run),
                environment=pixmill.environment(),
                prefect={
                    name: pixmill.environment()[name]
                    for name in ("PREFECT_API_URL", "PREFECT_HOME")
                },
            ) as process,
        ):
            done = wait_for_result(process)
        state = client.read_flow_run(flow_run).state
        assert proxy.met
    assert state
    assert (state.type.value, state.name) == ("CANCELLED", "Interrupted"), done.stderr
    assert "concurrency limit" in str(state.message)
    [report] = (table.folder / "out" / "pets" / "runs").glob("*.json")
    calls = json.loads(report.read_text())["calls"]
    assert 0 < calls == simulated.bill.calls < many
    assert len(ledger_rows(table.folder / "out")) == calls


def ordered_alone(table: Project, client: SyncPrefectClient) -> UUID:
    """Order a run of a deployment that has one run at a time, and do what a worker does before its process starts."""
    flow = client.create_flow_from_name("generate-dataset")
    deployment = client.create_deployment(
        flow, name=table.folder.name, concurrency_limit=1
    )
    parameters: dict[str, Any] = {"config": table.path, "new_store": True}
    flow_run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
    client.set_flow_run_state(flow_run.id, Pending())
    return flow_run.id


def run_config() -> None:
    """Carry out the flow run that `sys.argv` names, as the process does that a worker starts for it."""
    flow_run = load_flow_run(UUID(sys.argv[1]))
    run_flow(
        generate_dataset,
        flow_run=flow_run,
        parameters=flow_run.parameters,
        return_type="state",
    )
