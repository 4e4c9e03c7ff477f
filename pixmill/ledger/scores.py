"""What scorers said of output images: one row for each image, scorer and version, ever, whichever
datasets the image is in.

Images are known by their content, so that nothing here depends on a job. A scorer that could not
score an image has a row as well, with the reason: it is not asked again until it is another
version.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import (
    Column,
    Connection,
    Float,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
)

from pixmill.ledger.dialects import json_values
from pixmill.ledger.schema import Key, metadata

scores = Table(
    "scores",
    metadata,
    Column("sha256", Key, nullable=False),
    Column("scorer", Text, nullable=False),
    Column("version", Text, nullable=False),
    # Which of several values of one scorer: its name, or of a comparison with an input image that
    # image's SHA-256; else empty, as a primary key takes no null.
    Column("part", Key, nullable=False),
    # Null where the scorer failed, or where it keeps a signature instead.
    Column("value", Float),
    # Why there is no value.
    Column("reason", Text),
    # What is compared with other images of a dataset.
    Column("signature", LargeBinary),
    PrimaryKeyConstraint("sha256", "scorer", "version", "part"),
)

_WANTED = json_values(bindparam("wanted")).table_valued("value")
_SCORED = (
    select(scores.c.sha256, scores.c.part)
    .where(
        scores.c.scorer == bindparam("name"),
        scores.c.version == bindparam("version"),
        scores.c.sha256.in_(select(_WANTED.c.value)),
    )
    .distinct()
)
_FORGET = delete(scores).where(
    scores.c.sha256 == bindparam("old_sha256"),
    scores.c.scorer == bindparam("old_scorer"),
    scores.c.version == bindparam("old_version"),
    scores.c.part == bindparam("old_part"),
)
_ALL = select(scores.c.sha256, scores.c.part, scores.c.value).where(
    scores.c.scorer == bindparam("name"), scores.c.version == bindparam("version")
)
_OF_IMAGES = _ALL.where(scores.c.sha256.in_(select(_WANTED.c.value)))
_PARTS = (
    select(scores.c.part)
    .where(
        scores.c.scorer == bindparam("name"),
        scores.c.version == bindparam("version"),
        scores.c.value.is_not(None),
    )
    .distinct()
)
_SIGNATURES = select(scores.c.sha256, scores.c.signature).where(
    scores.c.scorer == bindparam("name"),
    scores.c.version == bindparam("version"),
    scores.c.signature.is_not(None),
)


_REJECTED = select(scores.c.sha256).where(
    scores.c.scorer == bindparam("name"),
    scores.c.version == bindparam("version"),
    scores.c.value == 0,
)


class Score(NamedTuple):
    """A row of `scores`."""

    sha256: str
    scorer: str
    version: str
    part: str = ""
    value: float | None = None
    reason: str | None = None
    signature: bytes | None = None


class Scorer(NamedTuple):
    """Who scores: another version is another scorer."""

    name: str
    version: str


def picks_of(dataset: str) -> Scorer:
    """Return the person who picks images of a dataset: 0 is a rejected one, 1 one that is
    starred."""
    return Scorer(f"picks:{dataset}", "1")


def record_scores(
    connection: Connection, entries: Sequence[Sequence[Score]]
) -> list[None]:
    """Write scores, each in the place of the one that another process may have written
    meanwhile."""
    rows: dict[tuple[str, ...], Score] = {}
    for entry in entries:
        for score in entry:
            rows[score[:4]] = score
    if rows:
        connection.execute(
            _FORGET,
            [
                {
                    "old_sha256": score.sha256,
                    "old_scorer": score.scorer,
                    "old_version": score.version,
                    "old_part": score.part,
                }
                for score in rows.values()
            ],
        )
        connection.execute(insert(scores), [score._asdict() for score in rows.values()])
    return [None] * len(entries)


def find_scored(
    connection: Connection, scorer: Scorer, images: Sequence[str]
) -> set[tuple[str, str]]:
    """Return which of `images`, a batch of SHA-256, a scorer was asked about, and the part."""
    about = {**scorer._asdict(), "wanted": json.dumps(list(images), allow_nan=False)}
    return {(row.sha256, row.part) for row in connection.execute(_SCORED, about)}


def read_scores(
    connection: Connection, scorer: Scorer, images: Sequence[str] | None = None
) -> pa.Table:
    """Return the `sha256`, `part` and `value` of all that a scorer said, or of what it said of
    `images`."""
    if images is None:
        selected = connection.execute(_ALL, scorer._asdict())
    else:
        wanted = json.dumps(list(images), allow_nan=False)
        selected = connection.execute(
            _OF_IMAGES, {**scorer._asdict(), "wanted": wanted}
        )
    found = selected.cursor.fetchall()
    names = {"sha256": pa.string(), "part": pa.string(), "value": pa.float64()}
    columns = list(zip(*found, strict=True)) or [()] * len(names)
    arrays = [pa.array(c, k) for c, k in zip(columns, names.values(), strict=True)]
    return pa.table(arrays, names=list(names))


def read_parts(connection: Connection, scorer: Scorer) -> list[str]:
    """Return the names of the values that a scorer gives, in the order of the alphabet."""
    found = connection.execute(_PARTS, scorer._asdict())
    return sorted(row.part for row in found)


def read_rejected(connection: Connection, picks: Scorer) -> list[str]:
    """Return the images that a person rejected, by their SHA-256."""
    found = connection.execute(_REJECTED, picks._asdict())
    return [row.sha256 for row in found]


def read_signatures(connection: Connection, scorer: Scorer) -> dict[str, bytes]:
    """Return what is kept of images by their SHA-256."""
    found = connection.execute(_SIGNATURES, scorer._asdict())
    return {row.sha256: bytes(row.signature) for row in found}
