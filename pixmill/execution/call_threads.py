"""The threads of a process that make calls."""

import contextvars
import logging
import threading
from collections.abc import Callable

from pixmill.errors import PixmillError

log = logging.getLogger(__name__)


class CallThreads:
    """Threads that each do `work`, `most` of them at most.

    `begin_helpers` is called before any of them, and may be called again.
    """

    def __init__(
        self, work: Callable[[], None], most: int, begin_helpers: Callable[[], None]
    ) -> None:
        self._work = work
        self._most = most
        self._begin_helpers = begin_helpers
        # The creator's context goes along: by it log lines of the threads find the
        # flow run that they belong to.
        self._context = contextvars.copy_context()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start_for(self, jobs: int) -> None:
        """Start a thread for each of `jobs` new jobs, as far as more are allowed.

        Raises PixmillError where there is none, and none can be started.
        """
        with self._lock:
            count = len(self._threads)
            try:
                self._begin_helpers()
                for number in range(count, min(count + jobs, self._most)):
                    # One thread at a time may be inside a context.
                    context = self._context.copy()
                    thread = threading.Thread(
                        target=context.run,
                        args=(self._work,),
                        name=f"pixmill-{number}",
                        daemon=True,
                    )
                    thread.start()
                    self._threads.append(thread)
            except RuntimeError as error:
                if not self._threads:
                    raise PixmillError(
                        f"this machine can't start a thread for calls: {error}",
                        hint="nothing was sent; allow it more threads (`ulimit -u`, the "
                        "pids limit of "
                        "a container)",
                    ) from error
                log.info(
                    "%s threads make the calls, there are no more: %s",
                    len(self._threads),
                    error,
                )

    def join(self) -> None:
        """Wait for all of them to end."""
        for thread in self._threads:
            thread.join()
