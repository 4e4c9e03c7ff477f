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
from flows.task_submission import name_rows
from pixmill.errors import PixmillError
from pixmill.execution.run import ActiveRun
from pixmill.execution.stop_reasons import StopReason
from pixmill.execution.worker_pool import WorkerPool
from pixmill.planning.jobs import Job
from tasks.cv_process import cv_process_by_order

WAIT_SECONDS = 60

LOOPBACK = {
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
}
"""Dask listens on all interfaces unless each of its servers is told otherwise."""


@contextmanager
def submit_to_dask(
    run: ActiveRun, pool: WorkerPool
) -> Iterator[Callable[[list[Job]], PrefectFuture[Any]]]:
    """Connect to the workers of `run` and yield how a chunk is submitted.

    What they have open for the run is closed when the body ends.
    """
    # What matters of its messages the run says itself.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    # Dask repeats by itself what a dead worker had begun. `ChunkWindow` does, once,
    # after the ledger was asked what the worker had paid for.
    once = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with once, pool.key_in_environment(), _start_runner(run, pool) as runner:
        client = runner.client

        def tell(reason: StopReason) -> None:
            # A run may be stopped when its scheduler is gone already.
            with suppress(Exception):
                client.run(dask_worker.stop, run.run_id, reason, on_error="ignore")

        try:
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
        except TimeoutError:
            where = run.config.execution.address or "this machine"
            raise PixmillError(
                f"no Dask worker came up at {where} within {WAIT_SECONDS} s"
            ) from None
        pool.workers_ready(len(client.nthreads()), tell)

        def submit(chunk: list[Job]) -> PrefectFuture[Any]:
            parameters = {"order": pool.request(chunk), "rows": name_rows(chunk)}
            context = FlowRunContext.get()
            if context is None:
                raise PixmillError("chunks are for Dask only inside a flow run")
            with context.model_copy(update={"flow": _named_flow}):
                future: PrefectFuture[Any] = runner.submit(
                    cv_process_by_order, parameters
                )
            return future

        try:
            yield submit
        finally:
            # With a scheduler that is gone they close for want of chunks.
            with suppress(Exception):
                client.run(dask_worker.close, run.run_id, on_error="ignore")


def _start_runner(run: ActiveRun, pool: WorkerPool) -> DaskTaskRunner:
    address = run.config.execution.address
    if address:
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(
        cluster_kwargs={
            **LOOPBACK,
            "n_workers": pool.workers,
            "threads_per_worker": pool.chunks_per_worker,
            "memory_limit": 0,  # a worker that is killed for its size leaves calls in doubt
            "silence_logs": logging.CRITICAL,
            "preload": dask_worker.__name__,
        }
    )


@flow(name="generate-dataset")
def _named_flow() -> None:
    """What a worker is told of the flow: the real one may have been loaded from a file
    that the worker can't import.
    """
