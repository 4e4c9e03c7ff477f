"""The columns `score_…` and `flag_…` of images, as the ledger has their scores.

They are about the first image of a job. Without `quality` in the config there are none.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Quality
from pixmill.ledger import Ledger
from pixmill.ledger.scores import Scorer, read_parts, read_scores
from pixmill.quality.hash_lookup import HashLookup, pair_hashes
from pixmill.quality.image_scorers import check_scorer, own_scorers
from pixmill.quality.thresholds import THRESHOLDS

_KEY = pa.string()


class ScoreLookup(NamedTuple):
    """The values of one column by what they are found by."""

    keys: HashLookup
    values: pa.Array
    by_input: bool = False
    """Whether they are found by the image and its input image, not by the image alone."""
    threshold: float | None = None
    """Below which there is a flag, `None` for a score without one."""


class ScoreColumns:
    """What is known of images when a dataset is made."""

    def __init__(self, lookups: Mapping[str, ScoreLookup] | None = None) -> None:
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
        pairs = pair_hashes(images, inputs)
        found: dict[str, pa.Array] = {}
        for name, lookup in self._lookups.items():
            at = lookup.keys.find(pairs if lookup.by_input else images)
            scores = lookup.values.take(at)
            found[f"score_{name}"] = scores
            if lookup.threshold is not None:
                found[f"flag_{name}"] = pc.less(scores, lookup.threshold)
        return found


def read_image_scores(quality: Quality, ledger: Ledger) -> dict[str, ScoreLookup]:
    """Return what the ledger has for the columns that say something of an image by itself.

    Raises LedgerError, and UserError where a scorer can't be found.
    """
    lookups: dict[str, ScoreLookup] = {}
    names: tuple[str, ...] = quality.checks
    for name in dict.fromkeys(names):
        if name == "duplicate":
            continue
        table = ledger.read(read_scores, check_scorer(name)).combine_chunks()
        by_input = name == "unchanged"
        keys = table["sha256"]
        if by_input:
            keys = pair_hashes(keys, table["part"])
        lookups[name] = ScoreLookup(
            HashLookup(as_array(keys)),
            as_array(table["value"]),
            by_input,
            THRESHOLDS[name],
        )
    for name, scorer in own_scorers(quality).items():
        lookups |= _read_own(ledger, name, scorer)
    return lookups


def as_array(column: Any) -> pa.Array:
    """Return a column in one piece."""
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    return column


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


def hash_in_name(file_name: str) -> str:
    """Return the SHA-256 that an image of the store is named by."""
    return file_name.rpartition("/")[2].partition(".")[0]


def _read_own(ledger: Ledger, name: str, scorer: Scorer) -> dict[str, ScoreLookup]:
    table = ledger.read(read_scores, scorer)
    # Before the first score nobody knows how many there will be.
    parts = ledger.read(read_parts, scorer) or [""]
    lookups = {}
    for part in parts:
        of_part = table.filter(pc.equal(table["part"], part))
        column = f"{name}_{part}" if part else name
        lookups[column] = ScoreLookup(
            HashLookup(as_array(of_part["sha256"])),
            as_array(of_part["value"]),
        )
    return lookups
