"""Runs a simulator until it is told to stop: on loopback only, without a log."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from pixmill.errors import UserError
from pixmill.signals import handle_signals
from pixmill.simulator.settings import Settings

HOST = "127.0.0.1"

# How long a connection is kept without a call: as long as gateways keep them.
_IDLE_SECONDS = 75

# How long calls in flight have to end; longer than any latency of a demo.
_DRAIN_SECONDS = 5

# Connections that wait to be accepted: all workers of a run connect at once.
_BACKLOG = 2048


def serve(
    settings: Settings,
    *,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Answer on 127.0.0.1:`port` (0: a free one) until SIGINT or SIGTERM.

    `on_ready` is called with the base URL. Calls in flight are finished, for 5 seconds at
    most. Raises UserError for a port that is taken, a bill that can't be written and mistakes
    in the faults file.
    """
    # Here, for the process that only starts a simulator elsewhere.
    import uvicorn

    from pixmill.simulator.app import Application
    from pixmill.simulator.connection_faults import Protocol

    with _listen(port) as listener:
        _, free_port = listener.getsockname()
        base_url = f"http://{HOST}:{free_port}"
        with closing(Application(settings, base_url)) as application:
            config = uvicorn.Config(
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
            server = uvicorn.Server(config)

            def stop(*_: Any) -> None:
                server.should_exit = True

            # uvicorn stops on these signals too, but then raises them again for the handlers
            # that it found: the default ones would end in a traceback. It also misses those
            # that come before it runs.
            with handle_signals(stop):
                on_ready(base_url)
                server.run(sockets=[listener])


@contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
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
