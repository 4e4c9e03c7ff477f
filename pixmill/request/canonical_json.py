"""Canonical JSON: one text for equal values. What is hashed for a key and what is sent are written in it."""

import json
import math
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, TypeAlias

from pixmill.text import to_nfc

JsonValue: TypeAlias = Any

SIGNIFICANT_DIGITS = 12
"""More than any parameter needs, and fewer than the 15 that every double keeps."""


def canonical_value(value: JsonValue) -> JsonValue:
    """Return `value` with numbers in one form and every text in Unicode NFC.

    Floats keep 12 significant digits, so that 0.6000000000000001 (a step of `linspace`) is
    0.6, and an integral float is the integer: 3 and 3.0 ask for the same image. Raises
    ValueError for infinities and NaN.

        canonical_value({"scale": 3.0, "list": (0.1 + 0.2,)})    # {"scale": 3, "list": [0.3]}
    """
    if isinstance(value, float):
        return canonical_number(value)
    if isinstance(value, str):
        return to_nfc(value)
    if isinstance(value, Mapping):
        return {to_nfc(str(key)): canonical_value(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [canonical_value(item) for item in value]
    return value


def canonical_number(value: float) -> int | float:
    """Return `value` at 12 significant digits, as an int where it is integral."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that JSON can carry")
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    # Also -0.0, which asks for the same as 0.
    return int(rounded) if rounded.is_integer() else rounded


def canonical_json(value: JsonValue) -> str:
    """Return the compact JSON text of `value`.

    Sorted keys, canonical numbers, NFC text, no escapes but JSON's own:

        canonical_json({"b": 3.0, "a": "é"})    # '{"a":"é","b":3}'
    """
    return json.dumps(
        canonical_value(value),
        sort_keys=True,
        separators=(",", ":"),
        # It travels as UTF-8: escapes would be six bytes for each Chinese character.
        ensure_ascii=False,
        allow_nan=False,
    )


json_text = encode_basestring
"""Return the JSON string literal of a text that is already in NFC.

The same function that `canonical_json` uses. It makes a million literals of a plan's prompts
without the cost of a JSON encoder for each.
"""
