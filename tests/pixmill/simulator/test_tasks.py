"""Submit and poll: what starts a task, how long it works, what it costs, and when it is forgotten."""

import asyncio
import base64
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from pixmill.simulator import Settings
from pixmill.simulator.calls import Action
from pixmill.simulator.inputs import KeptImages
from pixmill.simulator.service import Service
from tests.pixmill.simulator.conftest import POLL, SUBMIT, Running, Start
from tests.real_command import wait_until

REQ_KEY = "jimeng_t2i_v31"

# Longer than any test: what works with it is working whenever a test looks.
LONG = 3_600


def text_to_image(**changes: Any) -> dict[str, Any]:
    return {"req_key": REQ_KEY, "prompt": "a lake at dawn", "seed": 7, **changes}


def test_a_submit_is_answered_with_the_id_of_its_task(simulator: Running) -> None:
    response = simulator.call(text_to_image(), query=SUBMIT)

    answer = response.json()
    assert response.status_code == 200
    assert (answer["code"], answer["message"]) == (10000, "Success")
    assert list(answer["data"]) == ["task_id"]
    assert re.fullmatch(r"\d{19,20}", answer["data"]["task_id"])


def test_a_finished_task_has_its_picture_and_nothing_of_a_synchronous_answer(
    simulator: Running,
) -> None:
    task_id = simulator.submit(text_to_image())

    data = simulator.wait_for(REQ_KEY, task_id)

    assert data["binary_data_base64"] is None
    assert sorted(data) == ["binary_data_base64", "image_urls", "status"]
    (url,) = data["image_urls"]
    picture = Image.open(io.BytesIO(requests.get(url, timeout=30).content))
    assert picture.size == (512, 512)


def test_the_signed_form_submits_and_polls_too(simulator: Running) -> None:
    submitted = simulator.signed_call(text_to_image(), query=SUBMIT).json()
    task_id = submitted["data"]["task_id"]
    asked = {"req_key": REQ_KEY, "task_id": task_id}

    assert simulator.signed_call(asked, query=POLL).json()["code"] == 10000
    refused = simulator.signed_call(asked, query=POLL, secret_key="wrong")
    assert refused.status_code == 401


def test_a_task_that_works_holds_no_pictures(start: Start) -> None:
    simulator = start(latency=LONG)
    task_id = simulator.submit(text_to_image())

    assert simulator.poll(REQ_KEY, task_id)["data"] == {
        "binary_data_base64": None,
        "image_urls": None,
        "status": "in_queue",
    }


def test_without_return_url_in_the_poll_the_picture_comes_inline(
    simulator: Running,
) -> None:
    """Whatever the submit said of it, as client programs have measured."""
    task_id = simulator.submit(text_to_image(return_url=True))
    (url,) = simulator.wait_for(REQ_KEY, task_id)["image_urls"]

    data = simulator.poll(REQ_KEY, task_id, None)["data"]

    assert data["image_urls"] is None
    (inline,) = data["binary_data_base64"]
    assert base64.b64decode(inline) == requests.get(url, timeout=30).content


def test_the_watermark_is_asked_for_by_the_poll(simulator: Running) -> None:
    task_id = simulator.submit(text_to_image())
    (plain,) = simulator.wait_for(REQ_KEY, task_id)["image_urls"]
    options = json.dumps({"return_url": True, "logo_info": {"add_logo": True}})
    (marked,) = simulator.poll(REQ_KEY, task_id, options)["data"]["image_urls"]

    first, second = (requests.get(url, timeout=30).content for url in (plain, marked))
    assert first != second


def test_options_that_are_not_text_are_refused_by_name(simulator: Running) -> None:
    task_id = simulator.submit(text_to_image())

    for options in ({"return_url": True}, "[1]", "{"):
        answer = simulator.poll(REQ_KEY, task_id, options)

        assert answer["code"] == 50200
        assert "req_json" in answer["message"]


def test_a_task_belongs_to_its_req_key(simulator: Running) -> None:
    task_id = simulator.submit(text_to_image())

    assert simulator.poll("jimeng_t2i_v40", task_id)["code"] == 50400


def test_a_task_that_nobody_started_is_not_found(simulator: Running) -> None:
    answer = simulator.poll(REQ_KEY, "1234567890123456789")

    assert (answer["code"], answer["data"]["status"]) == (10000, "not_found")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "x" * 801}, "prompt must have at most 800 characters"),
        ({"prompt": " "}, "prompt must not be empty"),
        ({"seed": -2}, "seed must be an integer in [-1, 2147483647]"),
        ({"use_pre_llm": "no"}, "use_pre_llm must be true or false"),
        ({"width": 1024}, "width and height must be given together"),
        (
            {"width": 300, "height": 300},
            "width * height must be in [262144, 4194304]",
        ),
        ({"width": 2000, "height": 500}, "width / height must be in [0.333, 3]"),
    ],
)
def test_a_mistake_is_refused_with_the_name_of_its_field(
    simulator: Running, changes: dict[str, Any], said: str
) -> None:
    lines = len(simulator.lines())
    response = simulator.call(text_to_image(**changes), query=SUBMIT)

    answer = response.json()
    assert response.status_code == 400
    assert (answer["code"], answer["data"]) == (50200, None)
    assert answer["message"] == said
    (line,) = simulator.lines()[lines:]
    assert (line["code"], line["charged"], line["task_id"]) == (50200, False, None)


def test_a_key_is_refused_by_an_action_that_it_does_not_know(
    simulator: Running,
) -> None:
    assert simulator.call(text_to_image()).json()["code"] == 50204
    other = simulator.call(text_to_image(req_key="unknown_v1"), query=SUBMIT)
    assert other.json()["code"] == 50400


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(2560, 1440, (683, 384)), (1056, 1584, (418, 627)), (1328, 1328, (512, 512))],
)
def test_a_picture_has_the_ratio_that_was_asked_for(
    simulator: Running, width: int, height: int, size: tuple[int, int]
) -> None:
    task_id = simulator.submit(text_to_image(width=width, height=height))
    (url,) = simulator.wait_for(REQ_KEY, task_id)["image_urls"]

    picture = Image.open(io.BytesIO(requests.get(url, timeout=30).content))
    assert picture.size == size


def test_a_task_holds_a_place_of_its_req_key_alone(
    start: Start, asked: Callable[..., dict[str, Any]]
) -> None:
    simulator = start(latency=LONG, concurrency=2)
    for seed in range(2):
        simulator.submit(text_to_image(seed=seed))

    refused = simulator.call(text_to_image(seed=2), query=SUBMIT)
    assert (refused.status_code, refused.json()["code"]) == (429, 50430)
    # Another operation has places of its own; this call ends at the checks.
    assert simulator.call(asked(prompt="")).json()["code"] == 50200
    assert [line["code"] for line in simulator.lines()] == [50430, 50200]


def test_a_task_is_billed_once_when_it_ends_though_nobody_polls(start: Start) -> None:
    simulator = start(latency=0.2)
    task_id = simulator.submit(text_to_image())

    wait_until(lambda: len(simulator.lines()) == 1, "the end of the task")
    for _ in range(3):
        assert simulator.poll(REQ_KEY, task_id)["data"]["status"] == "done"

    (line,) = simulator.lines()
    assert (line["code"], line["charged"], line["images"]) == (10000, True, 1)
    assert (line["req_key"], line["task_id"], line["call"]) == (REQ_KEY, task_id, 1)


def test_the_line_of_a_task_is_there_before_a_poll_says_that_it_is_done(
    start: Start,
) -> None:
    simulator = start()
    for count in range(1, 30):
        task_id = simulator.submit(text_to_image(seed=count))
        simulator.poll(REQ_KEY, task_id)
        assert len(simulator.lines()) == count


def test_polls_are_not_limited(start: Start) -> None:
    simulator = start(qps=1, concurrency=1, latency=LONG)
    task_id = simulator.submit(text_to_image())

    codes = {simulator.poll(REQ_KEY, task_id)["code"] for _ in range(20)}
    assert codes == {10000}


class TimedService:
    """A service whose time is told by the test."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.now = 1_000_000.0
        self._bill = folder / "bill.jsonl"
        settings = Settings(
            bearer_key="b",
            access_key="a",
            secret_key="s",
            bill=self._bill,
            **limits,
        )

        async def paint(_: str) -> bytes:
            return b""

        inputs = KeptImages(self._bill, life=60)
        self._service = Service(
            settings, "http://127.0.0.1:1", paint, inputs, lambda: self.now
        )

    def call(self, action: Action, body: dict[str, Any]) -> dict[str, Any]:
        answer = asyncio.run(self._service.answer(action, json.dumps(body).encode()))
        said: dict[str, Any] = json.loads(answer.body)
        return said

    def submit(self, **changes: Any) -> dict[str, Any]:
        return self.call("submit", text_to_image(**changes))

    def poll(self, task_id: str) -> dict[str, Any]:
        options = '{"return_url":true}'
        body = {"req_key": REQ_KEY, "task_id": task_id, "req_json": options}
        data: dict[str, Any] = self.call("poll", body)["data"]
        return data

    def billed(self) -> list[str]:
        """The tasks on the bill."""
        lines = self._bill.read_text("utf-8").splitlines()
        return [json.loads(line)["task_id"] for line in lines]


def test_a_task_works_for_the_latency_and_its_result_lives_for_twelve_hours(
    tmp_path: Path,
) -> None:
    service = TimedService(tmp_path, latency=20)
    task_id = service.submit()["data"]["task_id"]
    began = service.now
    statuses = []
    for seconds in (0, 1, 10, 22, 12 * 3600 - 1, 12 * 3600):
        service.now = began + seconds
        statuses.append(service.poll(task_id)["status"])

    assert statuses == [
        "in_queue",
        "in_queue",
        "generating",
        "done",
        "done",
        "not_found",
    ]
    assert service.billed() == [task_id]


def test_a_place_is_free_when_its_task_has_ended(tmp_path: Path) -> None:
    service = TimedService(tmp_path, latency=20, concurrency=1)
    first = service.submit(seed=1)["data"]["task_id"]

    assert service.submit(seed=2)["code"] == 50430
    service.now += 22
    second = service.submit(seed=2)["data"]["task_id"]
    assert service.poll(first)["status"] == "done"
    assert service.poll(second)["status"] == "in_queue"
    assert service.submit(seed=3)["code"] == 50430


def test_the_urls_of_a_result_live_from_the_poll_on(start: Start) -> None:
    simulator = start(url_life=2)
    task_id = simulator.submit(text_to_image())
    (first,) = simulator.wait_for(REQ_KEY, task_id)["image_urls"]
    expires = int(first.partition("x-expires=")[2].partition("&")[0])
    wait_until(lambda: time.time() >= expires, "its life has ended")

    (again,) = simulator.poll(REQ_KEY, task_id)["data"]["image_urls"]
    assert requests.get(first, timeout=30).status_code == 403
    assert requests.get(again, timeout=30).status_code == 200
