"""Pictures for a paper: contact sheets as one PNG or as the pages of a PDF, with the axes of a sweep as labels."""

import math
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
    """Its value in each dimension."""

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

    `sides` name what goes across and down, an axis or `row`; without them the first two axes do. What is neither is
    a page of its own for each of its values. Raises UserError where that makes no sense, where there are
    several pages for a PNG, or nothing to draw.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".pdf"):
        raise UserError(
            f"{out} is neither a .png nor a .pdf", hint="name such a file with --out"
        )
    jobs, dimensions = _read(dataset, selection, config)
    across: _Dimension | None = None
    down: _Dimension | None = None
    # Rows alone are no grid: they are as many lines of pictures as it takes.
    if [dimension.name for dimension in dimensions] != [ROW] or any(sides):
        across, down = _choose_sides(jobs, dimensions, sides)
    others = _find_others(jobs, dimensions, [side for side in (across, down) if side])
    pages = _divide(jobs, others)
    if len(pages) > 1 and kind == ".png":
        names = ", ".join(dimension.name for dimension in others)
        raise UserError(
            f"{len(pages):,} sheets, one for each value of {names}, are more than a PNG can hold",
            hint="name a .pdf, or choose one with --where, such as --where \"row_key == 'cat-01'\"",
        )
    store = open_store(config)
    store.prefetch(job.file for job in jobs)
    sheets = []
    for title, shown in pages.items():
        try:
            sheets.append(
                _draw(shown, across, down, title if len(pages) > 1 else "", store.file)
            )
        except ValueError as error:
            raise UserError(
                str(error), hint="choose fewer with --where or --picks"
            ) from None
    with atomic_write(out) as path:
        if kind == ".png":
            sheets[0].save(path, "PNG", optimize=True)
        else:
            sheets[0].save(
                path,
                "PDF",
                save_all=True,
                append_images=sheets[1:],
                resolution=_PER_INCH,
                title=config.name,
            )
    return Exported(len(jobs), {})


def _read(
    dataset: pq.ParquetFile, selection: Selection, config: Config
) -> tuple[list[_Shown], list[_Dimension]]:
    """Return the selected jobs, and the dimensions in which they have several values."""
    columns = columns_of(dataset.schema_arrow, config)
    axes = find_axis_values(dataset, columns)
    jobs: list[_Shown] = []
    for picked in selection.batches(dataset, _BATCH_ROWS):
        # Of several images of a job the first speaks for it.
        rows = picked.rows.filter(pa.array(picked.numbers == 0))
        texts = {axis.path: _texts(rows, axis.column) for axis in axes}
        keys = _texts(rows, columns.ours["row_key"])
        files = _texts(rows, columns.ours["file_name"])
        codes = _texts(rows, columns.ours["error_code"])
        replicates = _texts(rows, columns.ours["replicate"])
        for at, key in enumerate(keys):
            values = {path: of_axis[at] or "" for path, of_axis in texts.items()}
            values[ROW] = key or ""
            values[_REPLICATE] = replicates[at] or ""
            jobs.append(_Shown(values, files[at], codes[at] or "no image"))
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
        dimensions.append(_Dimension(axis.path, labels))
    for name in (ROW, _REPLICATE):
        there = dict.fromkeys(job.at[name] for job in jobs)
        dimensions.append(_Dimension(name, {text: text for text in there}))
    return jobs, [dimension for dimension in dimensions if len(dimension.labels) > 1]


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
        crossed = (
            dimension
            for dimension in left
            if down is None or _are_crossed(jobs, dimension, down)
        )
        across = next(crossed, left[0])
        left.remove(across)
    if down is None and across:
        down = next(
            (dimension for dimension in left if _are_crossed(jobs, across, dimension)),
            None,
        )
    return across, down


def _find_others(
    jobs: Sequence[_Shown],
    dimensions: Sequence[_Dimension],
    sides: Sequence[_Dimension],
) -> list[_Dimension]:
    """Return the dimensions that make a sheet of each of their values: those that are neither a side
    nor in step with one, whose value a side says already.
    """
    chosen = list(sides)
    for dimension in dimensions:
        is_new = bool(sides) and dimension not in chosen
        if is_new and all(_are_crossed(jobs, other, dimension) for other in chosen):
            chosen.append(dimension)
    return chosen[len(sides) :]


def _are_crossed(jobs: Sequence[_Shown], one: _Dimension, other: _Dimension) -> bool:
    """Whether most combinations of two dimensions occur: axes in step make a diagonal, as the report's
    grid (`crossed` in dimensions.js) has it, too.
    """
    pairs = {(job.at[one.name], job.at[other.name]) for job in jobs}
    return 2 * len(pairs) > len(one.labels) * len(other.labels)


def _divide(
    jobs: Sequence[_Shown], others: Sequence[_Dimension]
) -> dict[str, list[_Shown]]:
    """Return the jobs of each sheet by its title: the values of what is neither across nor down."""
    pages: dict[str, list[_Shown]] = {}
    for job in jobs:
        values = [
            dimension.labels[job.at[dimension.name]]
            for dimension in others
            if job.at[dimension.name] in dimension.labels
        ]
        pages.setdefault(" · ".join(values), []).append(job)
    return pages


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
        figures = [figure(job, job.at[ROW]) for job in jobs]
        return draw_contact_sheet(figures, columns, side=_SIDE, title=title)
    # Of several jobs at one place, such as replicates, the first.
    places: dict[tuple[str, str], _Shown] = {}
    for job in jobs:
        place = (job.at[across.name], job.at[down.name] if down else "")
        places.setdefault(place, job)
    here = {place[1] for place in places}
    lines = [text for text in (down.labels if down else [""]) if text in here]
    figures = [
        figure(places.get((column, line))) for line in lines for column in across.labels
    ]
    return draw_contact_sheet(
        figures,
        len(across.labels),
        side=_SIDE,
        title=title,
        column_labels=list(across.labels.values()),
        row_labels=[down.labels[line] for line in lines] if down else (),
    )
