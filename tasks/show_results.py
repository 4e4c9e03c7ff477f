"""Task: the run's summary and its failures as artifacts, for people who look in the Prefect UI."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from pixmill.execution.active_runs import active_run
from pixmill.execution.run import ActiveRun
from pixmill.threads import start_thread

log = logging.getLogger("pixmill.results")

SHOWN_CODES = 20
SECONDS = 3.0
"""How long a run waits in the end for what shows it."""


@task(cache_policy=NO_CACHE, persist_result=False)
def show_results(run_id: str, summary: dict[str, Any]) -> None:
    """Make a table of what `run --json` says, a link to the report and a table of the
    failures by code.

    The run is over and published: a server that is gone, or hangs, changes nothing of
    that.
    """
    showing = start_thread(
        partial(_show, active_run(run_id), summary), "pixmill-artifact"
    )
    showing.join(SECONDS)
    if showing.is_alive():
        log.warning(
            "the results can't be shown in Prefect: no answer within %.0f s", SECONDS
        )


def _show(run: ActiveRun, summary: dict[str, Any]) -> None:
    # An artifact's key is lower-case letters, digits and dashes.
    name = run.config.name.lower().replace("_", "-")
    rows = [{"what": what, "value": str(value)} for what, value in summary.items()]
    failures = [
        {"code": code, "calls": calls}
        for code, calls in run.executor.counts.codes.most_common(SHOWN_CODES)
    ]
    try:
        create_table_artifact(
            rows, key=f"{name}-summary", description=summary["reason"]
        )
        if summary["report"]:
            page = (
                summary["report"]
                if "://" in summary["report"]
                else Path(summary["report"]).absolute().as_uri()
            )
            create_link_artifact(
                page,
                link_text="open the report",
                key=f"{name}-report",
                description="grid and gallery",
            )
        create_table_artifact(
            failures,
            key=f"{name}-failures",
            description="calls that were no success, by code",
        )
    except Exception as error:
        # The run is over and published, whatever is shown of it.
        log.warning("the results can't be shown in Prefect: %s", error)
