"""The chunks of a run as task runs: a bounded window of them in flight, on what the config says."""

from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.annotations import quote

from pixmill.execution.chunk_window import ChunkWindow
from pixmill.execution.progress import ChunkCounts
from pixmill.execution.run import ActiveRun
from pixmill.execution.worker_pool import WorkerPool
from pixmill.planning.jobs import Job
from tasks.cv_process import cv_process

Future = PrefectFuture[Any]
Submit = Callable[[list[Job]], Future]


def submit_chunks(run: ActiveRun) -> None:
    """Pay for the chunks of `run`, each in a task run. One that Prefect cancels is
    drained, as by a signal.
    """
    # No workers are started for nothing, or once the run was stopped.
    if not run.prepared.to_do or run.stop.is_set:
        return
    with _open_task_runner(run) as submit:
        window = ChunkWindow(run, submit, _wait_for_one)
        try:
            window.pay()
        except CancelledError:  # raised into this thread wherever it is
            run.interrupt(
                "Prefect, which lost the run's place under a concurrency limit"
            )
            window.drain()


def name_rows(chunk: list[Job]) -> str:
    """Name the rows of a chunk, as its task run is called in the UI."""
    if len(chunk) == 1:
        return chunk[0].label
    return f"{chunk[0].label} … {chunk[-1].label}"


def _open_task_runner(run: ActiveRun) -> AbstractContextManager[Submit]:
    if run.config.execution.engine == "threads":
        return _submit_to_threads(run)
    from flows.dask_runner import submit_to_dask  # an extra

    return submit_to_dask(run, cast(WorkerPool, run.executor))


@contextmanager
def _submit_to_threads(run: ActiveRun) -> Iterator[Submit]:
    def submit(chunk: list[Job]) -> Future:
        jobs: Any = quote(chunk)  # Prefect need not look for futures inside
        future: PrefectFuture[ChunkCounts] = cv_process.submit(
            run.run_id, jobs, name_rows(chunk)
        )
        return future

    yield submit


def _wait_for_one(futures: Collection[Future]) -> Future:
    return next(iter(as_completed(list(futures))))
