"""Serves a view until it is told to stop: on loopback only, without a log, as addresses hold the token."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pixmill.http.loopback_server import base_url, listen, serve_until_signal
from pixmill.view.app import make_app, make_token
from pixmill.view.site import open_site

_END_SECONDS = 1
"""How long a browser has to take what it asked for, once the view is to end."""


def serve(
    folder: Path,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the store in `folder` on 127.0.0.1:`port` (0: a free one) until SIGINT or SIGTERM.

    `on_ready` is called with the address to open. Raises UserError for a port that is taken.
    """
    with listen(port) as listener, open_site(folder) as site:
        _, free_port = listener.getsockname()
        token = make_token()
        address = f"{base_url(listener)}/{token}/"
        app = make_app(site, token, free_port)
        serve_until_signal(
            app,
            listener,
            partial(on_ready, address),
            _END_SECONDS,
        )
