"""Bring every run of the work pool to its end before a worker is stopped: `python -m
deployments.drain`.

A worker that is stopped kills its runs, and what they had asked the provider for is in
doubt. Cancelled through the server instead, a run sends nothing more, waits for its
calls, publishes, and goes on when it is started again.
"""

import sys
import time

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling

from deployments.work_pool import POOL

SECONDS = 60
"""About twice what a worker gives a run that is cancelled."""

_UNDERWAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def drain(client: SyncPrefectClient, seconds: float = SECONDS) -> list[str]:
    """Pause the pool and cancel its runs; return the names of those that have not ended
    after `seconds`.

    The pool stays paused: `deployments/deploy.sh` lets it go on.
    """
    client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
    deadline = time.monotonic() + seconds
    for run in _underway(client):
        client.set_flow_run_state(run.id, Cancelling())
    while (left := _underway(client)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [run.name for run in left]


def _underway(client: SyncPrefectClient) -> list[FlowRun]:
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDERWAY))
        ),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )


def main() -> None:
    """Drain the pool of the server that PREFECT_API_URL names; exit 1 where runs are left."""
    with get_client(sync_client=True) as client:
        left = drain(client)
    sys.exit(f"still running: {', '.join(left)}" if left else 0)


if __name__ == "__main__":
    main()
