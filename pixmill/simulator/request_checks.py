"""Whether an operation accepts a request, by the documented fields and ranges."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from pixmill.simulator.calls import Action
from pixmill.simulator.operations import MAX_SEED, OPERATIONS, SimulatedOperation
from pixmill.simulator.responses import DENIED, INVALID, INVALID_FIELD, UNSUPPORTED

CONTROLNET = "high_aes_scheduler_svr_controlnet_v2.0"

_INTEGERS = {
    "seed": (-1, MAX_SEED),
    "sr_seed": (-1, MAX_SEED),
    "ddim_steps": (1, 50),
    "sr_steps": (1, 50),
}
_NUMBERS = {"scale": (1, 30), "sr_scale": (1, 30), "sr_strength": (0, 1)}
_FLAGS = ("use_rephraser", "use_sr", "return_url")
_CONTROLS = ("canny", "depth", "pose")


class Refusal(NamedTuple):
    """Why a request is not accepted."""

    code: int

    message: str | None = None
    """Without, the usual one of the code."""


def find_refusal(
    action: Action,
    body: Mapping[str, Any],
) -> Refusal | None:
    """Return why a call is refused, None for one that is accepted.

    Fields that are not documented are ignored.
    """
    if not body:
        return Refusal(INVALID)
    req_key = body.get("req_key")
    if req_key == CONTROLNET and action == "process":
        return None if _is_accepted(body) else Refusal(INVALID)
    operation = OPERATIONS.get(req_key) if isinstance(req_key, str) else None
    if operation is None:
        return Refusal(DENIED)
    if action not in operation.actions:
        return Refusal(UNSUPPORTED)
    problem = _find_field_problem(operation, body)
    return Refusal(INVALID_FIELD, problem) if problem else None


def _find_field_problem(
    operation: SimulatedOperation,
    body: Mapping[str, Any],
) -> str | None:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        return "prompt must not be empty"
    if len(prompt) > operation.prompt_limit:
        return f"prompt must have at most {operation.prompt_limit} characters"
    for name, check in operation.fields.items():
        requirement = check(body[name]) if name in body else ""
        if requirement:
            return f"{name} {requirement}"
    if operation.size is None:
        return None
    if ("width" in body) != ("height" in body):
        return "width and height must be given together"
    if "width" in body:
        width = body["width"]
        height = body["height"]
        least, most = operation.size.area
        if not least <= width * height <= most:
            return f"width * height must be in [{least}, {most}]"
        lowest, highest = operation.size.ratio
        if not lowest <= width / height <= highest:
            return f"width / height must be in [{lowest:.3g}, {highest:.3g}]"
    return None


def _is_accepted(body: Mapping[str, Any]) -> bool:
    """Whether every field is in its documented range. Fields that are not documented are ignored."""
    images = count_input_images(body)
    if not images:
        return False
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        return False
    for name, (low, high) in _INTEGERS.items():
        if not _is_integer(body.get(name, low), low, high):
            return False
    for name, (least, most) in _NUMBERS.items():
        if not _is_number(body.get(name, least), least, most):
            return False
    if not all(isinstance(body.get(name, False), bool) for name in _FLAGS):
        return False
    controls = body.get("controlnet_args", [])
    if not isinstance(controls, list):
        return False
    if not all(_is_control(control, images) for control in controls):
        return False
    return _is_logo(body.get("logo_info") or {})


def count_input_images(body: Mapping[str, Any]) -> int:
    """Return how many usable input images there are.

    0 unless they come by URL or inline, not both.
    """
    urls = body.get("image_urls") or []
    inline = body.get("binary_data_base64") or []
    if not isinstance(urls, list) or not isinstance(inline, list):
        return 0
    if bool(urls) == bool(inline):
        return 0
    for url in urls:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            return 0
    if not all(map(_is_base64, inline)):
        return 0
    return len(urls or inline)


def _is_control(control: Any, images: int) -> bool:
    return (
        isinstance(control, dict)
        and control.get("type") in _CONTROLS
        and _is_number(control.get("strength"), 0, 1)
        and control["strength"] > 0
        and _is_integer(control.get("binary_data_index"), 0, images - 1)
    )


def _is_logo(logo: Any) -> bool:
    return (
        isinstance(logo, dict)
        and isinstance(logo.get("add_logo", False), bool)
        and _is_integer(logo.get("position", 0), 0, 3)
        and _is_integer(logo.get("language", 0), 0, 1)
        and _is_number(logo.get("opacity", 1), 0, 1)
        and isinstance(logo.get("logo_text_content", ""), str)
    )


def _is_integer(
    value: Any,
    low: int,
    high: int,
) -> bool:
    # A truth value is an int in Python, but not in JSON.
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer and low <= value <= high


def _is_number(
    value: Any,
    low: float,
    high: float,
) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and low <= value <= high


def _is_base64(value: Any) -> bool:
    try:
        return bool(base64.b64decode(value, validate=True))
    except (TypeError, ValueError, binascii.Error):
        return False
