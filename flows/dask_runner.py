"""The chunks of a run on Dask: a cluster of this machine's processes, or one that is there."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
from prefect import flow
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect_dask.task_runners import DaskTaskRunner

from flows import dask_worker
from pixmill.errors import PixmillError
from pixmill.execution.run import Run
from pixmill.execution.stop_reasons import StopReason
from pixmill.execution.worker_pool import WorkerPool
from pixmill.planning.jobs import Job
from tasks.cv_process import cv_process_by_order

log = logging.getLogger(__name__)

WAIT_SECONDS = 60

LOOPBACK = {
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
}
"""Dask listens on all interfaces unless each of its servers is told otherwise."""


@contextmanager
def dask_workers(
    run: Run, worker_pool: WorkerPool
) -> Iterator[Callable[[list[Job]], PrefectFuture[Any]]]:
    """Connect to the workers of `run` and yield how a chunk is submitted; their engines end when the body does."""
    # Dask repeats by itself what a dead worker had begun: `submit_chunks` does, once, after a look into the ledger.
    logging.getLogger("distributed").setLevel(
        logging.CRITICAL
    )  # what matters the run says itself
    once = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with once, worker_pool.key_in_environment(), _runner(run, worker_pool) as runner:
        client = runner.client

        def tell(stopped: StopReason) -> None:
            client.run(dask_worker.stop, run.run_id, stopped, on_error="ignore")

        worker_pool.workers_ready(_count(client, run), tell)

        def submit(chunk: list[Job]) -> PrefectFuture[Any]:
            parameters = {"order": worker_pool.order(chunk), "rows": run.label(chunk)}
            with _context_for_workers():
                future: PrefectFuture[Any] = runner.submit(
                    cv_process_by_order, parameters
                )
            return future

        try:
            yield submit
        finally:
            with suppress(
                Exception
            ):  # a scheduler that is gone; the engines then close for want of chunks
                client.run(dask_worker.close, run.run_id, on_error="ignore")


def _runner(run: Run, worker_pool: WorkerPool) -> DaskTaskRunner:
    address = run.config.execution.address
    if address:
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(
        cluster_kwargs={
            **LOOPBACK,
            "n_workers": worker_pool.workers,
            "threads_per_worker": worker_pool.chunks_per_worker,
            "memory_limit": 0,  # a worker that is killed for its size leaves calls in doubt
            "silence_logs": logging.CRITICAL,
            "preload": "flows.dask_worker",
        }
    )


def _count(client: Any, run: Run) -> int:
    """How many workers there are. Raises PixmillError where none comes."""
    try:
        client.wait_for_workers(1, timeout=WAIT_SECONDS)
    except TimeoutError:
        where = run.config.execution.address or "this machine"
        raise PixmillError(
            f"no Dask worker came up at {where} within {WAIT_SECONDS} s"
        ) from None
    return len(client.nthreads())


@flow(name="generate-dataset")
def _named_flow() -> None:
    """What a worker is told of the flow: the real one may have been loaded from a file that the worker can't import."""


def _context_for_workers() -> FlowRunContext:
    context = FlowRunContext.get()
    if context is None:
        raise PixmillError("chunks are for Dask only inside a flow run")
    return context.model_copy(update={"flow": _named_flow})
