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
_DROP_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for 0 seconds: RST in place of FIN
_FULL_SECONDS = 0.01


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, with the connection in the scope of each request."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}


async def send_on_wire(
    scope: Mapping[str, Any],
    receive: Receive,
    answer: SimulatedResponse,
    wire: ConnectionPlan,
) -> None:
    """Send as much of `answer` as arrives well, then do what the wire does; returns when the connection is gone."""
    transport: asyncio.Transport = scope["extensions"][_EXTENSION]["transport"]
    head = _head(answer, endless=wire.does == "endless")
    whole = head + answer.body
    cuts = {
        "start": 0,
        "headers": len(head) // 2,
        "body": len(head),
        "middle": len(head) + len(answer.body) // 2,
    }
    transport.write(whole[: cuts[wire.at]])
    await _go_on(transport, whole[cuts[wire.at] :], wire)
    while (await receive())["type"] != "http.disconnect":
        pass


async def _go_on(
    transport: asyncio.Transport, rest: bytes, wire: ConnectionPlan
) -> None:
    match wire.does:
        case "reset":
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _DROP_ON_CLOSE
            )
            transport.abort()
        case "close":
            transport.close()
        case "drip":
            await _drip(transport, rest, wire.pace)
            transport.close()
        case "endless":
            await _pour(transport)


async def _drip(transport: asyncio.Transport, rest: bytes, pace: float) -> None:
    for byte in rest:
        if transport.is_closing():
            return
        transport.write(bytes([byte]))
        await asyncio.sleep(pace)


async def _pour(transport: asyncio.Transport) -> None:
    while not transport.is_closing():
        full = transport.get_write_buffer_size() > 0
        if not full:
            transport.write(_FILLER)
        await asyncio.sleep(_FULL_SECONDS if full else 0)


def _head(answer: SimulatedResponse, *, endless: bool) -> bytes:
    # The connection is of no more use, and a client that is told so does not send the next call into it.
    fields = {**answer.fields(), "connection": "close"}
    if endless:
        del fields["content-length"]
    lines = [
        f"HTTP/1.1 {answer.status} ",
        *(f"{name}: {value}" for name, value in fields.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode()
