"""Threads beside the one that pays: for what is shown, waited for or hurried while a run works."""

import threading
from collections.abc import Callable
from contextvars import copy_context


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start `work` on a thread of its own and return it; no process waits for it to end.

    The caller's context variables go along: by them log lines find the flow run that
    they belong to.
    """
    thread = threading.Thread(
        target=copy_context().run,
        args=(work,),
        name=name,
        daemon=True,
    )
    thread.start()
    return thread
