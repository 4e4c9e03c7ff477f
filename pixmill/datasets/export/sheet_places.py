"""Where jobs are on contact sheets: which dimension goes across, which down, and which makes sheets of their own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pixmill.errors import UserError
from pixmill.request.registry import did_you_mean

ROW = "row"
"""The dimension of the table's rows, beside the axes of the sweep."""

REPLICATE = "replicate"

POINT = "point"
"""What tells jobs from each other whose axes say the same: datasets that describe no sweep may have such."""


class Dimension(NamedTuple):
    """An axis of the sweep, or the rows of the table."""

    name: str
    labels: Mapping[str, str]
    """What people call each value, by its text, in their order: those that were chosen."""


class ShownJob(NamedTuple):
    """A job whose picture is to be drawn."""

    at: Mapping[str, str]
    """Its value in each dimension: of the rows its number, as two may have the same key."""

    row_key: str

    file: str | None
    """The file of its picture in the store."""

    instead: str
    """What is written where it has none."""


def choose_sides(
    jobs: Sequence[ShownJob],
    dimensions: Sequence[Dimension],
    wanted: tuple[str | None, str | None],
) -> tuple[Dimension | None, Dimension | None]:
    """Return what goes across and what down, None where nothing is left. Raises UserError where that
    makes no sense.

    `wanted` names an axis, by its path or the end of it, or `row`.
    """
    # People call an axis by the end of its path.
    known = {dimension.name.rpartition(".")[2]: dimension for dimension in dimensions}
    known |= {dimension.name: dimension for dimension in dimensions}
    found: list[Dimension | None] = []
    for option, name in zip(("--across", "--down"), wanted, strict=True):
        if name is not None and name not in known:
            raise UserError(
                f"{option}: {name!r} is not an axis with several values here"
                f"{did_you_mean(name, list(known))}",
                hint="choose from "
                f"{', '.join(dimension.name for dimension in dimensions) or 'more rows'}",
            )
        found.append(known[name] if name is not None else None)
    across, down = found
    if across is not None and across == down:
        raise UserError("--across and --down are the same axis")
    left = [dimension for dimension in dimensions if dimension not in found]
    if across is None and left:
        crossed = [
            dimension
            for dimension in left
            if down is None or _are_crossed(jobs, dimension, down)
        ]
        across = _find_finest(jobs, crossed or left[:1])
        left.remove(across)
    if down is None and across:
        crossed = [
            dimension for dimension in left if _are_crossed(jobs, across, dimension)
        ]
        # A grid with gaps is one sheet; without a second side each value would be one, of a single line.
        new = [
            dimension for dimension in left if not _determine(jobs, [across], dimension)
        ]
        down = next(iter(crossed or new), None)
    return across, down


def find_others(
    jobs: Sequence[ShownJob],
    dimensions: Sequence[Dimension],
    sides: Sequence[Dimension],
) -> list[Dimension]:
    """Return the dimensions that make a sheet of each of their values: those whose value follows from the
    sides neither alone nor together with the others, so that no two jobs have one place.
    """
    if not sides:
        return []
    chosen = list(sides)
    points = {job.at[POINT]: job.at[POINT] for job in jobs}
    for dimension in (*dimensions, Dimension(POINT, points)):
        if dimension not in chosen and not _determine(jobs, chosen, dimension):
            chosen.append(dimension)
    return chosen[len(sides) :]


def divide_into_sheets(
    jobs: Sequence[ShownJob], others: Sequence[Dimension]
) -> list[tuple[str, list[ShownJob]]]:
    """Return the title of each sheet, the labels of what is neither across nor down, with its jobs."""
    # By values: two of them may have the same label.
    sheets: dict[tuple[str, ...], list[ShownJob]] = {}
    for job in jobs:
        values = tuple(job.at[dimension.name] for dimension in others)
        sheets.setdefault(values, []).append(job)
    titled = []
    for values, shown in sheets.items():
        named = zip(others, values, strict=True)
        labels = [dimension.labels[value] for dimension, value in named]
        titled.append((" · ".join(labels), shown))
    return titled


def _find_finest(
    jobs: Sequence[ShownJob], dimensions: Sequence[Dimension]
) -> Dimension:
    """Return the first dimension, or the axis in step with it that says its value and more."""
    finest = dimensions[0]
    for other in dimensions[1:]:
        is_axis = other.name not in (ROW, REPLICATE)
        says_more = _determine(jobs, [other], finest) and not _determine(
            jobs, [finest], other
        )
        # Rows say all where each has one picture, but make no short line.
        if is_axis and says_more:
            finest = other
    return finest


def _determine(
    jobs: Sequence[ShownJob], known: Sequence[Dimension], other: Dimension
) -> bool:
    """Whether the values of `known` say that of `other`, for each job."""
    values: dict[tuple[str, ...], str] = {}
    for job in jobs:
        place = tuple(job.at[dimension.name] for dimension in known)
        value = job.at[other.name]
        if values.setdefault(place, value) != value:
            return False
    return True


def _are_crossed(jobs: Sequence[ShownJob], one: Dimension, other: Dimension) -> bool:
    """Whether most combinations of two dimensions occur, so that they make a full grid. The report's grid
    chooses its sides by the same rule (`crossed` in dimensions.js).
    """
    pairs = {(job.at[one.name], job.at[other.name]) for job in jobs}
    return 2 * len(pairs) > len(one.labels) * len(other.labels)
