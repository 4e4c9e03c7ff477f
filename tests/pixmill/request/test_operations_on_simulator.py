"""Two descriptions of each operation, written apart: what a config may ask is what the simulator accepts."""

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from pixmill.request.canonical_json import json_text
from pixmill.request.fingerprint import request_shape, url_list
from pixmill.request.model import Request
from pixmill.request.operations import OPERATIONS
from pixmill.request.operations.operation import Operation
from pixmill.request.registry import field_types, operation_of
from pixmill.simulator.request_checks import Refusal, check_request
from tests.golden.regenerate import OPERATION_PARAMS

SIZES = {"width", "height", "size", "min_ratio", "max_ratio"}


def body_of(operation: Operation, mode: str, **params: Any) -> dict[str, Any]:
    """The body that a run sends, with as few images as may be, by URL."""
    request = Request.model_validate(
        {"req_key": operation.req_key, "mode": mode, "params": params}
    )
    urls = [
        f"https://images.example.com/{at}.png" for at in range(operation.images.least)
    ]
    prompt = json_text("a cat") if operation.prompt else None
    head = request_shape(request).head(url_list(urls) if urls else None, prompt)
    seed = ',"seed":7' if operation.seed else ""
    return json.loads(f"{head}{seed}}}")  # type: ignore[no-any-return]


def refusal_of(mode: str, body: dict[str, Any]) -> Refusal | None:
    found = check_request("process" if mode == "sync" else "submit", body)
    return found if isinstance(found, Refusal) else None


@pytest.mark.parametrize("req_key", OPERATIONS)
def test_the_simulator_accepts_what_is_sent_in_every_mode(req_key: str) -> None:
    operation = operation_of(req_key)
    for mode in operation.modes:
        for params in OPERATION_PARAMS.get(req_key, [{}]):
            body = body_of(operation, mode, **params)
            assert refusal_of(mode, body) is None, body


@pytest.mark.parametrize("req_key", OPERATIONS)
def test_the_simulator_refuses_the_mode_that_is_a_mistake_here(req_key: str) -> None:
    operation = operation_of(req_key)
    for mode in {"sync", "async"} - set(operation.modes):
        body = body_of(operation, mode)
        assert refusal_of(mode, body) is not None


def bounds_of(kind: Any) -> list[Any]:
    """The least and the largest value of an annotated number, its choices, or none."""
    bounds = []
    for rule in getattr(kind, "__metadata__", ()):
        for mark in getattr(rule, "metadata", [rule]):
            bounds += [
                getattr(mark, name) for name in ("ge", "le") if hasattr(mark, name)
            ]
    return bounds


@pytest.mark.parametrize("req_key", OPERATIONS)
def test_the_ends_of_every_range_are_accepted_on_both_sides(req_key: str) -> None:
    operation = operation_of(req_key)
    checked = 0
    for path, kind in field_types(operation).items():
        for bound in bounds_of(kind) if path not in SIZES and "." not in path else ():
            body = body_of(operation, operation.modes[0], **{path: bound})
            assert refusal_of(operation.modes[0], body) is None, path
            checked += 1
    has_ranges = any("scale" in path for path in field_types(operation))
    assert checked or not has_ranges


@pytest.mark.parametrize(
    "req_key",
    [key for key, of in OPERATIONS.items() if of.images.most != 0],
)
def test_both_sides_agree_on_whether_images_come_as_bytes(req_key: str) -> None:
    operation = operation_of(req_key)
    mode = operation.modes[0]
    body = body_of(operation, mode)
    data = BytesIO()
    Image.new("RGB", (512, 512), "teal").save(data, "PNG")
    encoded = base64.b64encode(data.getvalue()).decode()
    body.pop("image_urls", None)
    count = max(1, operation.images.least)
    body["binary_data_base64"] = [encoded] * count
    is_accepted = refusal_of(mode, body) is None
    assert is_accepted == ("bytes" in operation.images.forms)
