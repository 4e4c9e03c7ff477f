"""The client and the built-in simulator understand each other, over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixmill.config.model import Limits, Provider
from pixmill.provider.client import open_client
from pixmill.provider.error_codes import Verdict
from pixmill.simulator import run_simulator
from tests.pixmill.provider.recorded import REQ_KEY, opened

pytestmark = pytest.mark.usefixtures("keys")

IMAGE_REQUEST = {
    "controlnet_args": [{"binary_data_index": 0, "strength": 0.6, "type": "depth"}],
    "image_urls": ["https://images.example.com/1.jpg"],
    "prompt": "一只猫, in watercolor",
    "req_key": "high_aes_scheduler_svr_controlnet_v2.0",
    "seed": 7,
}


@contextmanager
def running_simulator() -> Iterator[str]:
    """The URL of a simulator that accepts all the keys of this environment."""
    command = [sys.executable, "-m", "pixmill.simulator"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.mark.parametrize("token", [None, "STS2-canary-0123456789"])
def test_the_simulator_answers_every_kind_by_url_and_inline(
    token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token:
        monkeypatch.setenv("VOLC_SESSION_TOKEN", token)
    bodies = [
        json.dumps({**IMAGE_REQUEST, "return_url": by_url}).encode()
        for by_url in (True, False)
    ]
    with running_simulator() as url:
        for kind in ("gateway", "simulator", "volcengine"):
            with opened(kind, url) as client:
                by_url, inline = (client.call(body, REQ_KEY) for body in bodies)
            assert (
                (by_url.verdict, by_url.charged)
                == (inline.verdict, inline.charged)
                == ("succeeded", "yes")
            )
            assert (len(by_url.image_urls), len(by_url.inline_images)) == (1, 0)
            assert (len(inline.image_urls), len(inline.inline_images)) == (0, 1)
            assert by_url.provider_ms is not None


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("gateway", "invalid_api_key"),
        ("simulator", "invalid_api_key"),
        ("volcengine", "SignatureDoesNotMatch"),
    ],
)
def test_wrong_keys_stop_the_run(
    kind: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10."""
    with running_simulator() as url:
        monkeypatch.setenv("PIXMILL_API_KEY", "sk-wrong")
        monkeypatch.setenv("VOLC_SECRETKEY", "SK-wrong")
        with opened(kind, url) as client:
            result = client.call(json.dumps(IMAGE_REQUEST).encode(), REQ_KEY)
    assert (result.verdict, result.code, result.charged) == (Verdict.STOP, code, "no")


def test_the_embedded_simulator_is_called_with_its_own_address_and_key(
    tmp_path: Path,
) -> None:
    with run_simulator(tmp_path / "bill.jsonl", latency=0) as simulator:
        client = open_client(
            Provider(),
            Limits(),
            concurrency=2,
            base_url=simulator.base_url,
            api_key=simulator.bearer_key,
        )
        results = [
            client.call(body, REQ_KEY)
            for body in (json.dumps(IMAGE_REQUEST).encode(), b"no json")
        ]
        client.close()
    assert [(result.verdict, result.code) for result in results] == [
        (Verdict.SUCCEEDED, "10000"),
        (Verdict.FAILED, "50215"),
    ]
