"""What only shows something in Prefect is done aside: its client asks a server that is gone, or hangs, for minutes."""

import threading
from collections.abc import Callable
from contextvars import copy_context

PATIENCE = 3.0
"""For how many seconds a run waits in the end for what shows it."""


def aside(show: Callable[[], None]) -> threading.Thread:
    """Begin `show` on a thread that no process waits for; Prefect knows there, too, which run it is about."""
    thread = threading.Thread(target=copy_context().run, args=(show,), daemon=True)
    thread.start()
    return thread
