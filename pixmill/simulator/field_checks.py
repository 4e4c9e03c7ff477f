"""Checks of single fields, by documented types and ranges.

A check says what a value must be, in words to follow the name of the field; it returns an
empty text for a value that is right.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

FieldCheck: TypeAlias = Callable[[Any], str]

_CONTROLS = ("canny", "depth", "pose")


def within(
    low: float,
    high: float,
    *,
    whole: bool = False,
) -> FieldCheck:
    """Return the check of a number from `low` to `high`."""
    kinds = int if whole else int | float
    noun = "an integer" if whole else "a number"

    def check(value: Any) -> str:
        # A truth value is an int in Python, but not in JSON.
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if is_number and low <= value <= high:
            return ""
        return f"must be {noun} in [{low:.12g}, {high:.12g}]"

    return check


def one_of(*options: str) -> FieldCheck:
    """Return the check of a word that must be one of `options`."""

    def check(value: Any) -> str:
        return "" if value in options else f"must be one of {', '.join(options)}"

    return check


def check_flag(value: Any) -> str:
    """Check a truth value."""
    return "" if isinstance(value, bool) else "must be true or false"


def check_text(value: Any) -> str:
    """Check a text."""
    return "" if isinstance(value, str) else "must be a text"


_STRENGTH = within(0, 1)


def check_controls(value: Any) -> str:
    """Check the controls of an image: which input image steers what, and how strongly."""
    if not isinstance(value, list):
        return "must be a list"
    for control in value:
        if not isinstance(control, dict) or control.get("type") not in _CONTROLS:
            return f"must have a type, one of {', '.join(_CONTROLS)}"
        strength = control.get("strength")
        if _STRENGTH(strength) or strength == 0:
            return "must have a strength in (0, 1]"
        # Whether there is such an image is known with the images.
        if not isinstance(control.get("binary_data_index"), int):
            return "must have a binary_data_index"
    return ""


_LOGO_FIELDS: Mapping[str, FieldCheck] = {
    "add_logo": check_flag,
    "position": within(0, 3, whole=True),
    "language": within(0, 1, whole=True),
    "opacity": _STRENGTH,
    "logo_text_content": check_text,
}


def check_logo(value: Any) -> str:
    """Check a visible watermark; null is none."""
    if value is None:
        return ""
    if not isinstance(value, dict):
        return "must be an object"
    for name, check in _LOGO_FIELDS.items():
        requirement = check(value[name]) if name in value else ""
        if requirement:
            return f"is wrong: {name} {requirement}"
    return ""
