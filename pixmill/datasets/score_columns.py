"""The columns `score_…` and `flag_…` at the end of a dataset, of what the ledger has about its
images.

They are about the first image of a job. Without `quality` in the config there are none.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import Ledger
from pixmill.ledger.scores import Scorer, read_parts, read_scores, read_signatures
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.quality.image_scorers import check_scorer, own_scorers
from pixmill.quality.thresholds import THRESHOLDS

_KEY = pa.string()


class _Lookup(NamedTuple):
    """The values of one column by what they are found by."""

    keys: pa.Array
    values: pa.Array
    by_input: bool = False
    """Whether they are found by the image and its input image, not by the image alone."""
    threshold: float | None = None
    """Below which there is a flag, `None` for a score without one."""


class ScoreColumns:
    """What is known of the images of a dataset when it is made."""

    def __init__(self, lookups: Mapping[str, _Lookup] | None = None) -> None:
        self._lookups = lookups or {}

    @property
    def fields(self) -> list[tuple[str, pa.DataType]]:
        """Names and types of the columns, in their order."""
        fields: list[tuple[str, pa.DataType]] = []
        for name, lookup in self._lookups.items():
            fields.append((f"score_{name}", pa.float64()))
            if lookup.threshold is not None:
                fields.append((f"flag_{name}", pa.bool_()))
        return fields

    def columns(self, images: pa.Array, inputs: pa.Array) -> dict[str, pa.Array]:
        """Return the columns of rows whose first images, and input images, have these SHA-256."""
        pairs = pc.binary_join_element_wise(images, inputs, ":")
        found: dict[str, pa.Array] = {}
        for name, lookup in self._lookups.items():
            keys = pairs if lookup.by_input else images
            at = pc.index_in(keys, value_set=lookup.keys, skip_nulls=True)
            scores = lookup.values.take(at)
            found[f"score_{name}"] = scores
            if lookup.threshold is not None:
                found[f"flag_{name}"] = pc.less(scores, lookup.threshold)
        return found


def read_score_columns(plan: Plan, ledger: Ledger) -> ScoreColumns:
    """Return the columns that the config of `plan` asks for, with what the ledger has for them.

    Raises LedgerError; UserError where a scorer, or what `duplicate` needs, can't be found.
    """
    quality = plan.config.quality
    lookups: dict[str, _Lookup] = {}
    names: tuple[str, ...] = quality.checks
    for name in dict.fromkeys(names):
        threshold = THRESHOLDS[name]
        if name == "duplicate":
            lookups[name] = _find_duplicates(plan, ledger, threshold)
            continue
        table = ledger.read(read_scores, check_scorer(name)).combine_chunks()
        by_input = name == "unchanged"
        keys = table["sha256"]
        if by_input:
            keys = pc.binary_join_element_wise(keys, table["part"], ":")
        lookups[name] = _Lookup(
            _array(keys), _array(table["value"]), by_input, threshold
        )
    for name, scorer in own_scorers(quality).items():
        lookups |= _read_own(ledger, name, scorer)
    return ScoreColumns(lookups)


def empty_score_columns(config: Config) -> ScoreColumns:
    """Return the columns as they are before anything was scored."""
    nothing = _Lookup(pa.nulls(0, _KEY), pa.nulls(0, pa.float64()))
    names: tuple[str, ...] = config.quality.checks
    lookups = {name: nothing._replace(threshold=THRESHOLDS[name]) for name in names}
    return ScoreColumns(lookups | dict.fromkeys(config.quality.scorers, nothing))


def first_image_hashes(known: pa.Table) -> pa.Array:
    """Return the SHA-256 of the first image of each outcome, null where there is none."""
    return pc.struct_field(first_of(known["images"]), "sha256")


def first_of(lists: pa.ChunkedArray) -> pa.Array:
    """Return the first element of each list, null for null and empty ones."""
    whole = lists.combine_chunks()
    filled = pc.fill_null(pc.greater(pc.list_value_length(whole), 0), False).to_numpy(
        zero_copy_only=False
    )
    begins = whole.offsets.to_numpy()[:-1]
    return pc.take(whole.values, pa.array(begins, mask=~filled))


def input_hashes(
    jobs: JobBatch, rows: NDArray[np.intp], files: pa.ChunkedArray
) -> pa.Array:
    """Return the SHA-256 of the first input image of each of `rows` of `jobs`: of a local one, or
    of one that is kept in the store as `files` says; else null."""
    hashes = []
    for row, file in zip(rows.tolist(), files.to_pylist(), strict=True):
        local = jobs.images.files[row] if jobs.images.files else ()
        if local:
            hashes.append(local[0].sha256)
        else:
            hashes.append(hash_in_name(file) if file else None)
    return pa.array(hashes, _KEY)


def hash_in_name(file_name: str) -> str:
    """Return the SHA-256 that an image of the store is named by."""
    return file_name.rpartition("/")[2].partition(".")[0]


def _read_own(ledger: Ledger, name: str, scorer: Scorer) -> dict[str, _Lookup]:
    table = ledger.read(read_scores, scorer)
    # Before the first score nobody knows how many there will be.
    parts = ledger.read(read_parts, scorer) or [""]
    lookups = {}
    for part in parts:
        of_part = table.filter(pc.equal(table["part"], part))
        column = f"{name}_{part}" if part else name
        lookups[column] = _Lookup(_array(of_part["sha256"]), _array(of_part["value"]))
    return lookups


def _find_duplicates(plan: Plan, ledger: Ledger, threshold: float) -> _Lookup:
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
    return _Lookup(pa.array(hashes, _KEY), pa.array(scores), threshold=threshold)


def _first_images(plan: Plan, ledger: Ledger) -> Iterator[pa.Array]:
    start = 0
    for jobs in plan.batches():
        first = plan.first[start : start + len(jobs.keys)]
        start += len(jobs.keys)
        keys = [jobs.keys[at] for at in np.flatnonzero(first).tolist()]
        for known in ledger.outcomes(keys) if keys else ():
            yield first_image_hashes(known)


def _array(column: Any) -> pa.Array:
    """Return a column in one piece."""
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    return column
