"""The columns `score_…` and `flag_…` at the end of a dataset."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import Ledger
from pixmill.ledger.scores import read_signatures
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.planning.source_images import source_images
from pixmill.quality.image_scorers import check_scorer
from pixmill.quality.score_columns import (
    ScoreColumn,
    ScoreColumns,
    ScoreTable,
    first_image_hashes,
    open_image_scores,
)
from pixmill.quality.thresholds import THRESHOLDS

_KEY = pa.string()


def open_score_columns(plan: Plan, ledger: Ledger) -> ScoreColumns:
    """Return the columns that the config of `plan` asks for, with what the ledger has for them.

    Raises LedgerError; UserError where a scorer, or what `duplicate` needs, can't be found.
    """
    quality = plan.config.quality
    found = open_image_scores(quality, ledger)
    columns: dict[str, ScoreColumn] = {}
    names: tuple[str, ...] = quality.checks
    for name in dict.fromkeys(names):
        if name == "duplicate":
            duplicates = _find_duplicates(plan, ledger)
            columns[name] = ScoreColumn(duplicates, THRESHOLDS[name])
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


def _find_duplicates(plan: Plan, ledger: Ledger) -> ScoreTable:
    """Compare the first images of all jobs with each other."""
    # Pillow is not for runs that ask for no such thing.
    from pixmill.quality.duplicates import SIGNATURE_BYTES, score_duplicates

    signatures = ledger.read(read_signatures, check_scorer("duplicate"))
    hashes = []
    for found in _first_images(plan, ledger):
        hashes += [sha256 for sha256 in found.to_pylist() if sha256 in signatures]
    joined = b"".join(signatures[sha256] for sha256 in hashes)
    table = np.frombuffer(joined, np.uint8).reshape(-1, SIGNATURE_BYTES)
    # Of two jobs with one and the same image each has a duplicate.
    scores = score_duplicates(table)
    return ScoreTable(pa.array(hashes, _KEY), pa.array(scores))


def _first_images(plan: Plan, ledger: Ledger) -> Iterator[pa.Array]:
    start = 0
    in_dataset = plan.first
    if plan.candidates:
        in_dataset = in_dataset & plan.candidates.kept
    for jobs in plan.batches():
        first = in_dataset[start : start + len(jobs.keys)]
        start += len(jobs.keys)
        keys = [jobs.keys[at] for at in np.flatnonzero(first).tolist()]
        for known in ledger.outcomes(keys) if keys else ():
            yield first_image_hashes(known)
