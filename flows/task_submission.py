"""Fan-out: the chunks of a run as task runs, a bounded window of them in flight, on the executor of the config."""

import logging
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.annotations import quote

from pixmill.execution.progress import ChunkCounts
from pixmill.execution.run import Run
from pixmill.execution.worker import ChunkResult
from pixmill.execution.worker_pool import failed_for_good, lost_twice
from pixmill.planning.jobs import Job
from tasks.cv_process import cv_process

log = logging.getLogger(__name__)

Future = PrefectFuture[Any]
Submit = Callable[[list[Job]], Future]


def submit_chunks(run: Run) -> None:
    """Pay for the chunks of `run`, each in a task run. One that Prefect cancels is drained, as by a signal."""
    window: dict[Future, list[Job]] = {}
    with _executor(run) as submit:
        try:
            for chunk in run.chunks():
                window[submit(chunk)] = chunk
                if run.is_busy_with(window.values()):
                    _settle_one(run, window, submit)
            _settle_all(run, window, submit)
        except CancelledError:  # raised into this thread wherever it is
            run.interrupt(
                "Prefect, which lost the run's place under a concurrency limit"
            )
            _settle_all(run, window, submit)


def _executor(run: Run) -> AbstractContextManager[Submit]:
    if run.worker_pool is None:
        return _threads(run)
    from flows.dask_runner import dask_workers  # an extra

    return dask_workers(run, run.worker_pool)


@contextmanager
def _threads(run: Run) -> Iterator[Submit]:
    def submit(chunk: list[Job]) -> Future:
        jobs: Any = quote(chunk)  # Prefect need not look for futures inside
        future: PrefectFuture[ChunkCounts] = cv_process.submit(
            run.run_id, jobs, run.label(chunk)
        )
        return future

    yield submit


def _settle_all(run: Run, window: dict[Future, list[Job]], submit: Submit) -> None:
    while window:
        _settle_one(run, window, submit)


def _settle_one(run: Run, window: dict[Future, list[Job]], submit: Submit) -> None:
    """Wait for a chunk, not the oldest: one slow job would hold up all. One lost with its worker goes out once more."""
    future = next(iter(as_completed(list(window))))
    chunk = window.pop(future)
    if run.worker_pool is None:
        _check(run, chunk, future)
        return
    try:
        run.hear(future.result())
    except Exception as error:  # a dead worker is no state of a task run: Dask raises an error of its own
        if run.worker_pool.lost(chunk, error):
            window[submit(chunk)] = chunk
        else:
            failure = None if run.stopping else lost_twice(chunk)
            run.hear(ChunkResult(ChunkCounts(skipped=len(chunk)), failure=failure))


def _check(run: Run, chunk: list[Job], future: Future) -> None:
    """Tell the run where the task of a chunk ended without its counts, whatever Prefect made of it."""
    try:
        counts = future.result(raise_on_failure=False)
    except (
        Exception
    ) as error:  # there is no result where the state is none of a task that ran
        counts = error
    if not isinstance(counts, ChunkCounts):
        failure = failed_for_good(
            run.label(chunk), f"{type(counts).__name__}: {counts}"
        )
        log.warning("%s", failure)
        run.hear(
            ChunkResult(
                ChunkCounts(skipped=len(chunk)),
                failure=None if run.stopping else failure,
            )
        )
