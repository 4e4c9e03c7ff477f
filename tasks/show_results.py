"""Task: the run's summary and its failures as artifacts, for people who look in the Prefect UI."""

from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from pixmill.runs import running


@task(cache_policy=NO_CACHE, persist_result=False)
def show_results(run_id: str, summary: dict[str, Any]) -> None:
    """Make one table of what `run --json` says and one of the failures by code."""
    name = running(run_id).artifact_key
    rows = [{"what": what, "value": str(value)} for what, value in summary.items()]
    create_table_artifact(rows, key=f"{name}-summary", description=summary["reason"])
    failures = [{"code": code, "calls": calls} for code, calls in running(run_id).top_codes()]
    create_table_artifact(failures, key=f"{name}-failures", description="calls that were no success, by code")
