"""Random draws that never change: each is derived from a hash, not taken from a library's generator.

Draw `i` of an axis depends on the group's seed, the axis and `i` alone: a larger n or another axis leaves it as it is.
"""

from collections.abc import Callable
from decimal import Context, Decimal
from hashlib import sha256
from typing import Any

from pixmill.request.canonical_json import canonical_number
from pixmill.request.sweep.axes import (
    DISTRIBUTIONS,
    SERIES,
    RawValue,
    named,
    numbers,
    plain_number,
    values_of,
)
from pixmill.text import normalized

_UNIT_BITS = 53
_SEPARATOR = "\x1f"


def draws_of(spec: Any, path: str, seed: int, n: int) -> list[RawValue]:
    """Return `n` draws for the axis `path` from a distribution, or from the values of a list or a series.

    After them stand all values that can be drawn, or the bounds: they must fit, whatever was drawn. Raises
    ValueError where `spec` is wrong.
    """
    digests = [_digest(seed, path, at) for at in range(n)]
    if isinstance(spec, list | tuple):
        return _choice(spec, digests)
    name, arguments = named(spec, (*DISTRIBUTIONS, *SERIES))
    if name == "choice" or name in SERIES:
        return _choice(arguments if name == "choice" else spec, digests)
    low, high = numbers(arguments, f"{name}: [a, b]")
    if low >= high:
        raise ValueError(f"{name} needs [a, b] with a below b")
    draw = {"uniform": _uniform, "loguniform": _loguniform, "randint": _randint}[name](
        low, high
    )
    return [
        *(RawValue(draw(digest)) for digest in digests),
        RawValue(plain_number(low)),
        RawValue(plain_number(high)),
    ]


def _digest(seed: int, path: str, at: int) -> int:
    return int.from_bytes(
        sha256(
            _SEPARATOR.join(("draw1", str(seed), normalized(path), str(at))).encode()
        ).digest()
    )


def _unit(digest: int) -> float:
    """Return a number from 0 to just below 1, every step of 2**-53 equally likely."""
    return (digest >> (256 - _UNIT_BITS)) * 2.0**-_UNIT_BITS


def _choice(spec: Any, digests: list[int]) -> list[RawValue]:
    values = values_of(spec)
    return [*(values[digest % len(values)] for digest in digests), *values]


def _uniform(low: Decimal, high: Decimal) -> Callable[[int], int | float]:
    first = float(low)
    span = float(high - low)
    return lambda digest: canonical_number(first + span * _unit(digest))


def _loguniform(low: Decimal, high: Decimal) -> Callable[[int], int | float]:
    if low <= 0:
        raise ValueError("loguniform needs bounds above 0")

    exact = Context(
        prec=20
    )  # floats differ between machines in the last digit of a power
    span = exact.ln(exact.divide(high, low))

    def draw(digest: int) -> int | float:
        factor = exact.exp(exact.multiply(span, Decimal(_unit(digest))))
        return canonical_number(float(exact.multiply(low, factor)))

    return draw


def _randint(low: Decimal, high: Decimal) -> Callable[[int], int | float]:
    first = int(low)
    last = int(high)
    if first != low or last != high:
        raise ValueError("randint needs whole numbers")
    return lambda digest: first + digest % (last - first + 1)
