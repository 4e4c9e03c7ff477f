"""A machine that is lost in the middle of a scheduled sweep, and a server that is restarted meanwhile."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.schedules import IntervalSchedule

from deployments.automations import apply, dead_runs_are_marked
from deployments.stack import Stack, running_stack
from pixmill.subprocesses import stop_child
from tests.conftest import KEY, simulator
from tests.deployments.test_stack import client_of, folder, free_port
from tests.postgres import Postgres
from tests.real_command import children, is_alive, tree, wait_until

__all__ = ["folder"]

pytestmark = [
    pytest.mark.stack,
    pytest.mark.filterwarnings(
        "ignore:XDG_RUNTIME_DIR"
    ),  # of the library that starts PostgreSQL
]

JOBS, ROWS, REPLICATES = 2_000, 4, 4
STRENGTHS = [
    round((at + 1) / (JOBS // ROWS // REPLICATES), 3)
    for at in range(JOBS // ROWS // REPLICATES)
]
IN_FLIGHT = 20
TIMEOUT = 20
SILENCE = timedelta(seconds=45)
"""Longer than the shortest pause between two heartbeats, which is half a minute."""


def test_a_scheduled_sweep_outlives_the_machine_that_it_runs_on_and_a_restart_of_the_server(
    folder: Path, postgres: Postgres, database_url: str
) -> None:
    """C5, C12, H4: one of two workers is lost with its run; the next one takes over, nothing is paid twice."""
    store = folder / "store"
    with (
        simulator(
            folder, "--latency", "0.2", "--qps", "80", "--concurrency", str(IN_FLIGHT)
        ) as simulated,
        running_stack(folder / "stack", free_port(), store) as stack,
        client_of(stack) as client,
        workers(stack) as (first, second),
        ExitStack() as open_things,
    ):
        stack.deploy()
        apply(client, [dead_runs_are_marked(SILENCE)])
        schedule(client, parameters(simulated.url, store, database_url))
        wait_until(lambda: simulated.bill.length > JOBS // 8, "the sweep has begun")
        open_things.callback(stop_child, restarted(stack), 15)
        wait_until(lambda: simulated.bill.length > JOBS // 3, "the sweep goes on")
        kill_the_one_that_runs(first, second)
        calls = simulated.bill.length
        wait_until(lambda: simulated.bill.length > calls, "the next run takes over")
        wait_until(
            lambda: any(name.startswith("Completed") for name in states(client)),
            "the end of the sweep",
        )
        seen = Counter(states(client))
        keys = simulated.bill.keys
    rows = (
        pq.read_table(store / "sweep" / "dataset.parquet")
        .select(["status", "job_key", "attempts"])
        .to_pylist()
    )
    outcomes = Counter(row["status"] for row in rows)
    assert len(rows) == len({row["job_key"] for row in rows}) == JOBS
    assert set(outcomes) <= {"succeeded", "in_doubt"}
    assert outcomes["in_doubt"] <= IN_FLIGHT
    assert len(keys) == len(set(keys)), "nothing was paid twice"
    assert seen["Crashed"] == 1, "the lost one is told from those that ended"


def parameters(url: str, store: Path, ledger: str) -> dict[str, Any]:
    """A sweep over everything with the ledger in PostgreSQL, as a user orders it."""
    provider = f"{{kind: gateway, base_url: {url}}}"
    limits = f"{{qps: 80, concurrency: {IN_FLIGHT}, timeout_seconds: {TIMEOUT}}}"
    changed = [
        f"store={store}",
        f"ledger='{ledger}'",
        f"provider={provider}",
        f"limits={limits}",
    ]
    return {
        "strengths": STRENGTHS,
        "replicates": REPLICATES,
        "max_calls": 2 * JOBS,
        "new_store": True,
        "overrides": [*changed, "output.images=url"],
    }


def schedule(client: SyncPrefectClient, ordered: dict[str, Any]) -> None:
    """Have the sweep run every quarter of a minute: while one is under way, those that are due are cancelled."""
    often = IntervalSchedule(interval=timedelta(seconds=15))
    due = DeploymentScheduleCreate(schedule=often, active=True, parameters=ordered)
    client.request(
        "POST",
        f"/deployments/{sweep_of(client)}/schedules",
        json=[due.model_dump(mode="json")],
    ).raise_for_status()


def sweep_of(client: SyncPrefectClient) -> Any:
    return client.read_deployment_by_name("sweep-parameters/sweep").id


def states(client: SyncPrefectClient) -> list[str]:
    """The names of the states of all runs of the sweep."""
    of_sweep = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[sweep_of(client)])
    )
    return [
        run.state.name
        for run in client.read_flow_runs(flow_run_filter=of_sweep)
        if run.state
    ]


@contextmanager
def workers(stack: Stack) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two workers that ask for work each second and take one run at a time."""
    eager = {
        **stack.environment,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PIXMILL_API_KEY": KEY,
    }
    both = [
        stack._replace(environment=eager).worker("--name", name, "--limit", "1")
        for name in ("first", "second")
    ]
    try:
        yield both
    finally:
        for worker in both:
            stop_child(worker)


def restarted(stack: Stack) -> subprocess.Popen[bytes]:
    """End the server as an update does, and start it again."""
    mine = children(os.getpid())
    # The command line alone: a server that other tests share has options behind it.
    [(server, command)] = [
        of for of in mine.items() if of[1].rstrip().endswith("-m prefect server start")
    ]
    os.kill(server, signal.SIGTERM)
    wait_until(lambda: not is_alive(server, command), "the server's end")
    return stack.serve()


def kill_the_one_that_runs(*both: subprocess.Popen[bytes]) -> None:
    """Kill the worker that has a run, and all that it started."""
    [worker] = [each for each in both if children(each.pid)]
    for pid in tree(worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
