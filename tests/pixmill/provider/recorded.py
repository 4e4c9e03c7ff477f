"""A provider on loopback that records what it is sent, and clients to send it: for the tests of the client."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from pixmill.config.model import Limits, Provider
from pixmill.provider.client import Client, open_client
from pixmill.request.model import Request

REQ_KEY = "high_aes_scheduler_svr_controlnet_v2.0"
BODY = '{"image_urls":["https://x/y.png"],"prompt":"一只猫","req_key":"k","seed":7}'.encode()
KEY = "sk-canary-0123456789abcdef"


class Received(NamedTuple):
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answering = Callable[[Received], tuple[int, dict[str, str], bytes]]


class Provided(ThreadingHTTPServer):
    """A provider on loopback that remembers its requests and answers them as told."""

    def __init__(self, answering: Answering) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answering = answering
        self.received: list[Received] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provided

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        received = Received(self.command, self.path, headers, body)
        self.server.received.append(received)
        status, sent, content = self.server.answering(received)
        self.send_response(status)
        for name, value in {**sent, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


def as_json(body: object, status: int = 200, **headers: str) -> Answering:
    return lambda _: (status, headers, json.dumps(body).encode())


@contextmanager
def provided(answering: Answering) -> Iterator[Provided]:
    with Provided(answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def opened(
    kind: str, configured_url: str, /, seconds: float = 30, **options: Any
) -> Iterator[Client]:
    client = open_client(
        Provider.model_validate({"kind": kind, "base_url": configured_url}),
        Limits(timeout_seconds=seconds),
        Request(),
        concurrency=4,
        **options,
    )
    try:
        yield client
    finally:
        client.close()
