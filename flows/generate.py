"""Flow: a table and a config become a published dataset. Order and fan-out only."""

from typing import Any

from prefect import flow, runtime
from prefect.futures import PrefectFuture, as_completed, wait
from prefect.utilities.annotations import quote

from pixmill.interrupt import drained_by_signals
from pixmill.runs import flow_run
from pixmill.tally import Count
from tasks.cv_process import cv_process
from tasks.publish_dataset import publish_dataset
from tasks.show_logs import library_logs_shown
from tasks.show_progress import show_progress
from tasks.show_results import show_results


@flow(name="generate-dataset", persist_result=False)
def generate_dataset(
    config: str, overrides: list[str] | None = None, limit: int | None = None, new_store: bool = False
) -> dict[str, Any]:
    """Generate the dataset of the config file `config` and return what `pixmill run --json` says.

    `overrides` are `--set` entries, `limit` caps the job keys that are paid for, `new_store` agrees that a
    real provider's ledger does not exist yet. A flow run never asks: spending needs a cap in the config.
    """
    deployed = runtime.deployment.id is not None
    prepared = flow_run(config, overrides or [], limit, new_store=new_store, deployed=deployed)
    with library_logs_shown(), prepared as run, drained_by_signals(run.interrupt):
        run.begin()
        progress = show_progress(run.run_id)
        window: list[PrefectFuture[Count]] = []
        for chunk in run.chunks():
            jobs: Any = quote(chunk)  # Prefect need not look for futures inside
            window.append(cv_process.submit(run.run_id, jobs, run.label(chunk)))
            if len(window) >= run.window:
                window.remove(next(iter(as_completed(window))))  # not the oldest: one slow job would hold up all
            progress = show_progress(run.run_id, progress)
        wait(window)
        summary = publish_dataset(run.run_id)
        show_progress(run.run_id, progress)
        show_results(run.run_id, summary)
    return summary
