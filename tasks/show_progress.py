"""The run's progress as an artifact. No task: a task run for every update would bury the paid ones in the UI."""

from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pixmill.runs import running


def show_progress(run_id: str, artifact: UUID | None = None) -> UUID:
    """Make the progress artifact of a run, or bring it up to date where that is due; return its id."""
    run = running(run_id)
    if artifact is None:
        made = create_progress_artifact(progress=run.percent, description=f"jobs of {run.config.name}")
        return cast(UUID, made)
    if run.progress_due():
        update_progress_artifact(artifact, progress=run.percent)
    return artifact
