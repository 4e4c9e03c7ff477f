"""The picks of a person: candidates that are rejected although their scores are good, kept in the ledger
like a score of their pictures.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CANDIDATES
from pixmill.datasets.export.picks import open_picks
from pixmill.datasets.publishing import published_folder
from pixmill.errors import UserError
from pixmill.ledger import Ledger
from pixmill.ledger.scores import Score, picks_of
from pixmill.quality.score_columns import hash_in_name
from pixmill.tables import as_text

REJECT = "reject"
STAR = "star"
_COLUMNS = ("row_key", "candidate", "pick")

_Candidate = tuple[str | None, str | None, str | None]
"""Row key, point and number of a candidate, as texts."""


class PickCounts(NamedTuple):
    """How many candidates a table of picks rejects, and how many it does not (any more)."""

    rejected: int
    starred: int


def record_picks(config: Config, ledger: Ledger, path: str) -> PickCounts:
    """Write down what the table at `path` says of candidates: its column `pick` is `reject`, `star`, which takes
    an earlier rejection back, or empty.

    Raises UserError where a line means no candidate with a picture, and TableError where the table can't be read.
    """
    if config.quality.until is None:
        raise UserError(
            "the config asks for no candidates, so none can be rejected",
            hint="quality.until says how many a row may have: docs/quality.md#candidates",
        )
    images = _published_images(config)
    table = open_picks(
        path,
        _COLUMNS,
        hint=f"picks of candidates have {', '.join(_COLUMNS)}, and with a sweep point_id",
    )
    has_points = "point_id" in table.schema.names
    scores = {}
    for batch in table.batches():
        columns = {name: as_text(batch.rows[name]).to_pylist() for name in _COLUMNS}
        points = ["base"] * batch.rows.num_rows
        if has_points:
            points = as_text(batch.rows["point_id"]).to_pylist()
        keys = zip(columns["row_key"], points, columns["candidate"], strict=True)
        for number, (key, mark) in enumerate(zip(keys, columns["pick"], strict=True)):
            if not mark:
                continue
            where = f"--picks {path}, row {batch.first_row + number}"
            if mark not in (REJECT, STAR):
                raise UserError(f"{where}: pick is {mark!r}, not {REJECT} or {STAR}")
            if key not in images:
                row_key, point, candidate = key
                raise UserError(
                    f"{where}: row {row_key!r} has no picture of candidate {candidate} at "
                    f"point {point}",
                    hint="candidates.parquet beside the dataset lists all there are",
                )
            value = float(mark == STAR)
            scores[images[key]] = Score(
                images[key], *picks_of(config.name), value=value
            )
    ledger.record_scores(list(scores.values()))
    starred = sum(score.value == 1 for score in scores.values())
    return PickCounts(len(scores) - starred, starred)


def _published_images(config: Config) -> Mapping[_Candidate, str]:
    """Return the SHA-256 of the picture of each candidate that was published."""
    path = published_folder(config) / CANDIDATES
    if not path.exists():
        raise UserError(
            f"there is no {path}",
            hint="`pixmill run` draws candidates and lists them there",
        )
    names = ["row_key", "point_id", "candidate", "file_name"]
    table = pq.read_table(path, columns=names)
    columns = [as_text(table[name]).to_pylist() for name in names]
    return {
        (row_key, point, candidate): hash_in_name(file_name)
        for row_key, point, candidate, file_name in zip(*columns, strict=True)
        if file_name
    }
