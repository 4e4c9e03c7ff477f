"""What runs inside the worker processes of a Dask cluster, beside the chunks themselves."""

import asyncio
import os

from pixmill.execution import worker
from pixmill.execution.stop_reasons import StopReason


def dask_setup(_worker: object) -> None:
    """Take a worker of this machine out of reach of the terminal's Ctrl-C.

    The driver lets it finish its calls. Dask calls this by its name when a worker
    preloads the module.
    """
    os.setsid()


async def stop(run_id: str, reason: StopReason) -> None:
    """Send nothing more for a run, in this process; calls in flight are recorded."""
    # A worker's event loop answers the scheduler, so nothing may block it.
    await asyncio.to_thread(worker.stop, run_id, reason)


async def close(run_id: str) -> None:
    """Close what this process opened for a run that is over."""
    await asyncio.to_thread(worker.close, run_id)
