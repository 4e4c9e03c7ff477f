"""The columns `score_…` and `flag_…` of images, as the ledger has their scores.

They are about the first image of a job. Without `quality` in the config there are none.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Quality
from pixmill.ledger import Ledger
from pixmill.ledger.scores import read_parts
from pixmill.quality.hash_lookup import HashLookup
from pixmill.quality.image_scorers import check_scorer, own_scorers
from pixmill.quality.ledger_scores import FoundScores, LedgerScores
from pixmill.quality.thresholds import THRESHOLDS

ARE_KNOWN = "scores_are_known"
"""The column of outcomes that says whether their columns `score_…` are what the ledger would say."""


class ScoreSource(Protocol):
    """Where the scores of one column come from."""

    by_input: bool
    """Whether a score is about an image and its input image."""

    def find(
        self,
        images: pa.Array,
        inputs: pa.Array,
    ) -> FoundScores:
        """Return what is known of `images`, by the SHA-256 of each and of its input image."""


class ScoreTable:
    """Scores that were calculated for just this dataset."""

    by_input = False

    def __init__(
        self,
        images: pa.Array,
        values: pa.Array,
    ) -> None:
        self._keys = HashLookup(images)
        self._values = values

    def find(
        self,
        images: pa.Array,
        _: pa.Array,
    ) -> FoundScores:
        """Return what is known of `images`, by their SHA-256."""
        at = self._keys.find(images)
        return FoundScores(self._values.take(at), at.is_valid())


class ScoreColumn(NamedTuple):
    """A column `score_…`, and `flag_…` beside it."""

    source: ScoreSource
    threshold: float | None = None
    """Below which there is a flag, `None` for a score without one."""


class ScoreColumns:
    """What is known of images when a dataset is made."""

    def __init__(self, columns: Mapping[str, ScoreColumn] | None = None) -> None:
        self._columns = columns or {}

    @property
    def fields(self) -> list[tuple[str, pa.DataType]]:
        """Names and types of the columns, in their order."""
        fields: list[tuple[str, pa.DataType]] = []
        for name, column in self._columns.items():
            fields.append((f"score_{name}", pa.float64()))
            if column.threshold is not None:
                fields.append((f"flag_{name}", pa.bool_()))
        return fields

    @property
    def lasting(self) -> list[str]:
        """The names of score columns in which a row is the same in the next dataset if the images are."""
        return [
            f"score_{name}"
            for name, column in self._columns.items()
            if not column.source.by_input
        ]

    @property
    def read_inputs(self) -> bool:
        """Whether input images are looked at."""
        return any(column.source.by_input for column in self._columns.values())

    def columns(
        self,
        images: pa.Array,
        inputs: pa.Array,
        known: pa.Table | None = None,
    ) -> dict[str, pa.Array]:
        """Return the columns of rows whose first images, and input images, have these SHA-256.

        Of rows that are `ARE_KNOWN` in `known`, nobody is asked for the columns that `known` has.
        """
        is_missing = np.ones(len(images), np.bool_)
        if known is not None and ARE_KNOWN in known.column_names:
            is_missing = ~known[ARE_KNOWN].to_numpy()
        missing = pa.array(np.flatnonzero(is_missing))
        missing_images = images.take(missing)
        missing_inputs = inputs.take(missing)
        found: dict[str, pa.Array] = {}
        for name, column in self._columns.items():
            title = f"score_{name}"
            if known is None or title not in known.column_names:
                scores = column.source.find(images, inputs).values
            else:
                scores = known[title].combine_chunks()
                if len(missing):
                    asked = column.source.find(
                        missing_images,
                        missing_inputs,
                    )
                    mask = pa.array(is_missing)
                    scores = pc.replace_with_mask(
                        scores,
                        mask,
                        asked.values,
                    )
            found[title] = scores
            if column.threshold is not None:
                found[f"flag_{name}"] = pc.less(scores, column.threshold)
        return found


def open_image_scores(
    quality: Quality,
    ledger: Ledger,
) -> dict[str, ScoreColumn]:
    """Return the columns that say something of an image by itself, by the name of the score.

    Raises LedgerError, and UserError where a scorer can't be found.
    """
    columns: dict[str, ScoreColumn] = {}
    names: tuple[str, ...] = quality.checks
    for name in dict.fromkeys(names):
        # Says something of an image beside all others.
        if name == "duplicate":
            continue
        source = LedgerScores(
            ledger,
            check_scorer(name),
            by_input=name == "unchanged",
        )
        columns[name] = ScoreColumn(source, THRESHOLDS[name])
    for name, scorer in own_scorers(quality).items():
        # Before the first score nobody knows how many there will be.
        for part in ledger.read(read_parts, scorer) or [""]:
            column = f"{name}_{part}" if part else name
            own = LedgerScores(ledger, scorer, part=part)
            columns[column] = ScoreColumn(own)
    return columns


def first_image_hashes(known: pa.Table) -> pa.Array:
    """Return the SHA-256 of the first image of each outcome, null where there is none."""
    images = first_of(known["images"])
    return pc.struct_field(images, "sha256")


def first_of(lists: pa.ChunkedArray) -> pa.Array:
    """Return the first element of each list, null for null and empty ones."""
    whole = lists.combine_chunks()
    is_filled = pc.greater(pc.list_value_length(whole), 0)
    is_empty = pc.invert(pc.fill_null(is_filled, False))
    begins = whole.offsets.to_numpy()[:-1]
    mask = is_empty.to_numpy(zero_copy_only=False)
    at = pa.array(begins, mask=mask)
    return pc.take(whole.values, at)


def hash_in_name(file_name: str) -> str:
    """Return the SHA-256 that an image of the store is named by."""
    return file_name.rpartition("/")[2].partition(".")[0]
