"""A bucket for tests: moto's server over HTTP on loopback, and a proxy in front of it that fails on purpose."""

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import pytest

from pixmill.subprocesses import start_child, stop_child

KEY, SECRET = "AKIATESTTESTTESTTEST", "made-up-secret-of-a-bucket-0001"
_numbers = count(1)
_SERVE = """
import threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


@contextmanager
def moto() -> Iterator[str]:
    """Run a server of its own until the body ends; yields its URL."""
    pytest.importorskip("moto")
    serve = ["-W", "ignore", "-c", _SERVE]
    process = start_child(
        serve, os.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        stop_child(process)


class Bucket:
    """An empty bucket of its own, behind a proxy that passes everything on until it is told to fail."""

    def __init__(self, server: str, proxy: "Proxy") -> None:
        import boto3

        self.server, self.proxy, self.name = server, proxy, f"bucket-{next(_numbers)}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=server,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        self.client.create_bucket(Bucket=self.name)

    def url(self, key: str) -> str:
        """The URL of a key, by way of the proxy."""
        return f"s3://{self.name}/{key}?endpoint_override={self.proxy.url}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        return [
            one["Key"]
            for one in self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get(
                "Contents", ()
            )
        ]


class Fault(NamedTuple):
    """What requests meet in place of their answer: a status, a body, half of their answer, or none of it."""

    method: str
    part: str
    answer: int | Literal["lost", "cut"] | bytes
    times: int = 1


class Proxy:
    """Passes requests on to `target` and notes them in `seen`: method, path and status.

    The first of `faults` that fits a request is met by it, `times` times. Request headers in `deaf` and answer headers
    that begin with one in `mute` are dropped, as servers do that know nothing of them.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self.clear()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                proxy._handle(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def clear(self) -> None:
        """Fail no more, and forget what was seen."""
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str, int]] = []
        self.deaf: tuple[str, ...] = ()
        self.mute: tuple[str, ...] = ()

    def count(self, method: str, part: str = "") -> int:
        """How many requests were passed on or failed."""
        return sum(one == method and part in path for one, path, _ in self.seen)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _fault(
        self, method: str, path: str
    ) -> int | Literal["lost", "cut"] | bytes | None:
        with self._lock:
            for at, fault in enumerate(self.faults):
                if fault.method == method and fault.part in path and fault.times:
                    self.faults[at] = fault._replace(times=fault.times - 1)
                    return fault.answer
        return None

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self._fault(request.command, request.path)
        if isinstance(fault, int):
            self._note(request, fault)
            code = {
                503: "SlowDown",
                409: "ConditionalRequestConflict",
                403: "AccessDenied",
            }.get(fault, "InternalError")
            _answer(
                request,
                fault,
                {},
                f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode(),
            )
            return
        if isinstance(fault, bytes):
            self._note(request, 200)
            _answer(request, 200, {}, fault)
            return
        status, headers, data = self._passed_on(request, body)
        self._note(request, status)
        if fault == "lost":
            request.close_connection = True
            return
        if fault == "cut":
            request.close_connection = True
            data = data[: len(data) // 2]
        kept = {
            name: value
            for name, value in headers.items()
            if not name.lower().startswith(self.mute or ("\0",))
        }
        _answer(request, status, kept, data)

    def _passed_on(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, HTTPMessage, bytes]:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in (*self.deaf, "expect")
        }
        connection = HTTPConnection(self._target, timeout=30)
        try:
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def _note(self, request: BaseHTTPRequestHandler, status: int) -> None:
        with self._lock:
            self.seen.append((request.command, request.path, status))


def _answer(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: Mapping[str, str],
    data: bytes,
) -> None:
    request.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in ("content-length", "connection", "transfer-encoding"):
            request.send_header(name, value)
    request.send_header(
        "Content-Length", headers.get("Content-Length") or str(len(data))
    )
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The server of this worker of pytest."""
    with moto() as url:
        yield url


@pytest.fixture(scope="session")
def proxy(moto_url: str) -> Iterator[Proxy]:
    running = Proxy(moto_url)
    yield running
    running.stop()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Keys for a bucket, a folder for copies, and nothing of the developer's own."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    named = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two attempts in place of five, between which clients wait longer and longer."""
    from pixmill.storage import s3_objects as objects

    monkeypatch.setattr(objects, "BUCKET_ATTEMPTS", 2)
    objects._client.cache_clear()
    yield
    objects._client.cache_clear()


@pytest.fixture
def bucket(moto_url: str, proxy: Proxy, cloud: None) -> Bucket:
    """A bucket that nobody has used yet."""
    proxy.clear()
    return Bucket(moto_url, proxy)
