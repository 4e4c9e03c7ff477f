"""Pictures for a paper: contact sheets as one PNG or as the pages of a PDF, with the axes of a sweep as labels."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pixmill.config.model import Config
from pixmill.datasets.contact_sheet import Figure, draw_contact_sheet
from pixmill.datasets.export.samples import Exported
from pixmill.datasets.export.selection import Selection
from pixmill.datasets.report.axis_values import find_axis_values
from pixmill.datasets.report.columns import columns_of
from pixmill.errors import UserError
from pixmill.request.registry import did_you_mean
from pixmill.storage import open_store
from pixmill.storage.atomic_write import atomic_write
from pixmill.tables import as_text

ROW = "row"
"""The dimension of the table's rows, beside the axes of the sweep."""

_REPLICATE = "replicate"

_POINT = "point"
"""What tells jobs from each other whose axes say the same: datasets that describe no sweep may have such."""

_FURTHER = "further_images"
_INVALID = "invalid"

_SIDE = 320
"""Pixels of a picture: at 200 to an inch four of them fill the width of a page."""

_PER_INCH = 200
_MOST_PICTURES = 5_000
_MOST_COLUMNS = 6
"""In one line of pictures that no axis orders."""

_BATCH_ROWS = 1_000


class _Dimension(NamedTuple):
    """An axis of the sweep, or the rows of the table."""

    name: str
    labels: Mapping[str, str]
    """What people call each value, by its text, in their order: those that were chosen."""


class _Shown(NamedTuple):
    """A job whose picture is to be drawn."""

    at: Mapping[str, str]
    """Its value in each dimension: of the rows its number, as two may have the same key."""

    row_key: str

    file: str | None
    """The file of its picture in the store."""

    instead: str
    """What is written where it has none."""


def write_contact_sheets(
    dataset: pq.ParquetFile,
    selection: Selection,
    config: Config,
    out: Path,
    sides: tuple[str | None, str | None] = (None, None),
) -> Exported:
    """Draw the selected jobs to `out`, a new PNG or PDF.

    `sides` name what goes across and down, an axis or `row`; without them the first two axes do. What these
    don't say is a page of its own for each of its values, so that each job is drawn once. Left out, and
    counted in the result, are the images of a job behind its first one, and of a sweep the invalid rows,
    which have no place in it. Raises UserError where that makes no sense, where there are several pages
    for a PNG, or nothing to draw.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".pdf"):
        raise UserError(
            f"{out} is neither a .png nor a .pdf", hint="name such a file with --out"
        )
    jobs, dimensions, left_out = _read(dataset, selection, config)
    across: _Dimension | None = None
    down: _Dimension | None = None
    # Rows alone are no grid: they are as many lines of pictures as it takes.
    if [dimension.name for dimension in dimensions] != [ROW] or any(sides):
        across, down = _choose_sides(jobs, dimensions, sides)
    others = _find_others(jobs, dimensions, [side for side in (across, down) if side])
    sheets = _divide(jobs, others)
    if len(sheets) > 1 and kind == ".png":
        names = ", ".join(dimension.name for dimension in others)
        raise UserError(
            f"{len(sheets):,} sheets, one for each value of {names}, are more than a PNG can hold",
            hint="name a .pdf, or choose one with --where, such as --where \"row_key == 'cat-01'\"",
        )
    store = open_store(config)
    store.prefetch(job.file for job in jobs)
    pages = []
    for title, shown in sheets:
        try:
            pages.append(_draw(shown, across, down, title, store.file))
        except ValueError as error:
            raise UserError(
                str(error), hint="choose fewer with --where or --picks"
            ) from None
    with atomic_write(out) as path:
        if kind == ".png":
            pages[0].save(path, "PNG", optimize=True)
        else:
            pages[0].save(
                path,
                "PDF",
                save_all=True,
                append_images=pages[1:],
                resolution=_PER_INCH,
                title=config.name,
            )
    return Exported(len(jobs), {}, left_out)


def _read(
    dataset: pq.ParquetFile, selection: Selection, config: Config
) -> tuple[list[_Shown], list[_Dimension], Counter[str]]:
    """Return the selected jobs, the dimensions in which they have several values, and how much is not drawn."""
    columns = columns_of(dataset.schema_arrow, config)
    axes = find_axis_values(dataset, columns)
    jobs: list[_Shown] = []
    left_out: Counter[str] = Counter()
    for picked in selection.batches(dataset, _BATCH_ROWS):
        # Of several images of a job the first speaks for it.
        rows = picked.rows.filter(pa.array(picked.numbers == 0))
        further = picked.rows.num_rows - rows.num_rows
        if further:
            left_out[_FURTHER] += further
        texts = {axis.path: _texts(rows, axis.column) for axis in axes}
        texts[ROW] = _texts(rows, columns.ours["row_number"])
        texts[_REPLICATE] = _texts(rows, columns.ours["replicate"])
        texts[_POINT] = _texts(rows, columns.ours["point_id"])
        keys = _texts(rows, columns.ours["row_key"])
        files = _texts(rows, columns.ours["file_name"])
        codes = _texts(rows, columns.ours["error_code"])
        statuses = _texts(rows, columns.ours["status"])
        for at, key in enumerate(keys):
            # As in the report's grid: at no value of any axis there is no place for it.
            if axes and statuses[at] == _INVALID:
                left_out[_INVALID] += 1
                continue
            values = {name: of_name[at] or "" for name, of_name in texts.items()}
            instead = codes[at] or "no image"
            jobs.append(_Shown(values, key or "", files[at], instead))
        if len(jobs) > _MOST_PICTURES:
            raise UserError(
                f"more than {_MOST_PICTURES:,} pictures are too many for contact sheets",
                hint="choose fewer with --where or --picks",
            )
    if not jobs:
        raise UserError("no row was chosen, so there is nothing to draw")
    dimensions = []
    for axis in axes:
        here = {job.at[axis.path] for job in jobs}
        labels = {
            value.text or "": value.label
            for value in axis.values
            if (value.text or "") in here
        }
        # A null that no description knows is a value, too.
        unknown = here - labels.keys()
        labels |= {text: text or "–" for text in sorted(unknown)}
        dimensions.append(_Dimension(axis.path, labels))
    dimensions.append(_Dimension(ROW, {job.at[ROW]: job.row_key for job in jobs}))
    replicates = {job.at[_REPLICATE]: job.at[_REPLICATE] for job in jobs}
    dimensions.append(_Dimension(_REPLICATE, replicates))
    several = [dimension for dimension in dimensions if len(dimension.labels) > 1]
    return jobs, several, left_out


def _texts(rows: pa.RecordBatch, column: str) -> list[Any]:
    return as_text(rows.column(column)).to_pylist()  # type: ignore[no-any-return]


def _choose_sides(
    jobs: Sequence[_Shown],
    dimensions: Sequence[_Dimension],
    wanted: tuple[str | None, str | None],
) -> tuple[_Dimension | None, _Dimension | None]:
    """Return what goes across and what down, None where nothing is left."""
    # People call an axis by the end of its path.
    known = {dimension.name.rpartition(".")[2]: dimension for dimension in dimensions}
    known |= {dimension.name: dimension for dimension in dimensions}
    found: list[_Dimension | None] = []
    for option, name in zip(("--across", "--down"), wanted, strict=True):
        if name is not None and name not in known:
            raise UserError(
                f"{option}: {name!r} is not an axis with several values here"
                f"{did_you_mean(name, list(known))}",
                hint=f"choose from {', '.join(dimension.name for dimension in dimensions) or 'more rows'}",
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


def _find_finest(
    jobs: Sequence[_Shown], dimensions: Sequence[_Dimension]
) -> _Dimension:
    """Return the first dimension, or the axis in step with it that says its value and more."""
    finest = dimensions[0]
    for other in dimensions[1:]:
        is_axis = other.name not in (ROW, _REPLICATE)
        says_more = _determine(jobs, [other], finest) and not _determine(
            jobs, [finest], other
        )
        # Rows say all where each has one picture, but make no short line.
        if is_axis and says_more:
            finest = other
    return finest


def _find_others(
    jobs: Sequence[_Shown],
    dimensions: Sequence[_Dimension],
    sides: Sequence[_Dimension],
) -> list[_Dimension]:
    """Return the dimensions that make a sheet of each of their values: those whose value follows from the
    sides neither alone nor together with the others, so that no two jobs have one place.
    """
    if not sides:
        return []
    chosen = list(sides)
    points = {job.at[_POINT]: job.at[_POINT] for job in jobs}
    for dimension in (*dimensions, _Dimension(_POINT, points)):
        if dimension not in chosen and not _determine(jobs, chosen, dimension):
            chosen.append(dimension)
    return chosen[len(sides) :]


def _determine(
    jobs: Sequence[_Shown], known: Sequence[_Dimension], other: _Dimension
) -> bool:
    """Whether the values of `known` say that of `other`, for each job."""
    values: dict[tuple[str, ...], str] = {}
    for job in jobs:
        place = tuple(job.at[dimension.name] for dimension in known)
        value = job.at[other.name]
        if values.setdefault(place, value) != value:
            return False
    return True


def _are_crossed(jobs: Sequence[_Shown], one: _Dimension, other: _Dimension) -> bool:
    """Whether most combinations of two dimensions occur, so that they make a full grid. The report's grid
    chooses its sides by the same rule (`crossed` in dimensions.js).
    """
    pairs = {(job.at[one.name], job.at[other.name]) for job in jobs}
    return 2 * len(pairs) > len(one.labels) * len(other.labels)


def _divide(
    jobs: Sequence[_Shown], others: Sequence[_Dimension]
) -> list[tuple[str, list[_Shown]]]:
    """Return the title of each sheet, the labels of what is neither across nor down, with its jobs."""
    # By values: two of them may have the same label.
    sheets: dict[tuple[str, ...], list[_Shown]] = {}
    for job in jobs:
        values = tuple(job.at[dimension.name] for dimension in others)
        sheets.setdefault(values, []).append(job)
    titled = []
    for values, shown in sheets.items():
        named = zip(others, values, strict=True)
        labels = [dimension.labels[value] for dimension, value in named]
        titled.append((" · ".join(labels), shown))
    return titled


def _draw(
    jobs: Sequence[_Shown],
    across: _Dimension | None,
    down: _Dimension | None,
    title: str,
    file_of: Any,
) -> Image.Image:
    """Draw one sheet."""

    def figure(job: _Shown | None, caption: str = "") -> Figure:
        if job is None:
            return Figure(None, caption, instead="")
        return Figure(file_of(job.file) if job.file else None, caption, job.instead)

    if across is None:
        columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(jobs))))
        figures = [figure(job, job.row_key) for job in jobs]
        return draw_contact_sheet(figures, columns, side=_SIDE, title=title)
    places = {
        (job.at[across.name], job.at[down.name] if down else ""): job for job in jobs
    }
    # Of a sweep with gaps a sheet may lack whole columns and lines.
    in_columns = {column for column, _ in places}
    in_lines = {line for _, line in places}
    shown_columns = [value for value in across.labels if value in in_columns]
    shown_lines = [
        value for value in (down.labels if down else [""]) if value in in_lines
    ]
    figures = [
        figure(places.get((column, line)))
        for line in shown_lines
        for column in shown_columns
    ]
    return draw_contact_sheet(
        figures,
        len(shown_columns),
        side=_SIDE,
        title=title,
        column_labels=[across.labels[value] for value in shown_columns],
        row_labels=[down.labels[value] for value in shown_lines] if down else (),
    )
