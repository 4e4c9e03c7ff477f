"""The chunks of a run as task runs: a bounded window of them in flight, on what the config says."""

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.annotations import quote

from pixmill.errors import PixmillError
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
    if not run.prepared.to_do:
        return  # no workers are started for nothing
    window: dict[Future, list[Job]] = {}
    with _open_task_runner(run) as submit:
        try:
            for chunk in run.chunks():
                window[submit(chunk)] = chunk
                if run.executor.has_enough(window.values()):
                    _settle_one(run, window, submit)
            _settle_all(run, window, submit)
        except CancelledError:  # raised into this thread wherever it is
            run.interrupt(
                "Prefect, which lost the run's place under a concurrency limit"
            )
            _settle_all(run, window, submit)


def name_rows(chunk: list[Job]) -> str:
    """Name the rows of a chunk, as its task run is called in the UI."""
    if len(chunk) == 1:
        return chunk[0].label
    return f"{chunk[0].label} … {chunk[-1].label}"


def _open_task_runner(run: ActiveRun) -> AbstractContextManager[Submit]:
    if run.config.execution.engine == "threads":
        return _submit_here(run)
    from flows.dask_runner import submit_to_dask  # an extra

    return submit_to_dask(run, cast(WorkerPool, run.executor))


@contextmanager
def _submit_here(run: ActiveRun) -> Iterator[Submit]:
    def submit(chunk: list[Job]) -> Future:
        jobs: Any = quote(chunk)  # Prefect need not look for futures inside
        future: PrefectFuture[ChunkCounts] = cv_process.submit(
            run.run_id, jobs, name_rows(chunk)
        )
        return future

    yield submit


def _settle_all(
    run: ActiveRun, window: dict[Future, list[Job]], submit: Submit
) -> None:
    while window:
        _settle_one(run, window, submit)


def _settle_one(
    run: ActiveRun, window: dict[Future, list[Job]], submit: Submit
) -> None:
    """Wait for a chunk, and send it out once more where the executor wants that."""
    # Not for the oldest one: a single slow job would hold up all.
    future = next(iter(as_completed(list(window))))
    chunk = window.pop(future)
    try:
        run.executor.record(_result_of(future))
    except Exception as error:
        # Also what is no state of a task run: Dask raises errors of its own for a
        # worker that died.
        if run.executor.chunk_failed(chunk, error):
            window[submit(chunk)] = chunk


def _result_of(future: Future) -> Any:
    """Wait for a task run and return its result. Raises whatever there is instead of one."""
    result = future.result()
    if result is None:  # somebody has set its state by hand
        raise PixmillError("its task run has no result")
    return result
