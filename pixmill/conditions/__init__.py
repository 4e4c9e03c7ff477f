"""Conditions over columns and axes, as `input.where`, `sweep.exclude`, `sweep.only` and `--where` take them.

    condition = parse('scale > 3 and style not in ["oil", "ink"]')     # ValueError says what is wrong, and where
    condition.names                                                    # frozenset({"scale", "style"})
    condition.mask({"scale": 4, "style": batch["style"]}, count)       # NumPy booleans, one per row

`parse_aggregates` reads conditions over a whole table (docs of `pixmill.conditions.aggregates`).

A small language in the syntax of Python; nothing is ever executed by it (docs of `parse`).
"""

from pixmill.conditions.aggregates import (
    AggregateCondition,
    AggregateValues,
    ConditionResult,
    parse_aggregates,
)
from pixmill.conditions.condition import Condition, parse

__all__ = [
    "AggregateCondition",
    "AggregateValues",
    "Condition",
    "ConditionResult",
    "parse",
    "parse_aggregates",
]
