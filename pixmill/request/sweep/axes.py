"""The values of one axis as the config spells them: a list, or a series between two numbers.

Series are computed in decimals and rounded to 12 significant digits where they are not whole, so that
`{range: [0.2, 1, 0.2]}` is 0.2, 0.4, 0.6, 0.8, 1 on every machine.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Any, NamedTuple

from pixmill.request.canonical_json import canonical_number
from pixmill.request.registry import did_you_mean
from pixmill.text import normalized

MAX_POINTS = 1_000_000
"""More points than a sweep may have, or an axis values: a slip in a range must not fill the memory."""

DISTRIBUTIONS = ("uniform", "loguniform", "randint", "choice")
_ARITHMETIC = Context(prec=30)


class RawValue(NamedTuple):
    """A value as the config gives it, with its label if it has one."""

    value: Any
    label: str | None = None


def values_of(spec: Any) -> list[RawValue]:
    """Return the values of a list, or of a `range`, `linspace` or `logspace`. ValueError where `spec` is wrong."""
    if isinstance(spec, list | tuple):
        if not spec:
            raise ValueError("has no values")
        return [given(item) for item in spec]
    name, arguments = named(spec, SERIES)
    return [RawValue(number) for number in SERIES[name](arguments)]


def given(item: Any) -> RawValue:
    """Return one value of a list: itself, or the parts of `{label: …, value: …}`. ValueError if it is neither."""
    if isinstance(item, Mapping):
        if item.keys() != {"label", "value"} or isinstance(
            item["label"], Mapping | list
        ):
            raise ValueError("a value with a label is written {label: …, value: …}")
        return RawValue(item["value"], normalized(str(item["label"])))
    return RawValue(item)


def named(spec: Any, known: Iterable[str]) -> tuple[str, Any]:
    """Return name and arguments of `{name: arguments}`; ValueError where `spec` is no such mapping of a known name."""
    if not isinstance(spec, Mapping):
        raise ValueError(  # noqa: TRY004 – a mistake in a config
            "must be a list of values, such as [2, 3], or {range: [a, b, step]}"
        )
    if len(spec) != 1:
        raise ValueError(f"must have one key, one of {', '.join(known)}")
    name, arguments = next(iter(spec.items()))
    if name in known:
        return name, arguments
    if name in DISTRIBUTIONS:
        raise ValueError(f"{name} is for `random` groups")
    raise ValueError(
        f"unknown kind of values {name!r}" + did_you_mean(str(name), [*known])
    )


def numbers(arguments: Any, usage: str) -> list[Decimal]:
    """Return the finite numbers of a list as long as that in `usage` (`range: [a, b, step]`), or raise ValueError."""
    if (
        not isinstance(arguments, list | tuple)
        or len(arguments) != usage.count(",") + 1
    ):
        raise ValueError(f"is written {{{usage}}}")
    return [_decimal(argument, usage) for argument in arguments]


def _decimal(value: Any, usage: str) -> Decimal:
    try:  # YAML reads 1e-3 as text
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(
            f"{value!r} is not a number; it is written {{{usage}}}"
        ) from None
    if not math.isfinite(float(number)):
        raise ValueError(f"{value} is not a finite number")
    return number


def whole(value: Any, name: str, least: int) -> int:
    """Return `value` as an int; ValueError where it is not whole or less than `least`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | Decimal)
        or value != int(value)
        or value < least
    ):
        raise ValueError(f"{name} must be a whole number of at least {least}")
    return int(value)


def bounded(count: int) -> int:
    """Return `count`; ValueError where it is more than a sweep may have."""
    if count > MAX_POINTS:
        raise ValueError(f"makes {count:,} points; a sweep has {MAX_POINTS:,} at most")
    return count


def plain_number(value: Decimal) -> int | float:
    """Return a number of a config as requests have it: an int where it is whole, else a canonical float."""
    return (
        int(value)
        if value == value.to_integral_value()
        else canonical_number(float(value))
    )


def _range(arguments: Any) -> list[int | float]:
    first, last, step = numbers(arguments, "range: [a, b, step]")
    if step == 0:
        raise ValueError("the step is 0")
    with localcontext(_ARITHMETIC):
        if (last - first) / step < 0:
            raise ValueError(f"steps of {step} never lead from {first} to {last}")
        count = bounded(math.floor((last - first) / step) + 1)
        return [plain_number(first + step * at) for at in range(count)]


def _linspace(arguments: Any) -> list[int | float]:
    first, last, n = numbers(arguments, "linspace: [a, b, n]")
    with localcontext(_ARITHMETIC):
        return [plain_number(first + (last - first) * share) for share in _shares(n)]


def _logspace(arguments: Any) -> list[int | float]:
    first, last, n = numbers(arguments, "logspace: [a, b, n]")
    if first <= 0 or last <= 0:
        raise ValueError("logspace needs end values above 0")
    with localcontext(_ARITHMETIC):
        return [plain_number(first * (last / first) ** share) for share in _shares(n)]


def _shares(n: Decimal) -> list[Decimal]:
    """Return n evenly spaced numbers from 0 to 1; of one only 0."""
    count = bounded(whole(n, "n", 1))
    return [Decimal(at) / max(count - 1, 1) for at in range(count)]


SERIES: Mapping[str, Callable[[Any], list[int | float]]] = {
    "range": _range,
    "linspace": _linspace,
    "logspace": _logspace,
}
