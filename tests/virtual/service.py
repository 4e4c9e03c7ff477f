"""The provider of the virtual world: hidden limits, faults drawn by lot, outages, and a bill of its own."""

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from requests.structures import CaseInsensitiveDict

from pixmill.errors import AnswerUnknown, NotSent
from pixmill.http.transport import Reply
from pixmill.provider.error_codes import code_table
from pixmill.provider.responses import Response, no_answer, not_sent, read_answer
from pixmill.storage.image_decoding import ImageError
from pixmill.storage.image_store import ImageFile
from tests.virtual.world import Process, World


class Fault(NamedTuple):
    """A way in which a call ends: status and body, and whether it is charged (`None`: by lot).

    Without a status there is no answer; without `arrives` not even the call gets there.
    """

    status: int | None
    body: Mapping[str, Any] | str = ""
    charged: bool | None = False
    arrives: bool = True


def said(code: int, status: int = 400, charged: bool | None = False) -> Fault:
    """The service's own answer with `code`."""
    return Fault(
        status,
        {"code": code, "message": "as the virtual provider says", "data": None},
        charged,
    )


PICTURE = Fault(200, {"code": 10000, "message": "Success"}, True)
FAULTS: Mapping[str, Fault] = {
    "no picture": Fault(200, {"code": 10000, "data": {}}, True),
    "input refused": said(50412),
    "redrawn": said(50511, charged=None),
    "output refused": said(50512, charged=None),
    "bad request": said(50215),
    "failed": said(50200),
    "risk service": said(50521, charged=None),
    "unknown code": said(59999, charged=None),
    # Never charged: by the contract the table decides, which sends it again.
    "fault": said(50500, 500),
    "too fast": said(50429, 429),
    "too many": said(50430, 429),
    "gateway page": Fault(503, "<html>503</html>", None),
    "cut short": Fault(
        200, '{"code": 10000, "data": {"image_urls": ["https://im', None
    ),
    "lost": Fault(None, charged=None),
    "unreachable": Fault(None, arrives=False),
    "arrears": said(50400),
}


class Weather(NamedTuple):
    """How the provider fares: the share of each fault, the seconds an answer takes, and its hidden limits."""

    faults: Mapping[str, float] = {}
    latency: tuple[float, float] = (0.5, 3.0)
    qps: float = 1e9
    concurrency: int = 10**9


class Service:
    """Answers calls and writes down which arrived, of whom, and what they cost. `on_call` sees each as it arrives.

    `answered` are the processes that have had an answer which shows that their account works.
    """

    def __init__(self, world: World, weather: Callable[[float], Weather]) -> None:
        self._world, self._weather = world, weather
        self.on_call: Callable[[Process, str], None] = lambda *_: None
        self.bill: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.reroll_seed: Counter[str] = Counter()
        self.sent: list[tuple[float, str]] = []
        self.ended: list[tuple[float, str]] = []
        self.in_flight: Counter[Process] = Counter()
        self.answered: set[Process] = set()
        self.longest = 0.0
        self._admitted: deque[float] = deque()

    def call(self, body: bytes) -> Reply:
        """Answer one request. Raises NotSent and AnswerUnknown as the real transport does."""
        world, job = self._world, json.loads(body)["prompt"]
        weather = self._weather(world.now)
        name, fault = self._drawn(weather)
        self.sent.append((world.now, job))
        if not fault.arrives:
            world.sleep(0.01)
            self.ended.append((world.now, name))
            raise NotSent("nobody listens")
        process = world.here
        self.calls[job] += 1
        self.in_flight[process] += 1
        charged = (
            world.random.random() < 0.5 if fault.charged is None else fault.charged
        )
        self.bill[job] += charged
        self.reroll_seed[job] += name == "redrawn" and charged
        self.on_call(process, job)
        quick = name in ("too fast", "too many")
        seconds = 0.02 if quick else world.random.uniform(*weather.latency)
        self.longest = max(self.longest, seconds)
        world.sleep(seconds)
        self.in_flight[process] -= 1
        self.ended.append((world.now, name))
        if fault.status is None:
            raise AnswerUnknown("the connection broke")
        if isinstance(fault.body, Mapping) and name != "arrears":
            self.answered.add(process)
        return Reply(fault.status, CaseInsensitiveDict(), self._body(fault, job))

    def _drawn(self, weather: Weather) -> tuple[str, Fault]:
        """What becomes of a call: the limits come first, then the lot."""
        now, admitted = self._world.now, self._admitted
        while admitted and admitted[0] <= now - 1:
            admitted.popleft()
        if len(admitted) >= weather.qps:
            return "too fast", FAULTS["too fast"]
        if (
            sum(calls for process, calls in self.in_flight.items() if not process.dead)
            >= weather.concurrency
        ):
            return "too many", FAULTS["too many"]
        admitted.append(now)
        lot = self._world.random.random()
        for name, share in weather.faults.items():
            lot -= share
            if lot < 0:
                return name, FAULTS[name]
        return "picture", PICTURE

    def _body(self, fault: Fault, job: str) -> bytes:
        if isinstance(fault.body, str):
            return fault.body.encode()
        number = sum(self.calls.values())
        fields = {"request_id": f"virtual-{number}", **fault.body}
        if fault is PICTURE:
            fields["data"] = {
                "image_urls": [f"https://images.example.com/{job}/{number}.jpg"]
            }
        return json.dumps(fields).encode()


class VirtualClient:
    """Stands in for the network part of the client: what comes back is read by the real code table."""

    def __init__(self, world: World, service: Service, deadline: float) -> None:
        self._world, self._service, self._deadline = world, service, deadline

    def call(self, body: bytes, req_key: str) -> Response:
        begun = self._world.now
        try:
            reply = self._service.call(body)
        except NotSent as error:
            return not_sent(error)
        except AnswerUnknown as error:
            return no_answer(error)
        if self._world.now - begun > self._deadline:
            return no_answer(AnswerUnknown("no answer within the deadline"))
        return read_answer(reply, code_table(req_key))


class VirtualImages:
    """Stands in for fetching and storing images: takes its time, and fails at times."""

    def __init__(self, world: World, failing: float) -> None:
        self._world, self._failing = world, failing

    def fetch(self, url: str) -> bytes:
        self._world.sleep(self._world.random.uniform(0.1, 2.0))
        if self._world.random.random() < self._failing:
            raise ImageError("the virtual network lost it")
        return url.encode()

    def save(self, data: bytes) -> ImageFile:
        return ImageFile(data.decode(), "0" * 64, 1, 1, "JPEG", 1)

    def abort(self) -> None:
        """End nothing: every fetch ends soon."""

    def close(self) -> None:
        """Nothing is open."""
