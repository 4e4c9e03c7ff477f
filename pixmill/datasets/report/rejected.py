"""The candidates that a dataset does not have: what was drawn for its jobs besides, and why it was not kept."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.loading import open_dataset
from pixmill.datasets.report.batches import read_batches
from pixmill.datasets.schema import our_columns

_COLUMNS = (
    "row_number",
    "point_id",
    "candidate",
    "status",
    "error_code",
    "file_name",
    "accepted",
    "reason",
    "kept",
)

_NOT_NEEDED = "good, but another one is kept"

_Slot = tuple[int, str | None]
"""Row number and point: a job of a dataset with candidates has no other replicate."""


class Rejected(NamedTuple):
    """A candidate that was drawn and is not in the dataset."""

    number: int

    reason: str

    file: str | None
    """The file of its picture in the store."""


class RejectedCandidates(NamedTuple):
    """Those beside a dataset."""

    reasons: Mapping[str, int]
    """How many of all are not kept for which reason, the most frequent first."""

    of_slots: Mapping[_Slot, list[Rejected]]
    """Those of the jobs that a page shows."""


NONE_REJECTED = RejectedCandidates({}, {})


def read_rejected(
    file: Path, dataset: pq.ParquetFile, most: int, start: int = 0
) -> RejectedCandidates:
    """Read the list of all candidates of a dataset, if there is one, for a page that shows `most` jobs from
    `start` on.

    Raises UserError where the list is damaged.
    """
    if not file.exists():
        return NONE_REJECTED
    name = our_columns(dataset.schema_arrow)["row_number"]
    row_numbers = dataset.read(columns=[name])[name]
    shown = pc.unique(row_numbers.slice(start, most))
    reasons: Counter[str] = Counter()
    of_slots: dict[_Slot, list[Rejected]] = defaultdict(list)
    with open_dataset(file) as candidates:
        for batch in read_batches(candidates, _COLUMNS):
            others = batch.filter(pc.invert(pc.fill_null(batch["kept"], False)))
            why = _describe_reasons(others)
            for count in pc.value_counts(why).to_pylist():
                reasons[count["values"]] += count["counts"]
            # A table has very many, a page shows few.
            is_shown = pc.is_in(others["row_number"], value_set=shown)
            texts = why.filter(is_shown).to_pylist()
            rows = others.filter(is_shown).to_pylist()
            for row, reason in zip(rows, texts, strict=True):
                slot = (row["row_number"], row["point_id"])
                rejected = Rejected(row["candidate"], reason, row["file_name"])
                of_slots[slot].append(rejected)
    return RejectedCandidates(dict(reasons.most_common()), of_slots)


def _describe_reasons(candidates: pa.RecordBatch) -> pa.Array:
    """Return why candidates were not kept, with the code of those that brought no picture."""
    reasons = pc.if_else(
        pc.fill_null(candidates["accepted"], False),
        _NOT_NEEDED,
        pc.fill_null(candidates["reason"], "unknown"),
    )
    code = pc.if_else(
        pc.not_equal(candidates["status"], "succeeded"),
        pc.coalesce(candidates["error_code"], candidates["status"]),
        candidates["error_code"],
    )
    with_code = pc.binary_join_element_wise(reasons, " (", code, ")", "")
    return pc.coalesce(with_code, reasons)
