"""Serving an ASGI application to this machine until somebody ends it: without a log, as addresses may hold
a token.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pixmill.errors import UserError
from pixmill.signals import handle_signals

HOST = "127.0.0.1"

# Connections that wait to be accepted: all workers of a run connect at once.
_BACKLOG = 2048


@contextmanager
def listen(port: int) -> Iterator[socket.socket]:
    """Open a socket on 127.0.0.1:`port` (0: a free one). Raises UserError for a port that is taken."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer takes
    # 40 ms.
    family = socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        # A server that has just ended leaves its port in use for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} on {HOST} can't be used: {error}",
                hint="--port 0 takes a free one",
            ) from error
        listener.listen(_BACKLOG)
        yield listener


def base_url(listener: socket.socket) -> str:
    """Return the address at which a socket listens: `http://127.0.0.1:8080`."""
    _, port = listener.getsockname()
    return f"http://{HOST}:{port}"


def serve_until_signal(
    application: Any,
    listener: socket.socket,
    on_ready: Callable[[], None],
    drain_seconds: int,
    **options: Any,
) -> None:
    """Answer until SIGINT or SIGTERM, then finish what is under way for `drain_seconds` at most.

    `options` are further ones of `uvicorn.Config`. `on_ready` is called once signals end it.
    """
    # Here, for processes that only start a server elsewhere.
    import uvicorn

    config = uvicorn.Config(
        application,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
        **options,
    )
    server = uvicorn.Server(config)

    def stop(*_: Any) -> None:
        server.should_exit = True

    # uvicorn stops on these signals too, but then raises them again for the handlers that it found:
    # the default ones would end in a traceback. It also misses those that come before it runs.
    with handle_signals(stop):
        on_ready()
        server.run(sockets=[listener])
