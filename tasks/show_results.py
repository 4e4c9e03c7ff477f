"""Task: the run's summary and its failures as artifacts, for people who look in the Prefect UI."""

import logging
from base64 import b64encode
from functools import partial
from typing import Any

from prefect import task
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from pixmill.execution.active_runs import active_run
from pixmill.execution.notification import contact_sheet_of
from pixmill.execution.run import ActiveRun
from pixmill.execution.run_summary import RunSummary
from pixmill.execution.summary_words import describe_summary
from pixmill.threads import start_thread

log = logging.getLogger("pixmill.results")

SHOWN_CODES = 20
SECONDS = 3.0
"""How long a run waits in the end for what shows it."""


@task(cache_policy=NO_CACHE, persist_result=False)
def show_results(run_id: str, summary: dict[str, Any]) -> None:
    """Make a table of what the run came to, a link to the report where a browser can open it, a
    table of the failures by code, and a picture of some of its pictures.

    The run is over and published: a server that is gone, or hangs, changes nothing of
    that.
    """
    showing = start_thread(
        partial(_show, active_run(run_id), RunSummary(**summary)), "pixmill-artifact"
    )
    showing.join(SECONDS)
    if showing.is_alive():
        log.warning(
            "the results can't be shown in Prefect: no answer within %.0f s", SECONDS
        )


def _show(run: ActiveRun, summary: RunSummary) -> None:
    config = run.config
    # An artifact's key is lower-case letters, digits and dashes.
    name = config.name.lower().replace("_", "-")
    failures = [
        {"code": code, "calls": calls}
        for code, calls in run.executor.counts.codes.most_common(SHOWN_CODES)
    ]
    try:
        create_table_artifact(
            _describe_rows(run, summary),
            key=f"{name}-summary",
            description=summary.reason,
        )
        # A file of the worker's machine would be a link that opens nowhere.
        if summary.report and config.report_address:
            create_link_artifact(
                config.report_address,
                link_text="open the report",
                key=f"{name}-report",
                description="grid and gallery",
            )
        create_table_artifact(
            failures,
            key=f"{name}-failures",
            description="calls that were no success, by code",
        )
        # Last: large pictures, or those of a bucket, may take all the time that there is.
        if sheet := contact_sheet_of(config, summary):
            create_image_artifact(
                image_url=f"data:image/jpeg;base64,{b64encode(sheet).decode()}",
                key=f"{name}-pictures",
                description="some of the pictures that this run paid for",
            )
    except Exception as error:
        # The run is over and published, whatever is shown of it.
        log.warning("the results can't be shown in Prefect: %s", error)


def _describe_rows(run: ActiveRun, summary: RunSummary) -> list[dict[str, str]]:
    """Return the rows of the summary: what a run came to, in words."""
    words = describe_summary(run.config, run.ledger, summary)
    words |= {"ended with": f"exit code {summary.exit_code}", "run": run.run_id}
    if summary.dataset:
        words["dataset"] = summary.dataset
    if summary.report:
        words["report"] = f"{summary.report}, or pixmill view {run.config.store}"
    return [{"what": what, "value": value} for what, value in words.items()]
