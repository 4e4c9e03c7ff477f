"""A sweep of the config becomes points: groups multiplied, equal points joined, constraints applied."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, product
from typing import NamedTuple, TypeAlias

from pydantic import ValidationError

from pixmill.conditions import parse
from pixmill.errors import ConfigError
from pixmill.request.canonical_json import JsonValue
from pixmill.request.model import Request, Sweep
from pixmill.request.registry import requested_operation, resolve_parameters
from pixmill.request.sweep.axes import MAX_POINTS
from pixmill.request.sweep.baseline import baseline_of
from pixmill.request.sweep.groups import AxisSetting, Group, GroupReader
from pixmill.request.sweep.points import (
    Axis,
    AxisKind,
    AxisValue,
    ConditionCount,
    Point,
    RowCondition,
    SweepPoints,
    axis_column,
    is_mixed,
    point_id,
    text_of,
)
from pixmill.validation_messages import describe_first_problem

Mistakes: TypeAlias = list[tuple[str, str]]
"""Pairs of a path in the config, such as `sweep.groups.0.grid.scale`, and a message."""


class ReadSweep(NamedTuple):
    """What became of a sweep that was read."""

    points: SweepPoints | None
    """`None` where it can't be used."""

    mistakes: Mistakes


_Combination: TypeAlias = tuple[AxisSetting, ...]
"""A setting for each axis of the sweep."""


def make_points(
    sweep: Sweep,
    request: Request,
) -> SweepPoints:
    """Return the axes, the points that remain, and the conditions that wait for rows.

    Raises ConfigError with every mistake; `read_sweep` returns them.
    """
    points, mistakes = _expand(sweep, request)
    if points is None:
        listed = "\n".join(f"  {where}: {message}" for where, message in mistakes)
        raise ConfigError(f"the sweep can't be used:\n{listed}")
    return points


def read_sweep(
    sweep: Sweep,
    request: Request,
) -> ReadSweep:
    """Return the points of `sweep`, or what is wrong with it.

    Neither where `request.params` are wrong themselves: what an axis may be depends on them.
    """
    try:
        return _expand(sweep, request)
    except ValidationError:
        return ReadSweep(None, [])


def _expand(
    sweep: Sweep,
    request: Request,
) -> ReadSweep:
    """Return the points, or every mistake that could be found. Raises ValidationError where
    `request.params` are wrong.
    """
    reader = GroupReader(baseline_of(request, _swept_req_keys(sweep)))
    groups = [
        reader.read(group, f"sweep.groups.{at}")
        for at, group in enumerate(sweep.groups)
    ]
    conditions, mistakes = _read_conditions(sweep)
    mistakes = reader.mistakes + mistakes
    # Before they are built: each group is within the limit, their product may not be.
    if not mistakes and math.prod(len(group.rows) for group in groups) > MAX_POINTS:
        mistakes = [("sweep.groups", f"make more than {MAX_POINTS:,} points")]
    if mistakes:
        return ReadSweep(None, mistakes)

    kinds: dict[str, AxisKind] = {}
    for group in groups:
        kinds |= group.axes
    combinations = _multiply(groups)
    if conditions:
        labels = _labels(combinations.values())
        conditions = [
            each._replace(condition=each.condition.with_labels(labels))
            for each in conditions
        ]
    # What reads a column of the input as well can only be decided with a row.
    of_points = [each for each in conditions if each.condition.names <= kinds.keys()]
    of_rows = [each for each in conditions if each not in of_points]
    kept, counts, mistakes = _constrain(combinations, of_points, kinds)
    if not kept and not mistakes:
        count = f"{len(combinations):,}"
        message = f"no point remains: exclude and only remove all {count}"
        mistakes.append(("sweep", message))
    points = SweepPoints(
        axes=_axes(kinds, kept),
        points=tuple(
            Point(
                id=id_,
                values={setting.path: setting.value for setting in settings},
                labels={setting.path: setting.label for setting in settings},
            )
            for id_, settings in kept.items()
        ),
        row_conditions=tuple(of_rows),
        condition_counts=tuple(counts),
    )
    mistakes += _find_unsendable(points, request)
    if mistakes:
        return ReadSweep(None, mistakes)
    return ReadSweep(points, [])


def _swept_req_keys(sweep: Sweep) -> Iterable[str]:
    """Yield the operations that groups name, however they spell it; wrong spellings are ignored here.

    They are needed before the groups are read, as they decide what the other axes may be.
    """
    for group in sweep.groups:
        for body in group.values():
            for points in body if isinstance(body, list | tuple) else [body]:
                if isinstance(points, Mapping):
                    yield from _texts_in(points.get("req_key"))


def _texts_in(spec: object) -> Iterable[str]:
    """Yield the texts of a value, a list of them, `{label: …, value: …}` and `{choice: […]}`."""
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, list | tuple):
        for item in spec:
            yield from _texts_in(item)
    elif isinstance(spec, Mapping):
        for name in ("value", "choice"):
            yield from _texts_in(spec.get(name))


def _read_conditions(sweep: Sweep) -> tuple[list[RowCondition], Mistakes]:
    conditions: list[RowCondition] = []
    mistakes: Mistakes = []
    for name, texts, keep_when in (
        ("exclude", sweep.exclude, False),
        ("only", sweep.only, True),
    ):
        for at, text in enumerate(texts):
            where = f"sweep.{name}.{at}"
            try:
                conditions.append(RowCondition(parse(text), keep_when, where))
            except ValueError as error:
                mistakes.append((where, str(error)))
    return conditions, mistakes


def _multiply(groups: Sequence[Group]) -> dict[str, _Combination]:
    """Return every combination of the groups' rows by point id, the first group slowest.

    Equal ones, of axes that are written twice or are at their defaults, are there once.
    """
    combinations: dict[str, _Combination] = {}
    for rows in product(*(group.rows for group in groups)):
        settings = tuple(chain.from_iterable(rows))
        differing = [(each.path, each.text) for each in settings if each.differs]
        combinations.setdefault(point_id(differing), settings)
    return combinations


def _constrain(
    combinations: dict[str, _Combination],
    conditions: Sequence[RowCondition],
    paths: Iterable[str],
) -> tuple[dict[str, _Combination], list[ConditionCount], Mistakes]:
    """Return the combinations that no condition removes, and how often each condition holds."""
    counts: list[ConditionCount] = []
    if not conditions:
        return combinations, counts, []
    # NumPy takes long to import, and most sweeps have no conditions.
    import numpy as np

    columns = {}
    for at, path in enumerate(paths):
        values = [settings[at].value for settings in combinations.values()]
        columns[path] = axis_column(values)
    stays = np.ones(len(combinations), dtype=np.bool_)
    mistakes: Mistakes = []
    for condition, keep_when, where in conditions:
        try:
            holds = condition.mask(columns, len(combinations))
        except ValueError as error:
            mistakes.append((where, str(error)))
            continue
        stays &= holds == keep_when
        matched = int(holds.sum())
        counts.append(
            ConditionCount(where, condition.text, matched, len(combinations), "points")
        )
    kept = [
        pair for pair, keep in zip(combinations.items(), stays, strict=True) if keep
    ]
    return dict(kept), counts, mistakes


def _labels(combinations: Iterable[_Combination]) -> dict[str, dict[str, JsonValue]]:
    """Return by axis the value of each label, as conditions compare it; a text that is a value itself means that."""
    values: dict[str, list[JsonValue]] = {}
    labelled: dict[str, dict[str, JsonValue]] = {}
    for setting in chain.from_iterable(combinations):
        values.setdefault(setting.path, []).append(setting.value)
        labelled.setdefault(setting.path, {})[setting.label] = setting.value
    found: dict[str, dict[str, JsonValue]] = {}
    for path, labels in labelled.items():
        texts = {text_of(value) for value in values[path]}
        as_texts = is_mixed(values[path])
        found[path] = {
            label: text_of(value) if as_texts else value
            for label, value in labels.items()
            if label not in texts
        }
    return found


def _axes(
    kinds: Mapping[str, AxisKind],
    combinations: Mapping[str, _Combination],
) -> tuple[Axis, ...]:
    """Return the axes with those of their values that remain."""
    values: dict[str, dict[str, AxisValue]] = {path: {} for path in kinds}
    for setting in chain.from_iterable(combinations.values()):
        value = AxisValue(setting.label, setting.value)
        values[setting.path].setdefault(setting.text, value)
    return tuple(
        Axis(path, kind, tuple(values[path].values())) for path, kind in kinds.items()
    )


def _find_unsendable(
    points: SweepPoints,
    request: Request,
) -> Mistakes:
    """Check the points of a sweep over `req_key` as a whole.

    Each axis was checked by the operation of the config, but what a field may be depends on
    the one that the point names.
    """
    if not any(axis.kind == "req_key" for axis in points.axes):
        return []
    mistakes: dict[str, str] = {}
    for point in points.points:
        req_key = str(point.values["req_key"])
        if req_key in mistakes:
            # One example of each: a wrong range of one axis makes thousands.
            continue
        try:
            sent = points.request_at(point, request)
            resolve_parameters(requested_operation(sent), sent.params)
        except KeyError as error:
            reason = f"it has no {error}"
        except ValidationError as error:
            path, message = describe_first_problem(error)
            reason = f"{path}: {message}"
        else:
            continue
        values = dict(point.values)
        mistakes[req_key] = (
            f"the point {values} can't be sent with req_key {req_key}: {reason}"
        )
    return [("sweep.groups", message) for message in mistakes.values()]
