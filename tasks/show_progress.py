"""The run's progress as an artifact. No task: a task run for every update would bury the paid ones in the UI."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pixmill.execution.run import Run, running
from tasks.aside import PATIENCE, aside

SECONDS = 2.0
"""Between two updates, as each is a request."""

log = logging.getLogger("pixmill.progress")


@contextmanager
def progress_shown(run_id: str) -> Iterator[None]:
    """Keep the progress artifact of a run up to date until the body ends. Paying never waits for it."""
    ended = threading.Event()
    showing = aside(partial(_show, running(run_id), ended))
    try:
        yield
    finally:
        ended.set()
        showing.join(PATIENCE)


def _show(run: Run, ended: threading.Event) -> None:
    artifact = None
    said = False
    last = False
    while not last:
        last = ended.wait(SECONDS if artifact or said else 0)
        try:
            artifact = _updated(artifact, run)
        except Exception as error:  # a server that is gone may come back
            if not said:
                log.warning("progress can't be shown in Prefect: %s", error)
            said = True


def _updated(artifact: UUID | None, run: Run) -> UUID:
    if artifact is None:
        return cast(
            UUID,
            create_progress_artifact(
                progress=run.percent, description=f"jobs of {run.config.name}"
            ),
        )
    return cast(UUID, update_progress_artifact(artifact, progress=run.percent))
