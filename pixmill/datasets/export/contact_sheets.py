"""Pictures for a paper: contact sheets as one PNG or as the pages of a PDF, with the axes of a sweep as labels."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pixmill.config.model import Config
from pixmill.datasets.contact_sheet import Figure, draw_contact_sheet
from pixmill.datasets.export.samples import Exported
from pixmill.datasets.export.selection import Selection
from pixmill.datasets.export.sheet_places import (
    POINT,
    REPLICATE,
    ROW,
    Dimension,
    ShownJob,
    choose_sides,
    divide_into_sheets,
    find_others,
)
from pixmill.datasets.report.axis_values import find_axis_values
from pixmill.datasets.report.columns import columns_of
from pixmill.errors import UserError
from pixmill.storage import open_store
from pixmill.storage.atomic_write import atomic_write
from pixmill.tables import as_text

_FURTHER = "further_images"
_INVALID = "invalid"

_SIDE = 320
"""Pixels of a picture: at 200 to an inch four of them fill the width of a page."""

_PER_INCH = 200
_MOST_PICTURES = 5_000
_MOST_COLUMNS = 6
"""In one line of pictures that no axis orders."""

_BATCH_ROWS = 1_000


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
    across: Dimension | None = None
    down: Dimension | None = None
    # Rows alone are no grid: they are as many lines of pictures as it takes.
    if [dimension.name for dimension in dimensions] != [ROW] or any(sides):
        across, down = choose_sides(jobs, dimensions, sides)
    others = find_others(jobs, dimensions, [side for side in (across, down) if side])
    sheets = divide_into_sheets(jobs, others)
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
) -> tuple[list[ShownJob], list[Dimension], Counter[str]]:
    """Return the selected jobs, the dimensions in which they have several values, and how much is not drawn."""
    columns = columns_of(dataset.schema_arrow, config)
    axes = find_axis_values(dataset, columns)
    jobs: list[ShownJob] = []
    left_out: Counter[str] = Counter()
    for picked in selection.batches(dataset, _BATCH_ROWS):
        # Of several images of a job the first speaks for it.
        rows = picked.rows.filter(pa.array(picked.numbers == 0))
        further = picked.rows.num_rows - rows.num_rows
        if further:
            left_out[_FURTHER] += further
        texts = {axis.path: _texts(rows, axis.column) for axis in axes}
        texts[ROW] = _texts(rows, columns.ours["row_number"])
        texts[REPLICATE] = _texts(rows, columns.ours["replicate"])
        texts[POINT] = _texts(rows, columns.ours["point_id"])
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
            jobs.append(ShownJob(values, key or "", files[at], instead))
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
        dimensions.append(Dimension(axis.path, labels))
    dimensions.append(Dimension(ROW, {job.at[ROW]: job.row_key for job in jobs}))
    replicates = {job.at[REPLICATE]: job.at[REPLICATE] for job in jobs}
    dimensions.append(Dimension(REPLICATE, replicates))
    several = [dimension for dimension in dimensions if len(dimension.labels) > 1]
    return jobs, several, left_out


def _texts(rows: pa.RecordBatch, column: str) -> list[Any]:
    return as_text(rows.column(column)).to_pylist()  # type: ignore[no-any-return]


def _draw(
    jobs: Sequence[ShownJob],
    across: Dimension | None,
    down: Dimension | None,
    title: str,
    file_of: Any,
) -> Image.Image:
    """Draw one sheet."""

    def figure(job: ShownJob | None, caption: str = "") -> Figure:
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
