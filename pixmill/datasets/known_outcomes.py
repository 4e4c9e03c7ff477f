"""What is known of each job when its dataset is made: from the published dataset where that has it, else from
the ledger.
"""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pixmill.datasets.dataset_files import DATASET, MANIFEST
from pixmill.datasets.duplicate_scores import has_same_images
from pixmill.datasets.published_outcomes import (
    DatasetOrigin,
    PublishedOutcomes,
    open_published,
)
from pixmill.ledger import Ledger
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.storage.integrity import manifest_at

if TYPE_CHECKING:
    from concurrent.futures import Future


def open_earlier(
    plan: Plan, ledger: Ledger, origin: DatasetOrigin | None
) -> PublishedOutcomes | None:
    """Return the outcomes that the published dataset has already, with the scores that are the same in the new
    one."""
    folder = plan.config.dataset_folder
    manifest = manifest_at(folder / MANIFEST)
    published = open_published(folder / DATASET, manifest, origin, ledger)
    if published is None or "score_duplicate" not in published.scores:
        return published
    try:
        # Where one image is another, any of them may have a duplicate or have lost one.
        if not has_same_images(plan, ledger, published):
            published.leave_out("score_duplicate")
    except (OSError, pa.ArrowException):
        # Somebody writes to the file.
        return None
    return published


def look_up(
    plan: Plan,
    ledger: Ledger,
    earlier: "Future[PublishedOutcomes | None]",
    jobs: JobBatch,
) -> Iterator[pa.Table]:
    """Return for each position the outcome that ledger or published dataset has, and the file of the
    row's first input image.

    That is one table, which is there when this returns, or several one after another where answers
    are long.
    """
    rows = np.arange(len(jobs.keys)) // len(jobs.variants)
    looked_at = plan.config.input.images != "url"
    kept = (
        ledger.kept_inputs(jobs.images.sources[0])
        if looked_at
        else [None] * jobs.rows.rows.num_rows
    )
    inputs = pa.array(kept, pa.string()).take(rows)
    start = (jobs.rows.first_row - 1) * len(jobs.variants)
    places = plan.places[start : start + len(jobs.keys)].tolist()
    published = earlier.result()
    outcomes = (
        published.outcomes(ledger, jobs.keys, places)
        if published
        else ledger.outcomes(jobs.keys, places)
    )
    parts = _with_inputs(outcomes, inputs)
    return chain([next(parts)], parts)


def _with_inputs(outcomes: Iterator[pa.Table], inputs: pa.Array) -> Iterator[pa.Table]:
    start = 0
    for part in outcomes:
        yield part.append_column("input_image", inputs.slice(start, part.num_rows))
        start += part.num_rows
