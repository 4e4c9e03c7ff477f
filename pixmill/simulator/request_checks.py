"""Whether an operation accepts a request, by the documented fields, ranges and input images."""

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

from pixmill.simulator.calls import Action
from pixmill.simulator.operations import (
    OPERATIONS,
    InputRule,
    SidesRule,
    SimulatedOperation,
)
from pixmill.simulator.responses import DENIED, INVALID, INVALID_FIELD, UNSUPPORTED


class Refusal(NamedTuple):
    """Why a request is not accepted."""

    code: int

    message: str | None = None
    """Without, the usual one of the code."""


class Accepted(NamedTuple):
    """A request that the service works on."""

    operation: SimulatedOperation

    body: Mapping[str, Any]

    images: list[str | bytes]
    """The input images: the URLs, or what came inline."""


def check_request(
    action: Action,
    body: Mapping[str, Any],
) -> Accepted | Refusal:
    """Return the request to work on, or why it is refused.

    Fields that are not documented are ignored. Wrong images are refused without a reason, as
    the real service does it.
    """
    if not body:
        return Refusal(INVALID)
    req_key = body.get("req_key")
    operation = OPERATIONS.get(req_key) if isinstance(req_key, str) else None
    if operation is None:
        return Refusal(DENIED)
    if action not in operation.actions:
        return Refusal(UNSUPPORTED)
    problem = _find_field_problem(operation, body)
    if problem:
        return Refusal(INVALID_FIELD, problem)
    images = _read_images(operation.images, body)
    if images is None:
        return Refusal(INVALID)
    for control in body.get("controlnet_args") or []:
        if not 0 <= control["binary_data_index"] < len(images):
            return Refusal(INVALID)
    return Accepted(operation, body, images)


def _find_field_problem(
    operation: SimulatedOperation,
    body: Mapping[str, Any],
) -> str | None:
    if operation.prompt_limit is not None:
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            return "prompt must not be empty"
        if len(prompt) > operation.prompt_limit:
            return f"prompt must have at most {operation.prompt_limit} characters"
    checks = dict(operation.fields)
    if operation.scale:
        checks["scale"] = operation.scale.check
    for name, check in checks.items():
        requirement = check(body[name]) if name in body else ""
        if requirement:
            return f"{name} {requirement}"
    return operation.size and _find_size_problem(operation.size, body)


def _find_size_problem(
    rule: SidesRule,
    body: Mapping[str, Any],
) -> str | None:
    width = body.get("width")
    height = body.get("height")
    if width is None and height is None:
        return None
    if width is None or height is None:
        return "width and height must be given together"
    smallest, largest = rule.area
    if not smallest <= width * height <= largest:
        return f"width * height must be in [{smallest}, {largest}]"
    # Of operations that let the caller narrow the range.
    lowest = body.get("min_ratio", rule.ratio[0])
    highest = body.get("max_ratio", rule.ratio[1])
    if not lowest <= width / height <= highest:
        return f"width / height must be in [{lowest:.3g}, {highest:.3g}]"
    return None


def _read_images(
    rule: InputRule | None,
    body: Mapping[str, Any],
) -> list[str | bytes] | None:
    """Return the input images, None where they are not what the operation takes.

    URLs are not fetched, so that only their number and form are checked.
    """
    if rule is None:
        return []
    urls = body.get("image_urls") or []
    inline = body.get("binary_data_base64") or []
    if not isinstance(urls, list) or not isinstance(inline, list):
        return None
    if inline and (not rule.by_bytes or (urls and not rule.bytes_win)):
        return None
    if not rule.least <= len(inline or urls) <= rule.most:
        return None
    if not inline:
        are_urls = all(
            isinstance(url, str) and url.startswith(("http://", "https://"))
            for url in urls
        )
        return urls if are_urls else None
    images: list[str | bytes] = []
    for text in inline:
        try:
            image = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            return None
        if not image or not _is_usable(rule, image):
            return None
        images.append(image)
    return images


def _is_usable(rule: InputRule, data: bytes) -> bool:
    # Pillow takes longer to import than the simulator to start.
    from PIL import Image

    if len(data) > rule.max_bytes:
        return False
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            shorter, longer = sorted(image.size)
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return False
    smallest, largest = rule.sides
    if shorter < smallest or longer > largest:
        return False
    return rule.max_ratio is None or longer <= rule.max_ratio * shorter
