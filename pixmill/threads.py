"""Threads beside the one that pays: for what is shown, waited for or hurried while a run works."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


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


def call_in_thread(work: Callable[[], Result], name: str) -> Future[Result]:
    """Start `work` as `start_thread` does, and return where its result or its error will be.

    Raises RuntimeError where the system has no more threads.
    """
    done: Future[Result] = Future()
    start_thread(partial(_fulfil, done, work), name)
    return done


def _fulfil(done: Future[Result], work: Callable[[], Result]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:
        # Whatever it is, somebody waits for it.
        done.set_exception(error)
