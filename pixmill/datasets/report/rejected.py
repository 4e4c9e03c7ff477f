"""The candidates that a dataset does not have: what was drawn for its jobs besides, and why it was not kept."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.report.batches import read_batches

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
    """Those of the first jobs, as many as a page shows."""


NONE_REJECTED = RejectedCandidates({}, {})


def read_rejected(file: Path, most_slots: int) -> RejectedCandidates:
    """Read the file of all candidates, as far as there is one."""
    if not file.exists():
        return NONE_REJECTED
    reasons: Counter[str] = Counter()
    of_slots: dict[_Slot, list[Rejected]] = defaultdict(list)
    with pq.ParquetFile(file, page_checksum_verification=True) as candidates:
        for batch in read_batches(candidates, _COLUMNS):
            is_kept = pc.fill_null(batch["kept"], False)
            for row in batch.filter(pc.invert(is_kept)).to_pylist():
                reason = _NOT_NEEDED if row["accepted"] else str(row["reason"])
                if row["status"] != "succeeded" or row["error_code"]:
                    reason += f" ({row['error_code'] or row['status']})"
                reasons[reason] += 1
                slot = (row["row_number"], row["point_id"])
                if slot in of_slots or len(of_slots) < most_slots:
                    rejected = Rejected(row["candidate"], reason, row["file_name"])
                    of_slots[slot].append(rejected)
    return RejectedCandidates(dict(reasons.most_common()), of_slots)
