"""Runs a simulator until it is told to stop: on loopback only, without a log."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

from pixmill.http.loopback_server import base_url, listen, serve_until_signal
from pixmill.simulator.settings import Settings

# How long a connection is kept without a call: as long as gateways keep them.
_IDLE_SECONDS = 75

# How long calls in flight have to end; longer than any latency of a demo.
_DRAIN_SECONDS = 5


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
    from pixmill.simulator.app import Application
    from pixmill.simulator.connection_faults import Protocol

    with listen(port) as listener:
        url = base_url(listener)
        with closing(Application(settings, url)) as application:
            serve_until_signal(
                application,
                listener,
                partial(on_ready, url),
                _DRAIN_SECONDS,
                http=Protocol,
                loop="asyncio",
                date_header=False,
                timeout_keep_alive=_IDLE_SECONDS,
            )
