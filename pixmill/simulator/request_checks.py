"""Whether an operation accepts a request, by the documented fields, ranges and input images."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from pixmill.simulator.calls import Action
from pixmill.simulator.operations import (
    OPERATIONS,
    InputRule,
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
    problem = operation.find_problem(body)
    if problem:
        return Refusal(INVALID_FIELD, problem)
    images = _read_images(operation.images, body)
    if images is None:
        return Refusal(INVALID)
    for control in body.get("controlnet_args") or []:
        if not 0 <= control["binary_data_index"] < len(images):
            return Refusal(INVALID)
    return Accepted(operation, body, images)


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
        if not image or not rule.allows(image):
            return None
        images.append(image)
    return images
