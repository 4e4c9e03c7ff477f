"""A provider in a process of its own, for runs that are killed: it outlives them, and so does its bill.

Each run under test calls it under another path, `http://…/<tag>`, by which the bill tells them apart. A task is charged
once it is started; its first poll finds it running, every one after that done.
"""

import colorsys
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from tests.faulty_server import FaultyServer, Peer, message
from tests.pixmill.provider.answer_bodies import success
from tests.pixmill.run_checks import Charge

CALL_SECONDS = 0.004
"""How long a call takes: enough for several to be in flight."""

POLLS = "polls.jsonl"
"""The file beside the bill that has a line for each poll."""


class Billing(NamedTuple):
    """Where the provider is, and what it has charged."""

    url: str
    bill: Path

    def charges(self, tag: str) -> list[Charge]:
        """The charges of the calls under `tag`."""
        lines = self.bill.read_text().splitlines() if self.bill.exists() else []
        charged = (json.loads(line) for line in lines if f'"{tag}"' in line)
        return [Charge(line["asked"], line["request_id"]) for line in charged]

    def polled(self, tag: str) -> set[str]:
        """The prompts of the tasks that were polled under `tag`."""
        polls = self.bill.with_name(POLLS)
        lines = polls.read_text().splitlines() if polls.exists() else []
        found = map(json.loads, lines)
        return {line["prompt"] for line in found if line["tag"] == tag}


@contextmanager
def billing(folder: Path) -> Iterator[Billing]:
    """Fork a process that serves calls and pictures until the body ends. The caller must have no threads."""
    bill, (reader, writer) = folder / "bill.jsonl", os.pipe()
    child = os.fork()
    if child == 0:
        _serve(bill, writer)
    os.close(writer)
    try:
        with os.fdopen(reader) as said:
            yield Billing(said.readline().strip(), bill)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class _Task(NamedTuple):
    """A task that was started: its prompt, and the id that its answers carry as that of its charge."""

    prompt: str
    request_id: str


def _serve(bill: Path, ready: int) -> None:
    """Never returns. A call is on the bill before it is answered."""
    paper = os.open(bill, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    polls = os.open(bill.with_name(POLLS), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = count(1)
    tasks: dict[str, _Task] = {}
    polled: set[str] = set()

    def serve(peer: Peer) -> None:
        head, _, body = peer.request.partition(b"\r\n\r\n")
        method, path, _ = head.decode().split(" ", 2)
        if method == "GET":
            peer.send(message(drawn(path)))
            return
        asked = json.loads(body)
        if "CVSync2AsyncGetResult" in path:
            task_id = asked["task_id"]
            poll = {"tag": path.split("/")[1], "prompt": tasks[task_id].prompt}
            os.write(polls, (json.dumps(poll) + "\n").encode())
            data = {"status": "in_queue"}
            if task_id in polled:
                data = {"status": "done", **picture_of(tasks[task_id].prompt)}
            polled.add(task_id)
            answer(peer, data, tasks[task_id].request_id)
            return
        request_id = f"call-{next(number)}"
        line = {
            "tag": path.split("/")[1],
            "asked": json.dumps(asked, sort_keys=True),
            "request_id": request_id,
        }
        os.write(paper, (json.dumps(line) + "\n").encode())
        time.sleep(CALL_SECONDS)
        if "CVSync2AsyncSubmitTask" in path:
            task_id = request_id.removeprefix("call-")
            tasks[task_id] = _Task(asked["prompt"], request_id)
            answer(peer, {"task_id": task_id}, request_id)
        else:
            prompt = f"{asked['prompt']} {asked.get('seed')}"
            answer(peer, picture_of(prompt), request_id)

    def picture_of(prompt: str) -> dict[str, Any]:
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        return {"image_urls": [f"{server.url}/{digest}.png"]}

    def answer(peer: Peer, data: dict[str, Any], request_id: str) -> None:
        body = {**success(**data), "request_id": request_id}
        peer.send(message(json.dumps(body).encode()))

    with FaultyServer(serve) as server:
        os.write(ready, f"{server.url}\n".encode())
        signal.pause()


def drawn(path: str) -> bytes:
    """The picture at a path, which begins with hex digits: a small one that no other path has."""
    hue = int(path[1:9], 16) / 2**32
    file = BytesIO()
    color = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, 0.9))
    Image.new("RGB", (16, 16), color).save(file, "PNG")
    return file.getvalue() + path.encode()  # hues may be alike, bytes are not
