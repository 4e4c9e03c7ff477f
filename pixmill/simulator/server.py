"""Runs a simulator until it is told to stop: on loopback only, without a log."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pixmill.errors import UserError
from pixmill.signals import handle_signals
from pixmill.simulator.settings import Settings

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"

_IDLE_SECONDS = 75  # of a kept-alive connection, as long as gateways keep them
_DRAIN_SECONDS = 5


def serve(settings: Settings, *, port: int, on_ready: Callable[[str], None]) -> None:
    """Answer on 127.0.0.1:`port` (0: a free one) until SIGINT or SIGTERM; `on_ready` gets the base URL.

    Calls in flight are finished, for 5 seconds at most. Raises UserError for a port that is taken, a bill that can't
    be written and mistakes in the faults file.
    """
    import uvicorn  # here, for the process that only starts a simulator elsewhere

    from pixmill.simulator.app import Application
    from pixmill.simulator.connection_faults import Protocol

    with _listening(port) as listener:
        base_url = f"http://{HOST}:{listener.getsockname()[1]}"
        with closing(Application(settings, base_url)) as application:
            server = uvicorn.Server(
                uvicorn.Config(
                    application,
                    http=Protocol,
                    loop="asyncio",
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    log_level="critical",
                    access_log=False,
                    proxy_headers=False,
                    date_header=False,
                    server_header=False,
                    timeout_keep_alive=_IDLE_SECONDS,
                    timeout_graceful_shutdown=_DRAIN_SECONDS,
                )
            )
            with _stopped_by_signals(server):
                on_ready(base_url)
                server.run(sockets=[listener])


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer takes 40 ms.
    with socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    ) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} on {HOST} can't be used: {error}",
                hint="--port 0 takes a free one",
            ) from error
        listener.listen(2048)
        yield listener


@contextmanager
def _stopped_by_signals(server: "uvicorn.Server") -> Iterator[None]:
    # uvicorn stops on these signals too, but then raises them again for the handlers that it found: the default ones
    # would end in a traceback. It also misses those that come before it runs.
    def stop(*_: Any) -> None:
        server.should_exit = True

    with handle_signals(stop):
        yield
