"""The run's progress as an artifact. No task: a task run for every update would bury the paid ones in the UI."""

import logging
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pixmill.runs import running

log = logging.getLogger("pixmill.progress")


def show_progress(run_id: str, artifact: UUID | None = None) -> UUID | None:
    """Make the progress artifact of a run, or bring it up to date where that is due; return its id.

    A server that is gone must not end a run that pays: it is shown no more.
    """
    run = running(run_id)
    if not run.progress_due():
        return artifact
    try:
        if artifact is None:
            return cast(UUID, create_progress_artifact(progress=run.percent, description=f"jobs of {run.config.name}"))
        update_progress_artifact(artifact, progress=run.percent)
    except Exception as error:
        log.warning("progress can't be shown in Prefect any more: %s", error)
        run.show_progress_no_more()
    return artifact
