"""The groups of a sweep: each read into rows of settings, with every mistake and its place.

    grid: {scale: [2, 3], style: [ink, oil]}

is first read axis by axis, into a column of settings for each, and the kind of the group says
how its rows go through the columns:

    columns     scale: [2, 3]    style: [ink, oil]
    grid        (2, ink) (2, oil) (3, ink) (3, oil)      every combination
    the others  (2, ink) (3, oil)                        the columns in step
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from pixmill.request.canonical_json import JsonValue, canonical_json
from pixmill.request.registry import did_you_mean
from pixmill.request.sweep.axes import (
    RawValue,
    check_count,
    read_value,
    read_values,
    read_whole,
)
from pixmill.request.sweep.baseline import BaselineRequest
from pixmill.request.sweep.points import AxisKind, column_name
from pixmill.request.sweep.random_draws import draw_values

KINDS = ("grid", "zip", "list", "random")

# Wrong values that one message names: a range may have made a thousand.
_NAMED_VALUES = 5


class AxisSetting(NamedTuple):
    """One axis at one value."""

    path: str

    value: JsonValue
    """As it is sent."""

    label: str
    """As it is shown to people."""

    text: str
    """The canonical JSON of the value, by which equal values are found."""

    differs: bool
    """Whether a request without the sweep has another value there."""


Columns: TypeAlias = dict[str, list[AxisSetting]]
"""The settings of each axis by its path; all of one length, but in a grid."""

Row: TypeAlias = tuple[AxisSetting, ...]
"""A setting for each axis of a group."""


class Group(NamedTuple):
    """The axes of one group, and its rows."""

    axes: Mapping[str, AxisKind]
    rows: Sequence[Row]


class LocatedValue(NamedTuple):
    """A value and where it is in the config."""

    where: str
    raw: RawValue


class Draws(NamedTuple):
    """What all axes of a `random` group share."""

    n: int
    seed: int


class GroupReader:
    """Reads groups one after the other, and gathers what is wrong with them.

    No axis may be in two groups, so each group is read with the axes of those before it.
    """

    mistakes: list[tuple[str, str]]
    """Place in the config and message, in the order of the config."""

    def __init__(self, baseline: BaselineRequest) -> None:
        self.mistakes = []
        self._baseline = baseline
        self._kinds: dict[str, AxisKind] = {}
        self._places: dict[str, str] = {}

    def read(
        self,
        group: Mapping[str, Any],
        where: str,
    ) -> Group:
        """Return the group that is at `where`, without what is wrong with it."""
        place = where
        try:
            kind = _kind_of_group(group)
            place = f"{where}.{kind}"
            columns, rows = self._read_kind(kind, group[kind], place)
            if not columns:
                raise ValueError("has no axis")  # noqa: TRY301 - gathered with the others
        except ValueError as error:
            self.mistakes.append((place, str(error)))
            return Group({}, ())
        axes = {path: self._kinds[path] for path in columns if path in self._kinds}
        return Group(axes, list(rows))

    def _read_kind(
        self,
        kind: str,
        body: Any,
        where: str,
    ) -> tuple[Columns, Iterable[Row]]:
        """Return the settings of each axis, and the rows that the kind makes of them.

        What is wrong with one axis is gathered; ValueError where the group as a whole is.
        """
        if kind == "list":
            columns = self._read_list(body, where)
            return columns, zip(*columns.values(), strict=False)
        if not isinstance(body, Mapping):
            # A mistake in a config.
            raise ValueError("must map axes to their values")  # noqa: TRY004
        if kind == "random":
            axes = {key: spec for key, spec in body.items() if key not in ("n", "seed")}
            draws = Draws(
                n=check_count(read_whole(body.get("n"), "n", 1)),
                seed=read_whole(body.get("seed", 0), "seed", 0),
            )
            columns = self._read_axes(axes, where, draws)
            return columns, zip(*columns.values(), strict=False)
        columns = self._read_axes(body, where)
        if kind == "grid":
            check_count(math.prod(map(len, columns.values())))
            return columns, product(*columns.values())
        # An axis without settings has a mistake of its own, and would only repeat it here.
        lengths = {path: len(column) for path, column in columns.items() if column}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{path} has {count}" for path, count in lengths.items())
            raise ValueError(f"all axes need the same number of values; {listed}")
        return columns, zip(*columns.values(), strict=False)

    def _read_axes(
        self,
        axes: Mapping[Any, Any],
        where: str,
        draws: Draws | None = None,
    ) -> Columns:
        """Return the settings of each new axis; none for one that is wrong."""
        columns: Columns = {}
        for path, spec in axes.items():
            place = f"{where}.{path}"
            kind = self._add_axis(path, place)
            columns[path] = []
            try:
                if draws is None:
                    raw = read_values(spec)
                    rows = len(raw)
                else:
                    raw = draw_values(spec, str(path), draws.seed, draws.n)
                    rows = draws.n
            except ValueError as error:
                self.mistakes.append((place, str(error)))
                continue
            if kind is not None:
                values = [LocatedValue(place, value) for value in raw]
                settings = self._make_settings(path, kind, values)
                # Behind the draws is all else that could be drawn: it was checked now.
                columns[path] = settings[:rows]
        return columns

    def _read_list(
        self,
        items: Any,
        where: str,
    ) -> Columns:
        """Return the settings of the axes of a list of points.

        An axis that a point leaves out is at its default there.
        """
        is_list = isinstance(items, list | tuple)
        if not is_list or not all(isinstance(item, Mapping) for item in items):
            raise ValueError(
                "must be a list of points such as {scale: 3, ddim_steps: 25}"
            )
        columns: Columns = {}
        first_items: dict[Any, int] = {}
        for at, item in enumerate(items):
            for path in item:
                first_items.setdefault(path, at)
        defaults = self._baseline.defaults
        for path, first in first_items.items():
            columns[path] = []
            kind = self._add_axis(path, f"{where}.{first}.{path}")
            if kind is None:
                continue
            values = []
            for at, item in enumerate(items):
                place = f"{where}.{at}.{path}"
                if path not in item and path not in defaults:
                    self.mistakes.append((place, "is missing, and has no default"))
                    continue
                given = item[path] if path in item else defaults[path]
                try:
                    values.append(LocatedValue(place, read_value(given)))
                except ValueError as error:
                    self.mistakes.append((place, str(error)))
            columns[path] = self._make_settings(path, kind, values)
        return columns

    def _add_axis(
        self,
        path: Any,
        where: str,
    ) -> AxisKind | None:
        """Note a new axis and return its kind; None where there can be no such axis."""
        try:
            self._check_new(path)
            kind = self._baseline.kind_of(path)
        except ValueError as error:
            self.mistakes.append((where, str(error)))
            return None
        self._kinds[path] = kind
        self._places[path] = where
        return kind

    def _check_new(self, path: Any) -> None:
        if not isinstance(path, str):
            # A mistake in a config.
            raise ValueError("must be the name of an axis")  # noqa: TRY004
        column = column_name(path)
        for other, place in self._places.items():
            if path == other:
                raise ValueError(f"is already swept in {place}")
            if path.startswith(other + ".") or other.startswith(path + "."):
                raise ValueError(f"overlaps {other} in {place}")
            # Dots become underscores there: a.b and a_b are two axes with one column.
            if column == column_name(other):
                raise ValueError(
                    f"would share the column {column} with {other} in {place}"
                )

    def _make_settings(
        self,
        path: str,
        kind: AxisKind,
        values: Sequence[LocatedValue],
    ) -> list[AxisSetting]:
        """Return a setting for each value; what doesn't fit the axis is a mistake.

        Equal values, such as 3 and 3.0, share the first label that one of them has.
        """
        typed = self._type_values(path, kind, values)
        texts = [canonical_json(value) for value in typed]
        labels: dict[str, str] = {}
        for text, located in zip(texts, values, strict=True):
            if located.raw.label is not None:
                labels.setdefault(text, located.raw.label)
        default = self._baseline.default_text(path)
        # One object for all equal ones: a list of a million points has few distinct values.
        settings: dict[str, AxisSetting] = {}
        for value, text in zip(typed, texts, strict=True):
            if text in settings:
                continue
            shown = value if isinstance(value, str) else text
            settings[text] = AxisSetting(
                path=path,
                value=value,
                label=labels.get(text, shown),
                text=text,
                differs=text != default,
            )
        return [settings[text] for text in texts]

    def _type_values(
        self,
        path: str,
        kind: AxisKind,
        values: Sequence[LocatedValue],
    ) -> list[JsonValue]:
        """Return each value as it is sent; null for one that can't be, and is a mistake.

        Nothing is left out, so that a `zip` with a wrong value still has its length.
        """
        typed: list[JsonValue] = []
        problems: dict[tuple[str, str], list[str]] = {}
        for where, raw in values:
            try:
                typed.append(self._baseline.type_value(path, kind, raw.value))
            except ValueError as error:
                # One message for all values of a place that have the same problem.
                problems.setdefault((where, str(error)), []).append(repr(raw.value))
                typed.append(None)
        for (where, problem), wrong in problems.items():
            distinct = list(dict.fromkeys(wrong))
            named = ", ".join(distinct[:_NAMED_VALUES])
            more = len(distinct) - _NAMED_VALUES
            if more > 0:
                named += f" and {more} more"
            self.mistakes.append((where, f"{named}: {problem}"))
        return typed


def _kind_of_group(group: Mapping[str, Any]) -> str:
    kinds = ", ".join(KINDS)
    if len(group) != 1:
        raise ValueError(
            f"must be of one kind, one of {kinds}; write a group for each kind"
        )
    kind = str(next(iter(group)))
    if kind not in KINDS:
        suggestion = did_you_mean(kind, KINDS)
        raise ValueError(f"unknown kind {kind!r}; there are {kinds}{suggestion}")
    return kind
