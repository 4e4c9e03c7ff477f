"""The library's log lines in the Prefect UI, for as long as a flow runs. No task: it surrounds them all."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.handlers import APILogHandler

from pixmill.redaction import redact_logs


@contextmanager
def library_logs_shown() -> Iterator[None]:
    """Send what `pixmill` logs from INFO up to the API, and wait for the last line to arrive.

    Everything that this process logs is redacted from then on, also what Prefect says when the flow has ended.
    """
    redact_logs()
    log = logging.getLogger("pixmill")
    handler = APILogHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.flush()
