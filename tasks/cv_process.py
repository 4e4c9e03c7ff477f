"""Task: one chunk of jobs, paid for and recorded. Payment, retries, limits and caching
are the library's.
"""

from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from pixmill.errors import PixmillError
from pixmill.execution.active_runs import active_run
from pixmill.execution.progress import ChunkCounts
from pixmill.execution.worker import ChunkRequest, ChunkResult, process
from pixmill.planning.jobs import Job


def _is_infrastructure(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return not isinstance(state.result(raise_on_failure=False), PixmillError)


# NO_CACHE and no persisted result: Prefect reads a damaged or unreadable result as a miss and would pay again.
PAID: dict[str, Any] = {
    "name": "cv_process",
    "task_run_name": "{rows}",
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": 1,
    "retry_condition_fn": _is_infrastructure,
}


@task(**PAID)
def cv_process(run_id: str, chunk: list[Job], rows: str) -> ChunkCounts:
    """Pay for `chunk` in the run `run_id` of this process; `rows` names its rows in the UI."""
    return active_run(run_id).process(chunk)


@task(**PAID)
def cv_process_by_order(order: ChunkRequest, rows: str) -> ChunkResult:
    """Pay for the chunk of `order` as a worker of its run; `rows` names its rows in the UI."""
    return process(order)
