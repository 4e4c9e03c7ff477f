"""Conditions over a whole table, as `quality.gate` takes them: about shares, means and counts of its rows.

    condition = parse_aggregates("share(flag_blank) <= 0.01")
    condition.names                                       # frozenset({"flag_blank"})
    condition.check({"flag_blank": flags}, len(flags), None)
    # ConditionResult(condition="share(flag_blank) <= 0.01", holds=True, figures={"share(flag_blank)": 0.002})

An aggregate such as `share(…)` stands where a row's condition has a name. So the tree is read in
two steps: each aggregate is taken out with the tree of its rows, and what is left is a condition
like any other, over one row whose columns are the aggregates.
"""

import ast
from ast import BoolOp, Call, Compare, Constant, Name, UnaryOp
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pixmill.conditions.parser import (
    Source,
    check_truth,
    check_value,
    function_name,
    is_none,
    names_in,
    read_structure,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROWS = "rows"
"""The number of all rows."""

PREVIOUS = "previous"
"""What the aggregate of the same comparison was in the table that this one is to replace."""

OF_ROWS = ("share", "count")
"""Aggregates of a condition over rows."""

OF_NUMBERS = ("mean", "median", "min", "max", "sum")
"""Aggregates of the rows' numbers; rows without one are left out."""

_ALLOWED = ", ".join(f"{name}(…)" for name in (*OF_ROWS, *OF_NUMBERS))


class ConditionResult(NamedTuple):
    """What a condition over a table came to."""

    condition: str
    """As its owner wrote it."""

    holds: bool

    figures: Mapping[str, float | None]
    """The value of each aggregate, as it is written; None where it has none.

    `previous mean(x)` is what `mean(x)` was before.
    """

    problem: str | None = None
    """Why it could not be calculated, where it could not: then it does not hold."""


class _Aggregate(NamedTuple):
    """One function of all rows."""

    function: str

    tree: ast.expr
    """What it is of: a condition over one row, or a number of it."""

    def value(self, columns: Mapping[str, Any], rows: int) -> float | None:
        """Return its value for a table of `rows` rows, None where no row has one."""
        # Arrow and NumPy take long to import; a config is checked without them.
        import numpy as np

        from pixmill.conditions.evaluator import mask, numbers

        if self.function in OF_ROWS:
            holds = mask(self.tree, columns, rows)
            if self.function == "count":
                return int(holds.sum())
            known = self._is_known(columns, rows)
            return float(holds[known].mean()) if known.any() else None
        values = numbers(self.tree, columns, rows)
        given = values[~np.isnan(values)]
        if not len(given):
            return None
        # `mean`, `median`, `min`, `max` and `sum` are called the same there.
        return float(getattr(np, self.function)(given))

    def _is_known(
        self, columns: Mapping[str, Any], rows: int
    ) -> "npt.NDArray[np.bool_]":
        """Return for which rows the condition says something: (rows,).

        A row without a picture has no `flag_blank`, and is no good picture either. Where the
        condition itself asks for `None`, a row without a value says something.
        """
        import numpy as np

        from pixmill.conditions.evaluator import mask

        known = np.ones(rows, np.bool_)
        for name in set(_names_with_values(self.tree)):
            has_value = Compare(Name(name), [ast.IsNot()], [Constant(None)])
            known &= mask(has_value, columns, rows)
        return known


@dataclass(frozen=True)
class AggregateCondition:
    """A checked condition over a table."""

    text: str
    """What the user wrote, without spaces around it."""

    names: frozenset[str]
    """The columns that it reads."""

    _tree: ast.expr = field(repr=False, compare=False)
    _aggregates: Mapping[str, _Aggregate] = field(repr=False, compare=False)

    @property
    def reads_previous(self) -> bool:
        """Whether it compares the table with the one before."""
        return any(_is_previous(node) for node in ast.walk(self._tree))

    def check(
        self,
        columns: Mapping[str, Any],
        rows: int,
        previous: "AggregateValues | None",
    ) -> ConditionResult:
        """Return whether it holds for a table of `rows` rows, whose `columns` are Arrow arrays.

        `previous` is what `values` returned for the table before, None where there is none: then
        a comparison with it holds.
        """
        from pixmill.conditions.evaluator import mask

        try:
            figures = self.values(columns, rows)
            before = previous or {}
            used = {node.id for node in ast.walk(self._tree) if isinstance(node, Name)}
            figures |= {
                f"{PREVIOUS} {name}": before.get(name)
                for name in self._aggregates
                if f"{PREVIOUS} {name}" in used
            }
            unknown = {
                name
                for name, value in figures.items()
                if value is None and name.startswith(f"{PREVIOUS} ")
            }
            tree = _LeaveOut(unknown).visit(deepcopy(self._tree))
            holds = bool(mask(tree, {**figures, ROWS: rows}, 1)[0])
        except ValueError as error:
            return ConditionResult(self.text, False, {}, str(error))
        return ConditionResult(self.text, holds, figures)

    def values(self, columns: Mapping[str, Any], rows: int) -> "AggregateValues":
        """Return the value of each aggregate for a table. Raises ValueError."""
        return {
            name: aggregate.value(columns, rows)
            for name, aggregate in self._aggregates.items()
        }


AggregateValues = dict[str, float | None]
"""Values of aggregates by their text."""


def parse_aggregates(text: str) -> AggregateCondition:
    """Return the condition over a table that `text` says.

    Raises ValueError, which says what is wrong and at which character.

    * `share(c)`: of the rows for which `c` can be said, the share for which it holds.
    * `count(c)`: the number of rows for which it holds. `rows`: the number of all.
    * `mean(x)`, `median(x)`, `min(x)`, `max(x)`, `sum(x)` of a column, or of what is calculated
      from columns, over the rows that have it.
    * `previous`: the value of the same aggregate in the table before, as in
      `mean(score_x) >= previous - 0.05`. The first table has none before, so that holds.
    * A comparison with an aggregate that has no value does not hold.

    Inside of an aggregate and around it the language is that of `pixmill.conditions.parse`.
    """
    stripped = text.strip()
    if not stripped:
        raise ValueError("is empty")
    tree, source = read_structure(stripped)
    taken = _TakeAggregates(source)
    outer = taken.visit(tree)
    check_truth(outer, source)
    for node in ast.walk(outer):
        if isinstance(node, Compare):
            _name_previous(node, taken.found, source)
    for node in ast.walk(outer):
        if isinstance(node, Name):
            _check_outer_name(node, taken.found, source)
    if not taken.found:
        raise ValueError(f"is about no row; write one of {_ALLOWED}")
    _check_compared(outer, source)
    names = {
        name for aggregate in taken.found.values() for name in names_in(aggregate.tree)
    }
    return AggregateCondition(stripped, frozenset(names), outer, taken.found)


class _TakeAggregates(ast.NodeTransformer):
    """Puts a name in place of each aggregate, and keeps what it is of."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.found: dict[str, _Aggregate] = {}

    def visit_Call(self, node: Call) -> ast.expr:
        """Take one out, and check what it is of; functions of one row stay."""
        function = function_name(node)
        if function not in (*OF_ROWS, *OF_NUMBERS):
            return node
        if node.keywords or len(node.args) != 1:
            usage = "condition" if function in OF_ROWS else "column"
            raise self._source.mistake(
                node.col_offset, f"is used as {function}({usage})"
            )
        check = check_truth if function in OF_ROWS else check_value
        check(node.args[0], self._source)
        text = self._source.text[node.col_offset : node.end_col_offset]
        self.found[text] = _Aggregate(function, node.args[0])
        return ast.copy_location(Name(text), node)


class _LeaveOut(ast.NodeTransformer):
    """Puts True in place of comparisons with names that stand for nothing yet."""

    def __init__(self, unknown: set[str]) -> None:
        self._unknown = unknown

    def visit_Compare(self, node: Compare) -> ast.expr:
        """Leave out one comparison."""
        names = {each.id for each in ast.walk(node) if isinstance(each, Name)}
        return Constant(True) if names & self._unknown else node


def _check_compared(tree: ast.expr, source: Source) -> None:
    """Refuse an aggregate that stands alone: it is a number, which is neither true nor false."""
    match tree:
        case BoolOp(values=parts):
            for part in parts:
                _check_compared(part, source)
        case UnaryOp(operand=part):
            _check_compared(part, source)
        case Name():
            raise source.mistake(
                tree.col_offset,
                "is neither true nor false; compare it with something",
            )


def _name_previous(
    node: Compare, aggregates: Mapping[str, _Aggregate], source: Source
) -> None:
    """Say of which aggregate `previous` is: the only one in its comparison."""
    names = [each for each in ast.walk(node) if isinstance(each, Name)]
    aggregated = {name.id for name in names if name.id in aggregates}
    for name in names:
        if name.id != PREVIOUS:
            continue
        if len(aggregated) != 1:
            raise source.mistake(
                name.col_offset,
                "`previous` needs one aggregate in its comparison, as in "
                "mean(score) >= previous - 0.05",
            )
        name.id = f"{PREVIOUS} {next(iter(aggregated))}"


def _check_outer_name(
    name: Name, aggregates: Mapping[str, _Aggregate], source: Source
) -> None:
    if name.id == PREVIOUS:
        raise source.mistake(
            name.col_offset, "`previous` is for comparisons with an aggregate"
        )
    if name.id in aggregates or name.id == ROWS or _is_previous(name):
        return
    raise source.mistake(
        name.col_offset,
        f"a column has a value in each row; say what of them, with one of {_ALLOWED}",
    )


def _is_previous(node: ast.AST) -> bool:
    return isinstance(node, Name) and node.id.startswith(f"{PREVIOUS} ")


def _names_with_values(tree: ast.expr) -> Iterator[str]:
    """Return the columns that a condition over a row reads, but those that it asks whether they are None."""
    if isinstance(tree, Compare) and any(map(is_none, [tree.left, *tree.comparators])):
        return
    if isinstance(tree, Name):
        yield tree.id
    arguments = tree.args if isinstance(tree, Call) else ast.iter_child_nodes(tree)
    for child in arguments:
        if isinstance(child, ast.expr):
            yield from _names_with_values(child)
