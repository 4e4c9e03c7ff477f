"""A sweep of the config becomes points: groups multiplied, equal points joined, constraints applied."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, product
from typing import Any

from pydantic import ValidationError

from pixmill.conditions import parse
from pixmill.errors import ConfigError
from pixmill.request.model import Request, Sweep
from pixmill.request.registry import resolve_parameters
from pixmill.request.sweep.axes import MAX_POINTS
from pixmill.request.sweep.baseline import plain_request
from pixmill.request.sweep.groups import AxisSetting, Group, GroupReader
from pixmill.request.sweep.points import (
    Axis,
    AxisKind,
    AxisValue,
    Point,
    RowCondition,
    SweepPoints,
    axis_column,
    point_id,
)

Mistakes = list[tuple[str, str]]
_Combination = tuple[AxisSetting, ...]


def make_points(sweep: Sweep, request: Request) -> SweepPoints:
    """Return the axes, the points that remain, and the conditions that wait for rows.

    Raises ConfigError with every mistake; `sweep_mistakes` lists them.
    """
    points, mistakes = _made(sweep, request)
    if points is None:
        listed = "\n".join(f"  {where}: {message}" for where, message in mistakes)
        raise ConfigError(f"the sweep can't be used:\n{listed}")
    return points


def sweep_mistakes(sweep: Sweep, request: Request) -> Mistakes:
    """Return what is wrong with `sweep`: (config path such as `sweep.groups.0.grid.scale`, message).

    Nothing where `request.params` are wrong themselves: what an axis may be depends on them.
    """
    try:
        return _made(sweep, request)[1]
    except ValidationError:
        return []


def _made(sweep: Sweep, request: Request) -> tuple[SweepPoints | None, Mistakes]:
    reader = GroupReader(plain_request(request))
    groups = [
        reader.read(group, f"sweep.groups.{at}")
        for at, group in enumerate(sweep.groups)
    ]
    conditions, mistakes = _conditions(sweep)
    mistakes = reader.mistakes + mistakes
    if not mistakes and math.prod(len(group.rows) for group in groups) > MAX_POINTS:
        mistakes.append(("sweep.groups", f"make more than {MAX_POINTS:,} points"))
    return (None, mistakes) if mistakes else _multiplied(groups, conditions, request)


def _conditions(sweep: Sweep) -> tuple[list[RowCondition], Mistakes]:
    found: list[RowCondition] = []
    mistakes: Mistakes = []
    for name, texts, keep_when in (
        ("exclude", sweep.exclude, False),
        ("only", sweep.only, True),
    ):
        for at, text in enumerate(texts):
            where = f"sweep.{name}.{at}"
            try:
                found.append(RowCondition(parse(text), keep_when, where))
            except ValueError as error:
                mistakes.append((where, str(error)))
    return found, mistakes


def _multiplied(
    groups: Sequence[Group], conditions: Sequence[RowCondition], request: Request
) -> tuple[SweepPoints | None, Mistakes]:
    kinds = {path: kind for group in groups for path, kind in group.axes.items()}
    combinations = _combinations(groups)
    of_points = [
        condition
        for condition in conditions
        if condition.condition.names <= kinds.keys()
    ]
    kept, mistakes = _constrained(combinations, of_points, kinds)
    if not kept and not mistakes:
        mistakes.append(
            (
                "sweep",
                f"no point remains: exclude and only remove all {len(combinations):,}",
            )
        )
    of_rows = tuple(condition for condition in conditions if condition not in of_points)
    points = SweepPoints(_axes(kinds, kept.values()), tuple(_points(kept)), of_rows)
    mistakes += _unfit(points, request)
    return (None, mistakes) if mistakes else (points, [])


def _combinations(groups: Sequence[Group]) -> dict[str, _Combination]:
    """Return every combination of the groups' rows by point id, the first group slowest; equal ones once."""
    found: dict[str, _Combination] = {}
    for rows in product(*(group.rows for group in groups)):
        combination = tuple(chain.from_iterable(rows))
        found.setdefault(
            point_id([(each.path, each.text) for each in combination if each.differs]),
            combination,
        )
    return found


def _constrained(
    combinations: dict[str, _Combination],
    conditions: Sequence[RowCondition],
    paths: Iterable[str],
) -> tuple[dict[str, _Combination], Mistakes]:
    if not conditions:
        return combinations, []
    import numpy as np

    keep = np.ones(len(combinations), dtype=np.bool_)
    mistakes: Mistakes = []
    every = combinations.values()
    columns = {
        path: axis_column([row[at].value for row in every])
        for at, path in enumerate(paths)
    }
    for condition, keep_when, where in conditions:
        try:
            keep &= condition.mask(columns, len(combinations)) == keep_when
        except ValueError as error:
            mistakes.append((where, str(error)))
    return {
        id_: row
        for (id_, row), stays in zip(combinations.items(), keep, strict=True)
        if stays
    }, mistakes


def _axes(
    kinds: Mapping[str, AxisKind], combinations: Iterable[_Combination]
) -> tuple[Axis, ...]:
    values: dict[str, dict[str, AxisValue]] = {path: {} for path in kinds}
    for setting in chain.from_iterable(combinations):
        values[setting.path].setdefault(
            setting.text, AxisValue(setting.label, setting.value)
        )
    return tuple(
        Axis(path, kind, tuple(values[path].values())) for path, kind in kinds.items()
    )


def _points(combinations: Mapping[str, _Combination]) -> Iterable[Point]:
    for id_, combination in combinations.items():
        values = {setting.path: setting.value for setting in combination}
        yield Point(
            id_, values, {setting.path: setting.label for setting in combination}
        )


def _unfit(points: SweepPoints, request: Request) -> Mistakes:
    """Check the points of a sweep over `req_key` whole: what a field may be depends on the operation."""
    found: dict[str, Any] = {}
    if any(axis.kind == "req_key" for axis in points.axes):
        for point in points.points:
            try:
                sent = points.request_at(point, request)
                resolve_parameters(sent.req_key, sent.params)
            except (ValidationError, KeyError) as error:
                found.setdefault(point.values["req_key"], (dict(point.values), error))
    return [
        (
            "sweep.groups",
            f"the point {values} can't be sent with req_key {req_key}: {_reason(error)}",
        )
        for req_key, (values, error) in found.items()
    ]


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"it has no {error}"
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
