"""A simulator as a process of its own, and a client that speaks both of its dialects."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from pixmill.provider.signing import sign
from pixmill.simulator import Settings, serve
from pixmill.simulator.painting import painter
from tests.fork_server import ForkedProcess, fork_process
from tests.quick_painter import paint_quickly
from tests.real_command import wait_until

ROOT = Path(__file__).parents[3]
BEARER, ACCESS, SECRET = "bearer-of-the-tests", "AKTESTS", "SKTESTS=="
ACTION = {"Action": "CVProcess", "Version": "2022-08-31"}
SUBMIT = {"Action": "CVSync2AsyncSubmitTask", "Version": "2022-08-31"}
POLL = {"Action": "CVSync2AsyncGetResult", "Version": "2022-08-31"}


def make_png(width: int = 64, height: int = 48, kind: str = "PNG") -> bytes:
    """A small image, red on the left and green on the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("green", (width // 2, 0, width, height))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def serve_options() -> None:
    """Be a simulator with the settings in `sys.argv[1]`, which paints what is asked for, or quickly."""
    options = json.loads(sys.argv[1])
    if not options.pop("paints"):
        painter.paint = paint_quickly
    paths = {
        name: Path(options.pop(name)) for name in ("bill", "faults") if name in options
    }
    serve(
        Settings(**options, **paths),
        port=0,
        on_ready=lambda url: print(url, flush=True),
    )


@dataclass(frozen=True)
class Running:
    """A simulator that runs, with its bill."""

    url: str
    bill: Path
    process: ForkedProcess

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.bill.read_text("utf-8").splitlines()]

    def call(
        self, body: Any, *, key: str = BEARER, query: dict[str, str] = ACTION
    ) -> requests.Response:
        """One call of the Bearer form; bytes are sent as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(
            f"{self.url}/volcv/v1",
            params=query,
            data=data,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )

    def signed_call(
        self, body: Any, *, query: dict[str, str] = ACTION, **changes: Any
    ) -> requests.Response:
        """One call of the signed form."""
        data = json.dumps(body).encode()
        keys = {
            "access_key": ACCESS,
            "secret_key": SECRET,
            "session_token": None,
            "at": datetime.now(UTC),
            **changes,
        }
        headers = sign("POST", urlsplit(self.url).netloc, "/", query, data, **keys)
        return requests.post(
            f"{self.url}/", params=query, data=data, headers=headers, timeout=30
        )

    def submit(self, body: Any) -> str:
        """The id of the task that `body` starts."""
        answer = self.call(body, query=SUBMIT).json()
        assert answer["code"] == 10000, answer
        task_id: str = answer["data"]["task_id"]
        return task_id

    def poll(
        self, req_key: str, task_id: str, options: Any = '{"return_url": true}'
    ) -> dict[str, Any]:
        """The answer to a poll."""
        body = {"req_key": req_key, "task_id": task_id, "req_json": options}
        answer: dict[str, Any] = self.call(body, query=POLL).json()
        return answer

    def wait_for(self, req_key: str, task_id: str) -> dict[str, Any]:
        """The `data` of the poll that finds a task done."""
        done: dict[str, Any] = {}

        def is_done() -> bool:
            done.update(self.poll(req_key, task_id)["data"])
            return bool(done["status"] == "done")

        wait_until(is_done, f"the end of task {task_id}")
        return done

    def picture(self, body: Any) -> bytes:
        """The bytes of the first picture that answers `body`."""
        answer = requests.get(
            self.call(body).json()["data"]["image_urls"][0], timeout=30
        )
        assert answer.status_code == 200
        return answer.content


Start = Callable[..., Running]


@contextmanager
def running(bill: Path, *, paints: bool = True, **settings: Any) -> Iterator[Running]:
    options = {
        "paints": paints,
        "bearer_key": BEARER,
        "access_key": ACCESS,
        "secret_key": SECRET,
        "bill": str(bill),
        **settings,
    }
    with fork_process(f"{__name__}:serve_options", json.dumps(options)) as process:
        yield Running(process.stdout.readline().strip(), bill, process)
        process.terminate()
        process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start simulators that end with the test; they share one bill."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running(tmp_path / "bill.jsonl", **settings)
        )


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulator without latency and limits, shared by the tests of a module."""
    with running(tmp_path_factory.mktemp("simulator") / "bill.jsonl") as started:
        yield started


@pytest.fixture(scope="module")
def quick_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same, for tests that ask for many pictures and don't look at them."""
    bill = tmp_path_factory.mktemp("quick") / "bill.jsonl"
    with running(bill, paints=False) as started:
        yield started


@pytest.fixture
def asked() -> Callable[..., dict[str, Any]]:
    """A valid request; a change to None leaves the field out."""

    def request(**changes: Any) -> dict[str, Any]:
        body = {
            "req_key": "high_aes_scheduler_svr_controlnet_v2.0",
            "image_urls": ["https://images.example/in.jpg"],
            "prompt": "a cat on a hill at sunset",
            "model_version": "general_controlnet_v2.0",
            "seed": 42,
            "scale": 3,
            "ddim_steps": 16,
            "use_rephraser": False,
            "controlnet_args": [
                {"type": "depth", "binary_data_index": 0, "strength": 0.6}
            ],
            "return_url": True,
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    return request
