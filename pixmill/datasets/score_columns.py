"""The columns `score_…` and `flag_…` at the end of a dataset."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.datasets.duplicate_scores import DuplicateScores
from pixmill.ledger import Ledger
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.planning.source_images import source_images
from pixmill.quality.score_columns import (
    ScoreColumn,
    ScoreColumns,
    ScoreTable,
    open_image_scores,
)
from pixmill.quality.thresholds import THRESHOLDS

_KEY = pa.string()


def open_score_columns(plan: Plan, ledger: Ledger) -> ScoreColumns:
    """Return the columns that the config of `plan` asks for, with what the ledger has for them.

    Raises LedgerError, and UserError where a scorer can't be found.
    """
    quality = plan.config.quality
    found = open_image_scores(quality, ledger)
    columns: dict[str, ScoreColumn] = {}
    names: tuple[str, ...] = quality.checks
    for name in dict.fromkeys(names):
        if name == "duplicate":
            source = DuplicateScores(plan, ledger)
            columns[name] = ScoreColumn(source, THRESHOLDS[name])
        else:
            columns[name] = found.pop(name)
    return ScoreColumns(columns | found)


def empty_score_columns(config: Config) -> ScoreColumns:
    """Return the columns as they are before anything was scored."""
    nothing = ScoreTable(pa.nulls(0, _KEY), pa.nulls(0, pa.float64()))
    names: tuple[str, ...] = config.quality.checks
    columns = {name: ScoreColumn(nothing, THRESHOLDS[name]) for name in names}
    own = dict.fromkeys(config.quality.scorers, ScoreColumn(nothing))
    return ScoreColumns(columns | own)


def input_hashes(
    jobs: JobBatch, rows: NDArray[np.intp], files: pa.ChunkedArray
) -> pa.Array:
    """Return the SHA-256 of the first input image of each of `rows` of `jobs`: of a local one, or
    of one that is kept in the store as `files` says; else null."""
    local = [jobs.images.files[row] for row in rows.tolist()]
    found = source_images(local, files.to_pylist())
    return pa.array([image.sha256 for image in found], _KEY)
