"""Random draws that never change: each is derived from a hash, not taken from a generator.

Draw `i` of an axis depends on the group's seed, the axis and `i` alone: a larger n or another
axis leaves it as it is. Otherwise a change of the config would pay for every point again.
"""

from collections.abc import Sequence
from decimal import Context, Decimal
from hashlib import sha256
from typing import Any

from pixmill.request.canonical_json import canonical_number
from pixmill.request.sweep.axes import (
    DISTRIBUTIONS,
    SERIES,
    RawValue,
    plain_number,
    read_named,
    read_numbers,
    read_values,
)
from pixmill.text import to_nfc

# A double holds 53 bits: more would be rounded, and could become 1.
_UNIT_BITS = 53

# Joins the parts of what is hashed.
_SEPARATOR = "\x1f"

# Floats differ between machines in the last digit of a power; decimals don't.
_EXACT = Context(prec=20)


def draw_values(
    spec: Any,
    path: str,
    seed: int,
    n: int,
) -> list[RawValue]:
    """Return `n` draws for the axis `path`, and after them what else could be drawn.

    `spec` is a distribution, or a list or series to choose from. What follows the draws are
    all values of a choice, or the bounds: they must fit as well, so that no mistake waits for
    the draw that hits it. Raises ValueError where `spec` is wrong.

        draw_values({"randint": [1, 1000]}, "scale", 1, 2)    # 553, 967, then 1, 1000
    """
    digests = []
    for at in range(n):
        # 256 bits that no other draw has. The 1 is the version of this way to draw.
        parts = ("draw1", str(seed), to_nfc(path), str(at))
        text = _SEPARATOR.join(parts)
        digests.append(int.from_bytes(sha256(text.encode()).digest()))
    if isinstance(spec, list | tuple):
        return _choose(spec, digests)
    name, arguments = read_named(spec, (*DISTRIBUTIONS, *SERIES))
    if name == "choice":
        return _choose(arguments, digests)
    if name in SERIES:
        return _choose(spec, digests)
    low, high = read_numbers(arguments, f"{name}: [a, b]")
    if low >= high:
        raise ValueError(f"{name} needs [a, b] with a below b")
    match name:
        case "uniform":
            first = float(low)
            span = float(high - low)
            draws = [canonical_number(first + span * _unit(one)) for one in digests]
        case "loguniform":
            draws = _draw_loguniform(low, high, digests)
        case _:
            least = int(low)
            count = int(high) - least + 1
            if least != low or int(high) != high:
                raise ValueError("randint needs whole numbers")
            draws = [least + digest % count for digest in digests]
    bounds = (plain_number(low), plain_number(high))
    return [RawValue(value) for value in (*draws, *bounds)]


def _unit(digest: int) -> float:
    """Return a number from 0 to just below 1, every step of 2**-53 equally likely."""
    return (digest >> (256 - _UNIT_BITS)) * 2.0**-_UNIT_BITS


def _choose(
    spec: Any,
    digests: Sequence[int],
) -> list[RawValue]:
    values = read_values(spec)
    chosen = [values[digest % len(values)] for digest in digests]
    return [*chosen, *values]


def _draw_loguniform(
    low: Decimal,
    high: Decimal,
    digests: Sequence[int],
) -> list[int | float]:
    if low <= 0:
        raise ValueError("loguniform needs bounds above 0")
    span = _EXACT.ln(_EXACT.divide(high, low))
    draws = []
    for digest in digests:
        exponent = _EXACT.multiply(span, Decimal(_unit(digest)))
        value = _EXACT.multiply(low, _EXACT.exp(exponent))
        draws.append(canonical_number(float(value)))
    return draws
