"""The official SDK works against the simulator, with its own signer and its own bodies."""

import base64
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.pixmill.simulator.conftest import ACCESS, SECRET, Running, make_png

Asked = Callable[..., dict[str, Any]]

URL = "https://images.example/in.jpg"

# Called by name; reads bodies and prints answers, one a line.
PROGRAM = """
import json, sys
from volcengine.visual.VisualService import VisualService
service = VisualService()
service.set_host(sys.argv[1])
service.set_scheme("http")
service.set_ak(sys.argv[2])
service.set_sk(sys.argv[3])
for line in sys.stdin:
    method, body = json.loads(line)
    print(json.dumps(getattr(service, method)(body)))
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("volcengine") is None,
    reason="volcengine is not installed",
)


def run_sdk(
    simulator: Running, *calls: tuple[str, dict[str, Any]], secret: str = SECRET
) -> "subprocess.CompletedProcess[str]":
    """Make calls of the SDK.

    In a process of its own: the SDK keeps its state in a singleton and warns while it is imported.
    """
    host = urlsplit(simulator.url).netloc
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, host, ACCESS, secret],
        input="\n".join(map(json.dumps, calls)),
        capture_output=True,
        text=True,
        timeout=60,
    )


def answers(
    simulator: Running, *calls: tuple[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    done = run_sdk(simulator, *calls)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_cv_process_gets_pictures_of_old_and_new_operations(
    simulator: Running, asked: Asked
) -> None:
    inline = base64.b64encode(make_png()).decode()
    bodies = [
        asked(prompt="一只猫"),
        {
            "req_key": "high_aes_general_v30l_zt2i",
            "prompt": "一只狗",
            "return_url": True,
        },
        {
            "req_key": "seededit_v3.0",
            "prompt": "换成雪天",
            "binary_data_base64": [inline],
            "return_url": True,
        },
    ]

    for answer in answers(simulator, *(("cv_process", body) for body in bodies)):
        assert answer["code"] == 10000
        (url,) = answer["data"]["image_urls"]
        picture = requests.get(url, timeout=30)
        assert picture.headers["Content-Type"] == "image/jpeg"


def test_tasks_of_four_operations_are_submitted_and_fetched(
    simulator: Running,
) -> None:
    inline = base64.b64encode(make_png()).decode()
    bodies: list[dict[str, Any]] = [
        {"req_key": "jimeng_t2i_v31", "prompt": "湖边的清晨", "seed": 7},
        {"req_key": "jimeng_t2i_v40", "prompt": "三张海报", "image_urls": [URL]},
        {
            "req_key": "jimeng_i2i_v30",
            "prompt": "换成雪天",
            "binary_data_base64": [inline],
        },
        {
            "req_key": "jimeng_image2image_dream_inpaint",
            "prompt": "删除",
            "image_urls": [URL, URL],
        },
    ]
    submitted = answers(
        simulator, *(("cv_sync2async_submit_task", body) for body in bodies)
    )
    polls = [
        {
            "req_key": body["req_key"],
            "task_id": answer["data"]["task_id"],
            "req_json": json.dumps({"return_url": True}),
        }
        for body, answer in zip(bodies, submitted, strict=True)
    ]
    fetched = answers(
        simulator, *(("cv_sync2async_get_result", poll) for poll in polls)
    )

    counts = []
    for answer in fetched:
        assert (answer["code"], answer["data"]["status"]) == (10000, "done")
        urls = answer["data"]["image_urls"]
        assert all(requests.get(url, timeout=30).status_code == 200 for url in urls)
        counts.append(len(urls))
    assert counts == [1, 3, 1, 1]


def test_the_sdk_is_told_what_is_wrong(simulator: Running) -> None:
    """It raises the answer to whatever is refused."""
    body = {"req_key": "jimeng_t2i_v31", "prompt": "长" * 801}

    mistake = run_sdk(simulator, ("cv_sync2async_submit_task", body))
    assert "prompt must have at most 800 characters" in mistake.stderr
    forged = run_sdk(simulator, ("cv_sync2async_submit_task", body), secret="another")
    assert "SignatureDoesNotMatch" in forged.stderr
    assert mistake.returncode == forged.returncode == 1
