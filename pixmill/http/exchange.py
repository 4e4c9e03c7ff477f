"""One call under way: its deadline, its socket, and the watch that ends it in time.

No HTTP library has a deadline for a whole exchange: their timeouts start again with every byte.
Here a socket has no timeout at all. When time is over, the watch shuts it down, and whoever reads
or writes it is woken by an error.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from time import monotonic

SWEEP_SECONDS = 0.05
"""How late a deadline may be noticed. Few sweeps a second cost nothing; no deadline is that short.
"""


class Exchange:
    """One call: when it has to end, whether a byte of it may have left, and its socket."""

    __slots__ = ("_lock", "_socket", "deadline", "ends", "expired", "is_sent")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        """Seconds for all of it, from the look-up of the host to the last byte of the answer."""

        self.ends = monotonic() + deadline

        self.expired = False
        """Whether its socket was shut down by the watch, or by an abort."""

        self.is_sent = False
        """Whether a byte of the request may have left, so that the call may have to be paid."""

        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Return the seconds that are left; TimeoutError when there are none."""
        seconds = self.ends - monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def mark_sent(self) -> None:
        """Note that from here on the outcome may be unknown; TimeoutError when there is no time
        left to send.
        """
        self.remaining()
        self.is_sent = True

    def attach(self, used: socket.socket | None) -> None:
        """Make `used` the socket that ends with this exchange; None lets go of the last one."""
        with self._lock:
            self._socket = used
            # The end may have come in the moment between one socket and the next.
            if self.expired:
                self._shut_down()

    def expire(self) -> None:
        """Time is over: wake the thread that waits for the socket. From any thread."""
        with self._lock:
            self.expired = True
            self._shut_down()

    def explain(self, error: BaseException) -> str:
        """Say what happened: the innermost cause that has words for it, as the outer ones quote the
        URL.
        """
        if self.ends <= monotonic():
            return f"not finished within {round(self.deadline, 1):g} s"
        causes = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        return next(filter(None, map(_words, reversed(causes))), type(error).__name__)

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: a reader of that socket would continue in plain text.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class DeadlineWatch:
    """Expires the exchanges whose time is over, from a thread of its own.

    One sweep over all of them costs a call nothing; a timer for each would wake the processor once
    a call.
    """

    def __init__(self) -> None:
        self._running: set[Exchange] = set()
        self._stopped = threading.Event()
        threading.Thread(
            target=self._sweep, name="pixmill-deadlines", daemon=True
        ).start()

    @contextmanager
    def exchange(self, deadline: float) -> Iterator[Exchange]:
        """Yield an exchange that is watched until the body ends."""
        begun = Exchange(deadline)
        self._running.add(begun)
        try:
            yield begun
        finally:
            self._running.discard(begun)

    def expire_all(self) -> None:
        """End the exchanges that are under way. From any thread."""
        # A copy, made in one step of the interpreter: other threads add and discard meanwhile.
        for exchange in list(self._running):
            exchange.expire()

    def stop(self) -> None:
        """End the thread; for when no exchange is under way."""
        self._stopped.set()

    def _sweep(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            now = monotonic()
            for exchange in list(self._running):
                if exchange.ends <= now:
                    exchange.expire()


def _words(error: BaseException) -> str | None:
    match error:
        case IncompleteRead():
            return "its answer ended early"
        case RemoteDisconnected():
            return "it closed the connection without an answer"
        case ssl.SSLCertVerificationError():
            return f"certificate refused: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'the connection was closed'}"
        case HTTPException():
            return "its answer ended early or is not HTTP"
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(text)):
            return text
        case RuntimeError():
            return str(error)
    return None
