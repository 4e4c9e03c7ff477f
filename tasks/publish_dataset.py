"""Task: the run's dataset, rebuilt from table and ledger and put in place."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixmill.execution.active_runs import active_run


@task(cache_policy=NO_CACHE, persist_result=False)
def publish_dataset(run_id: str) -> dict[str, Any]:
    """Fetch what images are missing, publish, and return what `run --json` says."""
    return active_run(run_id).publish().as_dict()
