"""The values of one axis as the config spells them: a list, or a series between two numbers.

Series are computed in decimals and rounded to 12 significant digits where they are not whole,
so that `{range: [0.2, 1, 0.2]}` is 0.2, 0.4, 0.6, 0.8, 1 on every machine.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Any, NamedTuple

from pixmill.request.canonical_json import canonical_number
from pixmill.request.registry import did_you_mean
from pixmill.text import to_nfc

MAX_POINTS = 1_000_000
"""The most points of a sweep, and values of an axis: a slip in a range must not fill the memory."""

DISTRIBUTIONS = ("uniform", "loguniform", "randint", "choice")
"""What only `random` groups draw from; `random_draws` knows how."""

# More digits than a config can give to two numbers whose difference is then divided.
_ARITHMETIC = Context(prec=30)


class RawValue(NamedTuple):
    """A value as the config gives it."""

    value: Any

    label: str | None = None
    """What people call it, if the config says so."""


def read_values(spec: Any) -> list[RawValue]:
    """Return the values of a list, or of a `range`, `linspace` or `logspace`.

    Raises ValueError where `spec` is wrong.

        read_values([2, {"label": "strong", "value": 0.8}])
        read_values({"linspace": [0, 1, 3]})    # 0, 0.5, 1
    """
    if isinstance(spec, list | tuple):
        if not spec:
            raise ValueError("has no values")
        return [read_value(item) for item in spec]
    name, arguments = read_named(spec, SERIES)
    make_series = SERIES[name]
    return [RawValue(number) for number in make_series(arguments)]


def read_value(item: Any) -> RawValue:
    """Return one value of a list: itself, or the parts of `{label: …, value: …}`.

    Raises ValueError for any other mapping.
    """
    if not isinstance(item, Mapping):
        return RawValue(item)
    has_both = item.keys() == {"label", "value"}
    if not has_both or isinstance(item["label"], Mapping | list):
        raise ValueError("a value with a label is written {label: …, value: …}")
    return RawValue(item["value"], to_nfc(str(item["label"])))


def read_named(
    spec: Any,
    known: Iterable[str],
) -> tuple[str, Any]:
    """Return name and arguments of `{name: arguments}`.

    Raises ValueError where `spec` is not a mapping of one `known` name.
    """
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
    suggestion = did_you_mean(str(name), [*known])
    raise ValueError(f"unknown kind of values {name!r}{suggestion}")


def read_numbers(
    arguments: Any,
    usage: str,
) -> list[Decimal]:
    """Return the finite numbers of a list that is as long as that in `usage`.

    `usage` is how people write it, `range: [a, b, step]`. Raises ValueError, which shows it.
    """
    expected = usage.count(",") + 1
    if not isinstance(arguments, list | tuple) or len(arguments) != expected:
        raise ValueError(f"is written {{{usage}}}")
    found = []
    for argument in arguments:
        try:
            # By its text, as YAML reads 1e-3 as one; so a float is what people see of it.
            number = Decimal(str(argument))
        except InvalidOperation:
            raise ValueError(
                f"{argument!r} is not a number; it is written {{{usage}}}"
            ) from None
        # As a float: 1e999 is finite as a decimal, but can't be sent.
        if not math.isfinite(float(number)):
            raise ValueError(f"{argument} is not a finite number")
        found.append(number)
    return found


def read_whole(
    value: Any,
    name: str,
    least: int,
) -> int:
    """Return `value` as an int; ValueError where it is not whole or less than `least`."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not is_number or value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}")
    return int(value)


def check_count(count: int) -> int:
    """Return `count`; ValueError where it is more than a sweep may have."""
    if count > MAX_POINTS:
        raise ValueError(f"makes {count:,} points; a sweep has {MAX_POINTS:,} at most")
    return count


def plain_number(value: Decimal) -> int | float:
    """Return a number of a config as requests have it: an int where it is whole."""
    if value == value.to_integral_value():
        # Not by a float, which holds no more than 15 digits.
        return int(value)
    return canonical_number(float(value))


def _range(arguments: Any) -> list[int | float]:
    first, last, step = read_numbers(arguments, "range: [a, b, step]")
    if step == 0:
        raise ValueError("the step is 0")
    with localcontext(_ARITHMETIC):
        steps = (last - first) / step
        if steps < 0:
            raise ValueError(f"steps of {step} never get from {first} to {last}")
        count = check_count(math.floor(steps) + 1)
        # Multiplied, not added up: no error of one step is in the next.
        return [plain_number(first + step * at) for at in range(count)]


def _linspace(arguments: Any) -> list[int | float]:
    first, last, n = read_numbers(arguments, "linspace: [a, b, n]")
    with localcontext(_ARITHMETIC):
        span = last - first
        return [plain_number(first + span * share) for share in _shares(n)]


def _logspace(arguments: Any) -> list[int | float]:
    first, last, n = read_numbers(arguments, "logspace: [a, b, n]")
    if first <= 0 or last <= 0:
        raise ValueError("logspace needs end values above 0")
    with localcontext(_ARITHMETIC):
        ratio = last / first
        return [plain_number(first * ratio**share) for share in _shares(n)]


def _shares(n: Decimal) -> list[Decimal]:
    """Return n evenly spaced numbers from 0 to 1; of one only 0."""
    count = check_count(read_whole(n, "n", 1))
    intervals = max(count - 1, 1)
    return [Decimal(at) / intervals for at in range(count)]


SERIES: Mapping[str, Callable[[Any], list[int | float]]] = {
    "range": _range,
    "linspace": _linspace,
    "logspace": _logspace,
}
"""The kinds of series by name: arguments to values, ValueError where they are wrong."""
