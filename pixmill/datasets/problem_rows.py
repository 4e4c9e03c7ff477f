"""The first rows of a dataset that brought no image, with code and words."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET
from pixmill.datasets.loading import open_dataset, stream_own_columns
from pixmill.datasets.our_error_codes import OUR_CODES
from pixmill.datasets.publishing import published_folder
from pixmill.errors import UserError
from pixmill.provider.error_codes import MEANINGS
from pixmill.text import in_words

_OWN_MEANINGS = {own_code.code: own_code.meaning for own_code in OUR_CODES}

LISTED = 10
"""Rows that a person reads one by one; the report has all of them."""

_COLUMNS = (
    "row_number",
    "row_key",
    "point_id",
    "status",
    "error_code",
    "error_message",
)


class ProblemRow(NamedTuple):
    """A row of the dataset that failed, was refused or is in doubt."""

    row_number: int
    row_key: str
    point_id: str
    status: str
    error_code: str | None
    error_message: str | None

    def describe(self) -> str:
        """The row in one line."""
        point = "" if self.point_id == "base" else f" · {self.point_id}"
        code = self.error_code or "no code"
        words = self.error_message or MEANINGS.get(code) or _OWN_MEANINGS.get(code)
        return (
            f"row {self.row_number} · {self.row_key}{point}: {in_words(self.status)}, {code}"
            + (f": {words}" if words else "")
        )


def find_problem_rows(
    config: Config, statuses: Sequence[str], most: int = LISTED
) -> list[ProblemRow]:
    """Return the first rows of the published dataset with one of the `statuses`, `most` at most.

    Nothing where there is no dataset yet, or it can't be read: that is said elsewhere.
    """
    found: list[ProblemRow] = []
    try:
        with open_dataset(published_folder(config) / DATASET) as dataset:
            for rows in stream_own_columns(dataset, _COLUMNS):
                bad = pc.is_in(rows["status"], pa.array(statuses))
                listed = rows.filter(bad).slice(0, most - len(found)).to_pylist()
                found += [ProblemRow(**row) for row in listed]
                if len(found) >= most:
                    break
    except UserError:
        return found
    return found
