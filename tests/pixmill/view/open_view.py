"""A view that runs as a process of its own, asked over HTTP."""

import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.real_command import Process


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode()


class View:
    """A view that runs as a process of its own."""

    def __init__(self, process: Process) -> None:
        assert process.stderr
        line = next(line for line in process.stderr if "http://" in line)
        self.address = urlsplit(line.split(" at ")[1].split()[0])
        self.process = process

    @property
    def base(self) -> str:
        return self.address.path

    def get(self, path: str = "") -> Answer:
        return self.ask(f"{self.base}{path}")

    def ask(self, path: str, method: str = "GET", host: str | None = None) -> Answer:
        """Send a request to a whole path, just as it is written."""
        assert self.address.hostname
        connection = http.client.HTTPConnection(
            self.address.hostname, self.address.port, timeout=60
        )
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or self.address.netloc)
        connection.endheaders()
        response = connection.getresponse()
        answer = Answer(response.status, response.read(), dict(response.getheaders()))
        connection.close()
        return answer
