"""Points and axes: what a sweep has become once its groups are multiplied and its constraints applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pixmill.conditions import Condition
from pixmill.request.canonical_json import JsonValue, canonical_json, json_text
from pixmill.request.model import Request
from pixmill.request.operations.operation import Operation
from pixmill.request.registry import (
    requested_operation,
    resolve_parameters,
    with_field,
)
from pixmill.text import to_nfc

if TYPE_CHECKING:
    import pyarrow as pa

AxisKind = Literal["field", "variable", "req_key"]

BASE = "base"
"""The id of the point that differs in nothing from a request without the sweep."""


class AxisValue(NamedTuple):
    """One value of an axis."""

    label: str
    """The text shown to people."""

    value: JsonValue
    """As it is sent, typed by the operation's schema."""


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep."""

    path: str
    """A request field by dotted path, a variable of the prompt template, or `req_key`."""

    kind: AxisKind

    values: tuple[AxisValue, ...]
    """Those of the points that remain, in order of first appearance."""

    @property
    def column(self) -> str:
        """The name of the axis' column in the dataset."""
        return column_name(self.path)

    @cached_property
    def holds_texts(self) -> bool:
        """Whether the column holds the texts of the values, as they are of several kinds."""
        return is_mixed([value for _, value in self.values])


class Point(NamedTuple):
    """One combination of axis values. Every axis is there, also one at its default."""

    id: str
    """`base` or 12 hex characters, see `point_id`."""

    values: Mapping[str, JsonValue]
    """The value as it is sent, by axis path, in the order of the axes."""

    labels: Mapping[str, str]
    """The text shown to people, by axis path, in the order of the axes."""


class RowCondition(NamedTuple):
    """A condition of `exclude` or `only`, which may read columns of the row too."""

    condition: Condition

    keep_when: bool
    """A job stays where the condition's mask equals this: false for `exclude`."""

    config_path: str
    """Where it is in the config, for messages."""


class ConditionCount(NamedTuple):
    """How often a condition of a config holds."""

    config_path: str
    """Where it is in the config."""

    text: str

    matched: int

    of: int
    """Of how many it was asked."""

    unit: Literal["rows", "points", "jobs"]

    def describe(self) -> str:
        """The count in one line."""
        return f"{self.config_path}: {self.text}   holds for {self.matched:,} of {self.of:,} {self.unit}"


@dataclass(frozen=True)
class SweepPoints:
    """The axes and points of a sweep, in order; without groups one point, `base`."""

    axes: tuple[Axis, ...]

    points: tuple[Point, ...]

    row_conditions: tuple[RowCondition, ...]
    """The conditions that can only be decided with a row."""

    condition_counts: tuple[ConditionCount, ...] = ()
    """How often the others hold, of all combinations of the groups."""

    def params_at(
        self,
        point: Point,
        params: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return a copy of the resolved `params` with the point's fields put in."""
        placed = dict(params)
        for path in self._paths("field"):
            placed = with_field(placed, path, point.values[path])
        return placed

    def variables_at(self, point: Point) -> dict[str, str]:
        """Return the texts that the point puts into the prompt, by placeholder, in NFC."""
        paths = self._paths("variable")
        return {path: text_of(point.values[path]) for path in paths}

    def cells_at(self, point: Point) -> dict[str, JsonValue]:
        """Return the point's values as conditions and dataset columns hold them, by path.

        They are texts where an axis mixes kinds.
        """
        cells = dict(point.values)
        for axis in self.axes:
            if axis.holds_texts:
                cells[axis.path] = text_of(cells[axis.path])
        return cells

    def request_at(
        self,
        point: Point,
        request: Request,
    ) -> Request:
        """Return the request of the point.

        Its `params` are resolved for its `req_key`, with the point's fields put in.
        """
        req_key = point.values.get("req_key", request.req_key)
        sent = request.model_copy(update={"req_key": req_key})
        # Resolved first: defaults and their lists differ between operations.
        resolved = resolve_parameters(requested_operation(sent), request.params)
        params = self.params_at(point, resolved)
        return sent.model_copy(update={"params": params})

    def operations(self, request: Request) -> list[Operation]:
        """Return the operations of the points, each once."""
        names = (point.values.get("req_key", request.req_key) for point in self.points)
        return [
            requested_operation(request.model_copy(update={"req_key": name}))
            for name in dict.fromkeys(names)
        ]

    @property
    def columns(self) -> frozenset[str]:
        """The input columns that the sweep reads: names in its row conditions that aren't axes."""
        names: set[str] = set()
        for row in self.row_conditions:
            names |= row.condition.names
        return frozenset(names - {axis.path for axis in self.axes})

    def _paths(self, kind: AxisKind) -> list[str]:
        return [axis.path for axis in self.axes if axis.kind == kind]


def axis_column(values: Sequence[JsonValue]) -> "pa.Array":
    """Return axis values as an Arrow array of the same length.

    It holds whole numbers, floats, truth values, or texts where they are mixed.
    """
    import pyarrow as pa

    if not is_mixed(values):
        return pa.array(values)
    texts = [None if value is None else text_of(value) for value in values]
    return pa.array(texts, pa.string())


def is_mixed(values: Sequence[JsonValue]) -> bool:
    """Whether values are not all numbers (of 64 bits), all texts or all truth values.

    Nulls may be among any.
    """
    # Whole numbers and floats are one kind: Arrow's floats hold both.
    kinds = set()
    for value in values:
        if isinstance(value, int) and abs(value) >= 2**63:
            # Arrow has no column for it.
            return True
        if value is not None:
            # Not by isinstance: a truth value is an int there.
            kinds.add(float if type(value) is int else type(value))
    return len(kinds) > 1


def column_name(path: str) -> str:
    """Return the dataset column of the axis `path`."""
    return "param_" + path.replace(".", "_")


def text_of(value: JsonValue) -> str:
    """Return an axis value as text: strings in NFC as they are, 0.6, 3, true."""
    return to_nfc(value) if isinstance(value, str) else canonical_json(value)


def point_id(differing: Sequence[tuple[str, str]]) -> str:
    """Return the id of the point with these pairs of axis path and canonical JSON of its value.

    Only what differs from a request without the sweep is given, so that an axis at its
    default changes no id; `base` where there is nothing. Else it is the beginning of the
    SHA-256 of a canonical JSON object, whatever the order of the pairs.

        point_id([("scale", "5"), ("style", '"ink"')])    # hash of {"scale":5,"style":"ink"}
    """
    if not differing:
        return BASE
    members = [
        f"{json_text(to_nfc(path))}:{value}" for path, value in sorted(differing)
    ]
    text = "{" + ",".join(members) + "}"
    # 48 bits: of sweeps of a million points one in 500 has two with one id.
    return sha256(text.encode()).hexdigest()[:12]
