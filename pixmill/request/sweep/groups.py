"""The groups of a sweep: each read into rows of settings, with every mistake and its place in the config."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from pixmill.request.canonical_json import JsonValue, canonical_json
from pixmill.request.registry import did_you_mean
from pixmill.request.sweep.axes import RawValue, bounded, given, values_of, whole
from pixmill.request.sweep.baseline import BaselineRequest
from pixmill.request.sweep.points import AxisKind, column_name
from pixmill.request.sweep.random_draws import draws_of

KINDS = ("grid", "zip", "list", "random")


class AxisSetting(NamedTuple):
    """One axis at one value. `text` is the value's canonical JSON, `differs` whether a plain request has another."""

    path: str
    value: JsonValue
    label: str
    text: str
    differs: bool


_Columns: TypeAlias = dict[str, list[AxisSetting]]
"""The settings of each axis, all of one length but for a grid's."""


class Group(NamedTuple):
    """The axes of one group, and its rows: a setting per axis."""

    axes: Mapping[str, AxisKind]
    rows: Sequence[tuple[AxisSetting, ...]]


class LocatedValue(NamedTuple):
    """A value and where it stands in the config."""

    where: str
    given: RawValue


class GroupReader:
    """Reads groups one after the other, and gathers what is wrong with them in `mistakes`."""

    def __init__(self, plain: BaselineRequest) -> None:
        self.mistakes: list[tuple[str, str]] = []
        self._plain = plain
        self._kinds: dict[str, AxisKind] = {}
        self._places: dict[str, str] = {}

    def read(self, group: Mapping[str, Any], where: str) -> Group:
        """Return the group that stands at `where`; what is wrong with it is missing there, and is a mistake."""
        place = where
        try:
            kind = _kind_of_group(group)
            place = f"{where}.{kind}"
            columns, rows = self._read(kind, group[kind], place)
            if not columns:
                raise ValueError("has no axis")  # noqa: TRY301 - gathered with the others
        except ValueError as error:
            self.mistakes.append((place, str(error)))
            return Group({}, ())
        return Group(
            {path: self._kinds[path] for path in columns if path in self._kinds},
            list(rows),
        )

    def _read(
        self, kind: str, body: Any, where: str
    ) -> tuple[_Columns, Iterator[tuple[AxisSetting, ...]]]:
        """Return the settings of each axis, and how the rows go through them."""
        if kind == "list":
            columns = self._read_list(body, where)
        elif not isinstance(body, Mapping):
            raise ValueError("must map axes to their values")
        elif kind == "random":
            columns = self._read_random(body, where)
        else:
            columns = {
                path: self._axis(path, f"{where}.{path}", values_of, spec)
                for path, spec in body.items()
            }
        if kind == "grid":
            bounded(math.prod(map(len, columns.values())))
            return columns, product(*columns.values())
        if kind == "zip":
            _check_lengths(columns)
        return columns, zip(*columns.values(), strict=False)

    def _read_random(self, body: Mapping[str, Any], where: str) -> _Columns:
        n = bounded(whole(body.get("n"), "n", 1))
        seed = whole(body.get("seed", 0), "seed", 0)
        columns = {}
        for path in (key for key in body if key not in ("n", "seed")):
            columns[path] = self._axis(
                path, f"{where}.{path}", draws_of, body[path], path, seed, n
            )[:n]
        return columns

    def _read_list(self, items: Any, where: str) -> _Columns:
        if not isinstance(items, list | tuple) or not all(
            isinstance(item, Mapping) for item in items
        ):
            raise ValueError(
                "must be a list of points such as {scale: 3, ddim_steps: 25}"
            )
        columns: _Columns = {}
        for path in dict.fromkeys(path for item in items for path in item):
            first = next(at for at, item in enumerate(items) if path in item)
            kind = self._new_axis(path, f"{where}.{first}.{path}")
            columns[path] = []
            if kind is not None:
                columns[path] = self._settings(
                    path, kind, list(self._listed(path, items, where))
                )
        return columns

    def _listed(
        self, path: str, items: Sequence[Mapping[str, Any]], where: str
    ) -> Iterator[LocatedValue]:
        defaults = self._plain.defaults
        for at, item in enumerate(items):
            place = f"{where}.{at}.{path}"
            try:
                if path not in item and path not in defaults:
                    raise ValueError("is missing, and has no default")  # noqa: TRY301 - gathered with the others
                yield LocatedValue(
                    place, given(item[path] if path in item else defaults[path])
                )
            except ValueError as error:
                self.mistakes.append((place, str(error)))

    def _axis(
        self, path: Any, where: str, values: Callable[..., list[RawValue]], *spec: Any
    ) -> list[AxisSetting]:
        """Return the settings of a new axis, whose values are `values(*spec)`; none after a mistake."""
        kind = self._new_axis(path, where)
        try:
            items = [LocatedValue(where, value) for value in values(*spec)]
        except ValueError as error:
            self.mistakes.append((where, str(error)))
            return []
        return [] if kind is None else self._settings(path, kind, items)

    def _new_axis(self, path: Any, where: str) -> AxisKind | None:
        """Return the kind of an axis that is not there yet; None where there can be no such axis."""
        try:
            self._check_new(path)
            self._kinds[path] = self._plain.kind_of(path)
        except ValueError as error:
            self.mistakes.append((where, str(error)))
            return None
        self._places[path] = where
        return self._kinds[path]

    def _check_new(self, path: Any) -> None:
        if not isinstance(path, str):
            raise ValueError("must be the name of an axis")  # noqa: TRY004 - a mistake of the config
        for other, place in self._places.items():
            if path == other:
                raise ValueError(f"is swept already in {place}")
            if path.startswith(other + ".") or other.startswith(path + "."):
                raise ValueError(f"overlaps {other} in {place}")
            if column_name(path) == column_name(other):
                raise ValueError(
                    f"would share the column {column_name(path)} with {other} in {place}"
                )

    def _settings(
        self, path: str, kind: AxisKind, items: Sequence[LocatedValue]
    ) -> list[AxisSetting]:
        """Return a setting per value that fits; equal values share the first label that one of them has."""
        typed = [
            (value, canonical_json(value), label)
            for value, label in self._typed(path, kind, items)
        ]
        labels: dict[str, str] = {}
        for _, text, label in typed:
            if label is not None:
                labels.setdefault(text, label)
        default = self._plain.default_text(path)
        known: dict[str, AxisSetting] = {}
        for value, text, _ in typed:
            if text not in known:
                shown = value if isinstance(value, str) else text
                known[text] = AxisSetting(
                    path, value, labels.get(text, shown), text, text != default
                )
        return [known[text] for _, text, _ in typed]

    def _typed(
        self, path: str, kind: AxisKind, items: Sequence[LocatedValue]
    ) -> list[tuple[JsonValue, str | None]]:
        typed = []
        problems: dict[tuple[str, str], list[str]] = {}
        for where, (value, label) in items:
            try:
                typed.append((self._plain.typed(path, kind, value), label))
            except ValueError as error:
                problems.setdefault((where, str(error)), []).append(repr(value))
                typed.append((None, label))
        for (where, problem), values in problems.items():
            self.mistakes.append((where, f"{_listed_values(values)}: {problem}"))
        return typed


def _kind_of_group(group: Mapping[str, Any]) -> str:
    if len(group) != 1:
        raise ValueError(
            f"needs one kind, one of {', '.join(KINDS)}; more kinds are more groups"
        )
    kind = str(next(iter(group)))
    if kind not in KINDS:
        raise ValueError(
            f"unknown kind {kind!r}; there are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
        )
    return kind


def _check_lengths(columns: _Columns) -> None:
    lengths = {path: len(settings) for path, settings in columns.items() if settings}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise ValueError(f"all axes need equally many values; {listed}")


def _listed_values(values: Sequence[str], most: int = 5) -> str:
    distinct = list(dict.fromkeys(values))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more
