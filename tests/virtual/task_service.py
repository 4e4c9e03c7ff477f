"""The provider's tasks in the virtual world: submits, polls, a hidden limit per operation, and results that die.

The client is the real one; what it would send goes to the service instead of to a socket.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from pixmill.errors import AnswerUnknown, NotSent
from pixmill.http.transport import Reply
from pixmill.provider.client import Action, Bearer, Client
from pixmill.provider.credentials import Secret
from tests.virtual.service import FAULTS, PICTURE, Fault, Service, Weather, said
from tests.virtual.world import Process, World

RETENTION = 12 * 3600.0
"""Seconds after its submit for which a task is known."""

STARTS_BY_LOT = ("lost", "gateway page", "cut short", "no picture")
"""What a submit may meet although it has started its task: its answer tells nothing of it."""

_DONE: Mapping[str, Any] = {"code": 10000, "message": "Success"}


class Fate(NamedTuple):
    """How a task ends: what a poll finds then, and whether it is charged (`None`: by lot)."""

    answer: Fault
    charged: bool | None


def _ends_as(status: str, charged: bool | None) -> Fate:
    return Fate(Fault(200, {**_DONE, "data": {"status": status}}), charged)


FATES: Mapping[str, Fate] = {
    "done": _ends_as("done", charged=True),
    "empty": Fate(Fault(200, {**_DONE, "data": {"status": "done"}}), None),
    "expired": _ends_as("expired", charged=False),
    "failed": _ends_as("failed", charged=None),
    "forgotten": _ends_as("not_found", charged=None),
    "redrawn": Fate(said(50511), None),
    "dead": Fate(said(50500, 500), charged=False),
}
POLL_FAULTS = (
    "lost",
    "unreachable",
    "gateway page",
    "cut short",
    "too fast",
    "too many",
)


class TaskWeather(NamedTuple):
    """How tasks fare: the weather of submits, what polls meet, the fates that are not `done`, and the seconds of work.

    The concurrency of `submits` is that of each operation, from submit until the task has ended.
    """

    submits: Weather = Weather(latency=(0.05, 0.15))
    polls: Mapping[str, float] = {}
    fates: Mapping[str, float] = {}
    work: tuple[float, float] = (5.0, 20.0)


class VirtualTask(NamedTuple):
    """A task that a submit has started."""

    task_id: str
    job: str
    req_key: str
    process: Process
    began: float
    ends: float
    fate: str


class TaskService(Service):
    """Starts tasks and tells what became of them. `on_poll` sees each poll as it arrives.

    `polls` are the times of all, `in_vain` how many found a task that works.
    """

    def __init__(self, world: World, weather: Callable[[float], TaskWeather]) -> None:
        super().__init__(world, lambda now: weather(now).submits)
        self._task_weather = weather
        self.on_poll: Callable[[Process, str], None] = lambda *_: None
        self.tasks: dict[str, VirtualTask] = {}
        self._working: list[VirtualTask] = []
        self.polls: list[float] = []
        self.in_vain = 0
        self.proven: set[tuple[Process, str]] = set()
        """Processes that have had an answer about an operation which shows that it works."""
        self.submitting: Counter[tuple[Process, str]] = Counter()

    def working(self, req_key: str) -> list[VirtualTask]:
        """The tasks of an operation that have not ended."""
        now = self._world.now
        self._working = [task for task in self._working if task.ends > now]
        return [task for task in self._working if task.req_key == req_key]

    def is_known(self, task_id: str) -> bool:
        """Whether the result of a task could be had now."""
        task = self.tasks[task_id]
        return task.fate != "forgotten" and self._world.now < task.began + RETENTION

    def submit(self, body: bytes) -> Reply:
        """Start a task, or not. Raises NotSent and AnswerUnknown as the real transport does."""
        world = self._world
        asked = json.loads(body)
        job, req_key = asked["prompt"], asked["req_key"]
        weather = self._weather(world.now)
        name, fault = self._drawn(weather)
        # The limit of an operation comes first, whatever else would have happened.
        if fault.arrives and len(self.working(req_key)) >= weather.concurrency:
            name, fault = "too many", FAULTS["too many"]
        self.sent.append((world.now, job))
        if not fault.arrives:
            world.sleep(0.01)
            self.ended.append((world.now, name))
            raise NotSent("nobody listens")
        process = world.here
        self.calls[job] += 1
        self.submitting[process, req_key] += 1
        self.on_call(process, job)
        task = None
        if fault is PICTURE or (name in STARTS_BY_LOT and world.random.random() < 0.5):
            task = self._start(job, req_key)
        seconds = world.random.uniform(*weather.latency)
        self.longest = max(self.longest, seconds)
        world.sleep(seconds)
        self.submitting[process, req_key] -= 1
        self.ended.append((world.now, name))
        if fault.status is None:
            raise AnswerUnknown("the connection broke")
        if isinstance(fault.body, Mapping) and name != "arrears":
            self.proven.add((process, req_key))
        if fault is PICTURE and task:
            fault = Fault(200, {**_DONE, "data": {"task_id": task.task_id}})
        return self._reply(fault)

    def _start(self, job: str, req_key: str) -> VirtualTask:
        world = self._world
        weather = self._task_weather(world.now)
        fate = _draw(world, weather.fates) or "done"
        task = VirtualTask(
            task_id=str(10**18 + len(self.tasks)),
            job=job,
            req_key=req_key,
            process=world.here,
            began=world.now,
            ends=world.now + world.random.uniform(*weather.work),
            fate=fate,
        )
        self.tasks[task.task_id] = task
        self._working.append(task)
        charged = FATES[fate].charged
        is_charged = world.random.random() < 0.5 if charged is None else charged
        # In advance: all that is compared is the sum.
        self.bill[job] += is_charged
        self.reroll_seed[job] += fate == "redrawn" and is_charged
        return task

    def poll(self, body: bytes) -> Reply:
        """Tell what became of a task. Raises NotSent and AnswerUnknown as the real transport does."""
        world = self._world
        asked = json.loads(body)
        task_id, req_key = asked["task_id"], asked["req_key"]
        self.polls.append(world.now)
        self.on_poll(world.here, task_id)
        weather = self._task_weather(world.now)
        name = _draw(world, weather.polls)
        task = self.tasks[task_id]
        is_known = self.is_known(task_id) and task.req_key == req_key
        has_ended = world.now >= task.ends
        world.sleep(world.random.uniform(*weather.submits.latency))
        if name == "unreachable":
            raise NotSent("nobody listens")
        if name == "lost":
            raise AnswerUnknown("the connection broke")
        if name:
            return self._reply(FAULTS[name])
        self.proven.add((world.here, req_key))
        if not is_known:
            return self._reply(FATES["forgotten"].answer)
        if not has_ended:
            self.in_vain += 1
            return self._reply(_ends_as("generating", charged=False).answer)
        answer = FATES[task.fate].answer
        if task.fate == "done":
            url = f"https://images.example.com/{task.job}/{task_id}.jpg"
            answer = Fault(
                200, {**_DONE, "data": {"status": "done", "image_urls": [url]}}
            )
        return self._reply(answer)

    def _reply(self, fault: Fault) -> Reply:
        assert fault.status
        body = fault.body
        if isinstance(body, Mapping):
            number = len(self.sent) + len(self.polls)
            body = json.dumps({"request_id": f"virtual-{number}", **body})
        return Reply(fault.status, CaseInsensitiveDict(), body.encode())


def _draw(world: World, shares: Mapping[str, float]) -> str | None:
    lot = world.random.random()
    for name, share in shares.items():
        lot -= share
        if lot < 0:
            return name
    return None


class VirtualTransport:
    """Takes what the client would send to the service."""

    def __init__(self, world: World, service: TaskService) -> None:
        self._world = world
        self._service = service

    def send(
        self, request: PreparedRequest, *, deadline: float, max_bytes: int
    ) -> Reply:
        del max_bytes
        action = parse_qs(urlsplit(str(request.url)).query)["Action"][0]
        assert isinstance(request.body, bytes)
        begun = self._world.now
        answer = self._service.submit if action == Action.SUBMIT else self._service.poll
        reply = answer(request.body)
        if self._world.now - begun > deadline:
            raise AnswerUnknown("no answer within the deadline")
        return reply


def virtual_client(world: World, service: TaskService, deadline: float) -> Client:
    """The real client, connected to `service`."""
    key = Bearer(Secret("a-key-of-the-virtual-world"))
    client = Client("https://virtual.example.com", lambda: key, deadline, connections=1)
    # Its thread watches sockets, and there are none.
    client.close()
    client._transport = VirtualTransport(world, service)  # type: ignore[assignment]
    return client
