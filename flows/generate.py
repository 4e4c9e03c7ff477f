"""Flow: a table and a config become a published dataset. Order and submission only."""

from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, runtime

from flows.prefect_ui import forward_logs, show_progress
from flows.run_states import failure_state, run_state
from flows.task_submission import submit_chunks
from pixmill.errors import PixmillError
from pixmill.execution.prepare import prepare_flow_run
from pixmill.execution.run_summary import RunSummary
from pixmill.execution.worker_pool import check_installed
from pixmill.memory import keep_less_memory, keep_little_memory
from pixmill.signals import graceful_shutdown
from tasks.publish_dataset import publish_dataset
from tasks.show_results import show_results


def name_run() -> str:
    """Return what Prefect calls a flow run: its config and when it began, `nightly 2026-11-29 03:00`."""
    config = Path(str(runtime.flow_run.parameters["config"])).stem
    return f"{config} {datetime.now().astimezone():%Y-%m-%d %H:%M}"


@flow(name="generate-dataset", flow_run_name=name_run, persist_result=False)
def generate_dataset(
    config: str,
    overrides: list[str] | None = None,
    limit: int | None = None,
    new_store: bool = False,
) -> dict[str, Any]:
    """Generate the dataset of the config file `config` and return what `pixmill run
    --json` says.

    `overrides` are `--set` entries, `limit` caps the job keys that are paid for,
    `new_store` agrees that a real provider's ledger does not exist yet. A flow run
    never asks: spending needs a cap in the config.
    """
    deployed = runtime.deployment.id is not None
    if deployed:
        # The process of a deployment's run does nothing else.
        keep_little_memory()
        keep_less_memory()
    given = overrides or []
    try:
        with (
            forward_logs(),
            prepare_flow_run(
                config, overrides, limit, new_store=new_store, deployed=deployed
            ) as prepared,
            graceful_shutdown(prepared.interrupt),
        ):
            check_installed(prepared.config.execution)
            run = prepared.start()
            with show_progress(run):
                submit_chunks(run)
                summary: dict[str, Any] = publish_dataset(run.run_id)
            show_results(run.run_id, summary)
            settings = prepared.config
            currency = None if settings.simulated else settings.budget.currency
            command = RunSummary(**summary).next_command(config, given)
            # Prefect's decorators and states are of no type that says what they return.
            state: dict[str, Any] = run_state(
                summary, currency, command, deployed=deployed
            )
            return state
    except PixmillError as error:
        if not deployed:
            raise
        command = RunSummary().next_command(config, given)
        return failure_state(error, command)  # type: ignore[no-any-return]
