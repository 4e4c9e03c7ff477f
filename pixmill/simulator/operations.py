"""What the provider documents of each operation: how it may be called, and which fields it takes.

Written without `pixmill.request.registry` on purpose: a provider that shares the schema of its
client could not show that the client is wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

MAX_SEED = 2**31 - 1

FieldCheck: TypeAlias = Callable[[Any], str]
"""Says what a value must be, empty for one that is."""


def integer(low: int, high: int) -> FieldCheck:
    """Return the check of a field with a whole number from `low` to `high`."""

    def check(value: Any) -> str:
        # A truth value is an int in Python, but not in JSON.
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if is_integer and low <= value <= high:
            return ""
        return f"must be an integer in [{low}, {high}]"

    return check


def number(low: float, high: float) -> FieldCheck:
    """Return the check of a field with a number from `low` to `high`."""

    def check(value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and low <= value <= high:
            return ""
        return f"must be a number in [{low}, {high}]"

    return check


def flag(value: Any) -> str:
    """Check a field with true or false."""
    return "" if isinstance(value, bool) else "must be true or false"


class SizeRule(NamedTuple):
    """Which `width` and `height` an operation takes, ends included."""

    area: tuple[int, int]
    """In pixels."""

    ratio: tuple[float, float]
    """Width by height."""


class SimulatedOperation(NamedTuple):
    """One `req_key`."""

    actions: frozenset[str]
    """By which of `process` and `submit` it may be called."""

    fields: Mapping[str, FieldCheck]

    prompt_limit: int = 800
    """The most characters of a prompt."""

    size: SizeRule | None = None


SEED = integer(-1, MAX_SEED)

_ASYNC = frozenset({"submit"})

# 1:3 to 3:1, give or take a pixel that rounding to whole sides costs.
_USUAL_RATIO = (0.333, 3.003)

_JIMENG_3 = SimulatedOperation(
    actions=_ASYNC,
    fields={
        "seed": SEED,
        "use_pre_llm": flag,
        "width": integer(1, 16384),
        "height": integer(1, 16384),
    },
    size=SizeRule(area=(512 * 512, 2048 * 2048), ratio=_USUAL_RATIO),
)

OPERATIONS: Mapping[str, SimulatedOperation] = {
    "jimeng_t2i_v31": _JIMENG_3,
}
"""By `req_key`."""
