"""How plans and results show themselves in a notebook: HTML that needs nothing but itself.

The output of a cell is saved in the notebook, so that pictures are small, few and inside the HTML.
"""

import io
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.loading import LocatedDataset, open_dataset
from pixmill.datasets.report.columns import DatasetColumns, ReportAxis, columns_of
from pixmill.datasets.report.thumbnails import shrink_image
from pixmill.tables import as_text
from pixmill.text import counted, in_words

SHOWN_JOBS = 2_000
"""Jobs at the beginning of the dataset among which those are that are shown."""

SHOWN_PICTURES = 48
SHOWN_POINTS = 8
"""Columns of a grid: more would not be seen side by side."""

SIDE = 160
"""Pixels of the longer side. Of 48 pictures that makes some 300 KB in the notebook's file."""

_QUALITY = 80
_SHOWN_CHARACTERS = 60
_CELL = "padding:4px;vertical-align:top;text-align:left;font-size:12px"


def text_block(lines: Iterable[str]) -> str:
    """Return lines of text as HTML that looks like a terminal."""
    text = escape("\n".join(lines))
    return f'<pre style="line-height:1.4;overflow-x:auto">{text}</pre>'


def picture_table(found: LocatedDataset, config: Config) -> str:
    """Return the first pictures of a dataset of `config`: a grid of rows by points of the sweep, or a
    gallery where there is one point.
    """
    with open_dataset(found.file) as dataset:
        columns = columns_of(dataset.schema_arrow, config)
        jobs = _first_jobs(dataset, columns)
    points: dict[str, str] = {}
    for job in jobs:
        # An invalid row has no point.
        if job["point_id"]:
            points[job["point_id"]] = _describe_point(job, columns.axes)
    if len(points) > 1:
        return _grid(jobs, points, found)
    cells = []
    for job in jobs[:SHOWN_PICTURES]:
        caption = _shorten(job["prompt"] or job["row_key"])
        cells.append(
            f'<div style="{_CELL}">{_cell(job, found)}'
            f'<div style="max-width:{SIDE}px">{caption}</div></div>'
        )
    return f'<div style="display:flex;flex-wrap:wrap">{"".join(cells)}</div>'


def _first_jobs(
    dataset: pq.ParquetFile, columns: DatasetColumns
) -> list[dict[str, Any]]:
    """Return our own columns of the first jobs that a grid needs, and those of the axes."""
    named = {
        name: columns.ours[name]
        for name in (
            "row_key",
            "point_id",
            "status",
            "error_code",
            "prompt",
            "file_name",
        )
    }
    named |= {axis.column: axis.column for axis in columns.axes}
    batches = dataset.iter_batches(SHOWN_JOBS, columns=list(named.values()))
    first = next(batches, None)
    if first is None:
        return []
    # As text, which is how the values of an axis are named.
    shown = [as_text(first.column(name)) for name in named.values()]
    return pa.table(shown, list(named)).to_pylist()  # type: ignore[no-any-return]


def _describe_point(job: Mapping[str, Any], axes: Sequence[ReportAxis]) -> str:
    """Return the values of a job as people call them, a line for each: `strength 0.2`."""
    parts = []
    for axis in axes:
        text = job[axis.column]
        labels = {value.text: value.label for value in axis.values}
        parts.append(f"{axis.path.rpartition('.')[2]} {labels.get(text, text)}")
    return "\n".join(parts)


def _grid(
    jobs: Sequence[Mapping[str, Any]], points: Mapping[str, str], found: LocatedDataset
) -> str:
    shown = list(points)[:SHOWN_POINTS]
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for job in jobs:
        cells = rows.setdefault(job["row_key"] or "", {})
        # The first replicate stands for all.
        cells.setdefault(job["point_id"], job)
    head = "".join(
        f'<th style="{_CELL};max-width:{SIDE}px;white-space:pre-line">{_shorten(points[point])}</th>'
        for point in shown
    )
    lines = [f'<tr><th style="{_CELL}"></th>{head}</tr>']
    for row_key, cells in list(rows.items())[: SHOWN_PICTURES // len(shown)]:
        line = "".join(
            f'<td style="{_CELL}">{_cell(cells.get(point), found)}</td>'
            for point in shown
        )
        title = f'<th style="{_CELL};white-space:nowrap">{_shorten(row_key)}</th>'
        lines.append(f"<tr>{title}{line}</tr>")
    left = len(points) - len(shown)
    more = f"<p>… and {counted(left, 'more point')} in the report</p>" if left else ""
    table = f'<table style="border-collapse:collapse">{"".join(lines)}</table>'
    # Eight pictures side by side may be wider than the cell of a notebook.
    return f'<div style="overflow-x:auto">{table}</div>{more}'


def _cell(job: Mapping[str, Any] | None, found: LocatedDataset) -> str:
    """Return the picture of a job, or why it has none."""
    if job is None:
        return ""
    small = None
    # A success may have none: it is still to be fetched, or was lost.
    if job["file_name"]:
        small = shrink_image(found.store.file(job["file_name"]), SIDE)
    if small is None:
        why = [in_words(job["status"]), job["error_code"]]
        return f"<em>{escape(', '.join(filter(None, why)))}</em>"
    # JPEG shows in whatever a notebook is converted to, but has no transparency.
    kind = "webp" if small.mode == "RGBA" else "jpeg"
    file = io.BytesIO()
    small.save(file, kind, quality=_QUALITY)
    data = b64encode(file.getvalue()).decode()
    return (
        f'<img src="data:image/{kind};base64,{data}" alt="{_shorten(job["row_key"])}" '
        f'title="{escape(job["prompt"] or "")}" style="max-width:{SIDE}px">'
    )


def _shorten(text: str | None) -> str:
    """Return a text for a caption, as HTML."""
    whole = text or ""
    cut = len(whole) > _SHOWN_CHARACTERS
    return escape(f"{whole[: _SHOWN_CHARACTERS - 1]}…" if cut else whole)
