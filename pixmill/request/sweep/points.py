"""Points and axes: what a sweep has become once its groups are multiplied and its constraints applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pixmill.conditions import Condition
from pixmill.request.canonical_json import JsonValue, canonical_json, json_text
from pixmill.request.model import Request
from pixmill.request.registry import resolve_parameters, with_field
from pixmill.text import normalized

if TYPE_CHECKING:
    import pyarrow as pa

AxisKind = Literal["field", "variable", "req_key"]
BASE = "base"


class AxisValue(NamedTuple):
    """One value of an axis as it is sent, typed by the operation's schema, and the text shown to people."""

    label: str
    value: JsonValue


@dataclass(frozen=True)
class Axis:
    """One axis: a request field by dotted path, a variable of the prompt template, or `req_key`.

    `values` are those of the points that remain, in order of first appearance.
    """

    path: str
    kind: AxisKind
    values: tuple[AxisValue, ...]

    @property
    def column(self) -> str:
        """The name of the axis' column in the dataset."""
        return column_name(self.path)

    @cached_property
    def mixed(self) -> bool:
        """Whether the column holds the texts of the values, as they are of several kinds."""
        return is_mixed([value for _, value in self.values])


class Point(NamedTuple):
    """One combination of axis values.

    `values` and `labels` map every axis path, in axis order, to the value as it is sent and to the text shown to
    people; an axis at its default is there too. `id` is `base` or 12 hex characters, see `point_id`.
    """

    id: str
    values: Mapping[str, JsonValue]
    labels: Mapping[str, str]


class RowCondition(NamedTuple):
    """A condition of `exclude` or `only` that reads columns of the row too.

    A job stays where the condition's mask equals `keep_when`. `config_path` says where it stands in the config.
    """

    condition: Condition
    keep_when: bool
    config_path: str


@dataclass(frozen=True)
class SweepPoints:
    """The axes and points of a sweep, in order; without groups one point, `base`."""

    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    row_conditions: tuple[RowCondition, ...]

    def params_at(self, point: Point, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the resolved `params` with the point's fields put in."""
        placed = dict(params)
        for path in self._paths("field"):
            placed = with_field(placed, path, point.values[path])
        return placed

    def variables_at(self, point: Point) -> dict[str, str]:
        """Return the texts that the point puts into the prompt template, by placeholder, in NFC."""
        return {path: text_of(point.values[path]) for path in self._paths("variable")}

    def cells_at(self, point: Point) -> dict[str, JsonValue]:
        """Return the point's values as conditions and dataset columns hold them: texts where an axis mixes kinds."""
        mixed = {axis.path for axis in self.axes if axis.mixed}
        return {
            path: text_of(value) if path in mixed else value
            for path, value in point.values.items()
        }

    def request_at(self, point: Point, request: Request) -> Request:
        """Return the request of the point: its `req_key`, and `params` resolved for it with the point's fields in."""
        req_key = point.values.get("req_key", request.req_key)
        params = self.params_at(point, resolve_parameters(req_key, request.params))
        return request.model_copy(update={"req_key": req_key, "params": params})

    @property
    def columns(self) -> frozenset[str]:
        """The names in the row conditions that are no axes: the input columns that the sweep reads."""
        axes = {axis.path for axis in self.axes}
        return frozenset(
            name
            for row in self.row_conditions
            for name in row.condition.names
            if name not in axes
        )

    def _paths(self, kind: AxisKind) -> list[str]:
        return [axis.path for axis in self.axes if axis.kind == kind]


def axis_column(values: Sequence[JsonValue]) -> "pa.Array":
    """Return axis values as an Arrow array: whole numbers, floats, truth values, or texts where they are mixed."""
    import pyarrow as pa

    if is_mixed(values):
        return pa.array(
            [None if value is None else text_of(value) for value in values], pa.string()
        )
    return pa.array(values)


def is_mixed(values: Sequence[JsonValue]) -> bool:
    """Whether values are not all numbers (of 64 bits), all texts or all truth values; nulls may stand among any."""
    kinds = {
        float if type(value) is int else type(value)
        for value in values
        if value is not None
    }
    return len(kinds) > 1 or any(
        isinstance(value, int) and abs(value) >= 2**63 for value in values
    )


def column_name(path: str) -> str:
    """Return the dataset column of the axis `path`."""
    return "param_" + path.replace(".", "_")


def text_of(value: JsonValue) -> str:
    """Return an axis value as text: strings in NFC as they are, 0.6, 3, true."""
    return normalized(value) if isinstance(value, str) else canonical_json(value)


def point_id(differing: Sequence[tuple[str, str]]) -> str:
    """Return the id of the point with these (axis path, canonical JSON of its value), whatever their order.

    Only assignments that differ from a plain request are given, so that an axis at its default changes no id;
    `base` where there are none, else the first 12 hex characters of the SHA-256 of their canonical JSON object.
    """
    if not differing:
        return BASE
    members = ",".join(
        f"{json_text(normalized(path))}:{value}" for path, value in sorted(differing)
    )
    return sha256(f"{{{members}}}".encode()).hexdigest()[:12]
