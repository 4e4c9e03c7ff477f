"""What people see of a run in the Prefect UI while it works: its log lines and its progress.

No tasks: the log lines surround them all, and a task run for every update of the
progress would bury the paid ones.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging.handlers import APILogHandler

from pixmill.execution.run import ActiveRun
from pixmill.redaction import redact_logs
from pixmill.threads import start_thread

UPDATE_SECONDS = 2.0
"""Between two updates of the progress, as each is a request."""

END_SECONDS = 3.0
"""How long a run waits in the end for its last update."""

log = logging.getLogger("pixmill.progress")


@contextmanager
def forward_logs() -> Iterator[None]:
    """Send what `pixmill` logs from INFO up to the API until the body ends.

    It waits for the last line to arrive. Everything that this process logs is redacted
    from then on, also what Prefect says when the flow has ended.
    """
    redact_logs()
    library = logging.getLogger("pixmill")
    handler = APILogHandler()
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.setLevel(level)
        library.removeHandler(handler)
        handler.flush()


@contextmanager
def show_progress(run: ActiveRun) -> Iterator[None]:
    """Keep a progress artifact of `run` up to date until the body ends."""
    ended = threading.Event()
    # Paying never waits for it: Prefect's client asks a server that is gone, or hangs,
    # for minutes.
    showing = start_thread(partial(_keep_updated, run, ended), "pixmill-artifact")
    try:
        yield
    finally:
        ended.set()
        showing.join(END_SECONDS)


def _keep_updated(run: ActiveRun, ended: threading.Event) -> None:
    artifact = None
    warned = False
    last = False
    while not last:
        last = ended.wait(UPDATE_SECONDS if artifact or warned else 0)
        try:
            if artifact is None:
                made = create_progress_artifact(
                    progress=run.executor.counts.percent,
                    description=f"jobs of {run.config.name}",
                )
                artifact = cast(UUID, made)
            else:
                artifact = cast(
                    UUID,
                    update_progress_artifact(
                        artifact, progress=run.executor.counts.percent
                    ),
                )
        except Exception as error:  # a server that is gone may come back
            if not warned:
                log.warning("progress can't be shown in Prefect: %s", error)
            warned = True
