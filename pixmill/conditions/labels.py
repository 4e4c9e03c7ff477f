"""Labels in conditions: a text that is the label of a value means the value."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

Labels = Mapping[str, Mapping[str, Any]]
"""By the name of an axis, the value of each label."""


def replace_labels(tree: ast.expr, labels: Labels) -> ast.expr:
    """Return a condition's tree in which texts that are compared with an axis are the values that they label.

    `style == "ink"` with the label `ink` of "in black ink" becomes `style == "in black ink"`.
    """
    replaced: ast.expr = _Replacement(labels).visit(tree)
    return replaced


class _Replacement(ast.NodeTransformer):
    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        sides = [node.left, *node.comparators]
        named = [side.id for side in sides if isinstance(side, ast.Name)]
        values: dict[str, Any] = {}
        for name in named:
            values |= self._labels.get(name, {})
        if not values:
            return self.generic_visit(node)
        left, *others = [_with_values(side, values) for side in sides]
        return ast.Compare(left, node.ops, others)


def _with_values(side: ast.expr, values: Mapping[str, Any]) -> ast.expr:
    if isinstance(side, ast.Constant) and isinstance(side.value, str):
        value = values.get(side.value, side.value)
        return ast.copy_location(ast.Constant(value), side)
    if isinstance(side, ast.List):
        items: Sequence[ast.expr] = [_with_values(item, values) for item in side.elts]
        return ast.copy_location(ast.List(list(items), side.ctx), side)
    if isinstance(side, ast.Tuple):
        items = [_with_values(item, values) for item in side.elts]
        return ast.copy_location(ast.Tuple(list(items), side.ctx), side)
    return side
