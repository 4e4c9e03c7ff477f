"""A provider on loopback that records what it is sent, and clients to send it: for the tests of the client."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from pixmill.config.model import Limits, Provider
from pixmill.provider.client import Client, open_client
from tests.faulty_server import FaultyServer, Peer, message

REQ_KEY = "high_aes_scheduler_svr_controlnet_v2.0"
BODY = '{"image_urls":["https://x/y.png"],"prompt":"一只猫","req_key":"k","seed":7}'.encode()
KEY = "sk-canary-0123456789abcdef"


class Received(NamedTuple):
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, request: bytes) -> Self:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        return cls(method, target, headers, body)


Answering = Callable[[Received], tuple[int, dict[str, str], bytes]]


class RecordingServer(FaultyServer):
    """Answers as told, and remembers what it was sent; header names in lower case."""

    def __init__(self, answering: Answering) -> None:
        super().__init__(self._respond)
        self.received: list[Received] = []
        self._answering = answering

    def _respond(self, peer: Peer) -> None:
        received = Received.parse(peer.request)
        self.received.append(received)
        status, headers, body = self._answering(received)
        peer.send(message(body, status, headers))


def as_json(body: object, status: int = 200, **headers: str) -> Answering:
    return lambda _: (status, headers, json.dumps(body).encode())


@contextmanager
def opened(
    kind: str, configured_url: str, /, seconds: float = 30, **options: Any
) -> Iterator[Client]:
    client = open_client(
        Provider.model_validate({"kind": kind, "base_url": configured_url}),
        Limits(timeout_seconds=seconds),
        concurrency=4,
        **options,
    )
    try:
        yield client
    finally:
        client.close()
