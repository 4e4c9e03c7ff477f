"""Conditions over columns and axes, as `input.where`, `sweep.exclude`, `sweep.only` and `--where` take them.

    condition = parse('scale > 3 and style not in ["oil", "ink"]')     # ValueError says what is wrong, and where
    condition.names                                                    # frozenset({"scale", "style"})
    condition.mask({"scale": 4, "style": batch["style"]}, count)       # NumPy booleans, one per row

A small language in the syntax of Python; nothing is ever executed by it (docs of `parse`).
"""

from pixmill.conditions.condition import Condition, parse

__all__ = ["Condition", "parse"]
