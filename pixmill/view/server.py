"""Serves a view until it is told to stop: on loopback only, without a log, as addresses hold the token."""

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from pixmill.errors import UserError
from pixmill.signals import handle_signals
from pixmill.view.app import make_app, make_token
from pixmill.view.site import open_site

HOST = "127.0.0.1"

_END_SECONDS = 1
"""How long a browser has to take what it asked for, once the view is to end."""


def serve(folder: Path, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the store in `folder` on 127.0.0.1:`port` (0: a free one) until SIGINT or SIGTERM.

    `on_ready` is called with the address to open. Raises UserError for a port that is taken.
    """
    with socket.socket() as listener, open_site(folder) as site:
        # A server that has just ended leaves its port in use for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} on {HOST} can't be used: {error}",
                hint="--port 0 takes a free one",
            ) from error
        listener.listen()
        _, free_port = listener.getsockname()
        token = make_token()
        config = uvicorn.Config(
            make_app(site, token, free_port),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_END_SECONDS,
        )
        server = uvicorn.Server(config)

        def stop(*_: object) -> None:
            server.should_exit = True

        # uvicorn raises signals again for the handlers that it found: the default ones would end
        # in a traceback.
        with handle_signals(stop):
            on_ready(f"http://{HOST}:{free_port}/{token}/")
            server.run(sockets=[listener])
