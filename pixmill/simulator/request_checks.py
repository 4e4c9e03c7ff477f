"""Whether the operation accepts a request, by the documented fields and ranges.

Written apart from `pixmill.request.registry` on purpose: a provider that shares the schema of its client could not show
that the client is wrong.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

REQ_KEYS = ("high_aes_scheduler_svr_controlnet_v2.0",)

MAX_SEED = 2**31 - 1
_INTEGERS = {
    "seed": (-1, MAX_SEED),
    "sr_seed": (-1, MAX_SEED),
    "ddim_steps": (1, 50),
    "sr_steps": (1, 50),
}
_NUMBERS = {"scale": (1, 30), "sr_scale": (1, 30), "sr_strength": (0, 1)}
_FLAGS = ("use_rephraser", "use_sr", "return_url")
_CONTROLS = ("canny", "depth", "pose")


def is_accepted(body: Mapping[str, Any]) -> bool:
    """Whether every field is in its documented range. Fields that are not documented are ignored."""
    images = input_images(body)
    return (
        images > 0
        and isinstance(body.get("prompt"), str)
        and bool(body["prompt"].strip())
        and all(
            _is_integer(body.get(name, low), low, high)
            for name, (low, high) in _INTEGERS.items()
        )
        and all(
            _is_number(body.get(name, low), low, high)
            for name, (low, high) in _NUMBERS.items()
        )
        and all(isinstance(body.get(name, False), bool) for name in _FLAGS)
        and _are_controls(body.get("controlnet_args", []), images)
        and _is_logo(body.get("logo_info") or {})
    )


def input_images(body: Mapping[str, Any]) -> int:
    """How many usable input images there are; 0 unless they come by URL or inline, not both."""
    urls = body.get("image_urls") or []
    inline = body.get("binary_data_base64") or []
    if (
        bool(urls) == bool(inline)
        or not isinstance(urls, list)
        or not isinstance(inline, list)
    ):
        return 0
    return (
        len(urls or inline)
        if all(map(_is_url, urls)) and all(map(_is_base64, inline))
        else 0
    )


def _are_controls(controls: Any, images: int) -> bool:
    return isinstance(controls, list) and all(
        _is_control(control, images) for control in controls
    )


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


def _is_integer(value: Any, low: int, high: int) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    )


def _is_number(value: Any, low: float, high: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and low <= value <= high
    )


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _is_base64(value: Any) -> bool:
    try:
        return bool(base64.b64decode(value, validate=True))
    except (TypeError, ValueError, binascii.Error):
        return False
