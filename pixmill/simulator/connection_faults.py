"""Faults below HTTP: answers that stop, drip, never end, or end in a reset.

An ASGI application can't do that, so the protocol hands it the connection.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixmill.simulator.responses import ConnectionPlan, SimulatedResponse

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_EXTENSION = "pixmill.connection"
_FILLER = b"z" * 65536

# Linger for 0 seconds: the system sends a reset instead of the end of the stream.
_DROP_ON_CLOSE = struct.pack("ii", 1, 0)

# How long to wait for a client that reads slower than an endless body is written.
_FULL_SECONDS = 0.01


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, with the connection in the scope of each request."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}


async def send_on_connection(
    scope: Mapping[str, Any],
    receive: Receive,
    answer: SimulatedResponse,
    plan: ConnectionPlan,
) -> None:
    """Send as much of `answer` as arrives well, then do what `plan` says.

    Returns when the connection is gone.
    """
    transport: asyncio.Transport = scope["extensions"][_EXTENSION]["transport"]
    head = answer.head(endless=plan.does == "endless")
    whole = head + answer.body
    cuts = {
        "start": 0,
        "headers": len(head) // 2,
        "body": len(head),
        "middle": len(head) + len(answer.body) // 2,
    }
    cut = cuts[plan.at]
    transport.write(whole[:cut])
    match plan.does:
        case "reset":
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_ON_CLOSE)
            transport.abort()
        case "close":
            transport.close()
        case "drip":
            await _drip(transport, whole[cut:], plan.pace)
            transport.close()
        case "endless":
            while not transport.is_closing():
                if transport.get_write_buffer_size() > 0:
                    await asyncio.sleep(_FULL_SECONDS)
                else:
                    transport.write(_FILLER)
                    await asyncio.sleep(0)
        # "stall" does nothing more.
    # uvicorn would answer with an error if this returned on an open connection.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drip(
    transport: asyncio.Transport,
    rest: bytes,
    pace: float,
) -> None:
    for byte in rest:
        if transport.is_closing():
            return
        transport.write(bytes([byte]))
        await asyncio.sleep(pace)
