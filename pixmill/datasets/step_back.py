"""Whether a publication would be a step back: unfinished, of the same rows, and with fewer images.

A run that was stopped before it got anything (a wrong key, a breaker, an interrupt) still knows
what it was to make; its dataset would be that, without an image, instead of one whose images
somebody uses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.dataset_files import MANIFEST
from pixmill.datasets.result_table import OutcomeCounts
from pixmill.datasets.schema import our_columns
from pixmill.errors import TableError
from pixmill.planning.plan import Plan
from pixmill.storage.integrity import manifest_at
from pixmill.text import counted


class ShrunkDataset(NamedTuple):
    """A dataset that has fewer images than the one before it, as its table has fewer rows."""

    rows: int
    images: int
    rows_before: int
    images_before: int

    def describe(self) -> str:
        """Say it in a sentence: whoever exports the table may not have meant it."""
        rows = counted(self.rows, "row")
        images = counted(self.images, "image")
        return (
            f"the dataset has {images} where it had {self.images_before:,}, as its table has "
            f"{rows} where it had {self.rows_before:,}"
        )


def find_shrinkage(
    plan: Plan, counts: OutcomeCounts, manifest: Mapping[str, Any]
) -> ShrunkDataset | None:
    """Return how a new dataset with these `counts` is smaller than the published one of `manifest`;
    None where its table has not lost rows, or it has as many images all the same."""
    images = counts.status["succeeded"]
    rows_before = manifest.get("input", {}).get("rows", 0)
    images_before = manifest.get("counts", {}).get("succeeded", 0)
    if plan.rows >= rows_before or images >= images_before:
        return None
    return ShrunkDataset(plan.rows, images, rows_before, images_before)


def is_step_back(
    plan: Plan,
    counts: OutcomeCounts,
    written: Path,
    published: Path,
    manifest: Mapping[str, Any],
) -> bool:
    """Whether the dataset `written`, with its `counts`, is to leave the `published` one in place.

    `manifest` is that of the published one. A dataset that is finished is no step back, however
    few images it has: the service said what became of its jobs. Nor is one of other rows:
    whoever takes rows out of a table wants them gone.
    """
    got = counts.status["succeeded"]
    unfinished = counts.status["skipped"] or not got
    if not unfinished or got >= manifest.get("counts", {}).get("succeeded", 0):
        return False
    if not plan.config.input.row_key:
        # Rows are known by their content, which may be what was changed.
        return bool(plan.rows >= manifest.get("input", {}).get("rows", 0))
    is_there = pc.is_in(_row_keys(published), _row_keys(written))
    return bool(pc.all(is_there).as_py())


def check_has_rows(plan: Plan, published: Path) -> None:
    """Raise TableError where the input has no row and the dataset in the folder `published` has some.

    An export that failed leaves a table of a header alone, and a mistake in `input.where` matches nothing:
    both look like somebody who took all rows out.
    """
    if plan.rows:
        return
    rows = manifest_at(published / MANIFEST).get("rows", 0)
    if not rows:
        return
    source = plan.config.input
    problem = f"{source.path} has no row"
    if len(plan.first):
        problem = f"no row of {source.path} meets input.where, {source.where}"
    raise TableError(
        f"{problem}, and would replace the dataset {plan.config.name} of {rows:,} rows; "
        "nothing was sent or published",
        hint="fix the table or input.where; if no rows are meant, use another `name`, or move "
        f"{published} elsewhere first",
    )


def _row_keys(path: Path) -> pa.ChunkedArray:
    with pq.ParquetFile(path) as file:
        name = our_columns(file.schema_arrow)["row_key"]
        return pc.unique(file.read(columns=[name])[name])
