"""What is known of input images: one row a URL, renewed by each look at it.

Nothing here was paid for; it is in the ledger so that one answer serves every run and every
config of a store.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
)

from pixmill.ledger.dialects import json_values
from pixmill.ledger.schema import metadata

inputs = Table(
    "inputs",
    metadata,
    Column("url", Text, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("problem", Text),
    Column("detail", Text),
    Column("file_name", Text),
    Column("sha256", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("format", Text),
    Column("bytes", Integer),
    PrimaryKeyConstraint("url").ddl_if(dialect="sqlite"),
    # A B-tree of PostgreSQL takes no text as long as a URL may be. One process writes at a time:
    # none is there twice.
    Index("inputs_by_url", "url", postgresql_using="hash").ddl_if(dialect="postgresql"),
)


class InputImage(NamedTuple):
    """The last answer to a GET of an input image: a row of `inputs`.

    `problem` is a reason code of `pixmill.planning.row_checks` with its `detail`; it is `None` for
    an image that the provider takes, of which the rest is known then. `file_name` is relative to
    the store, `None` where the image was not kept.
    """

    url: str
    checked_at: int
    problem: str | None = None
    detail: str | None = None
    file_name: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    bytes: int | None = None


_FORGET = delete(inputs).where(inputs.c.url == bindparam("asked"))
_WANTED = json_values(bindparam("urls")).table_valued("value")
_IS_WANTED = inputs.c.url.in_(select(_WANTED.c.value))
_LOOK_UP = select(*(inputs.c[name] for name in InputImage._fields)).where(_IS_WANTED)
_LOOK_UP_BAD = _LOOK_UP.where(inputs.c.problem.is_not(None))
_LOOK_UP_FILES = select(inputs.c.url, inputs.c.file_name).where(_IS_WANTED)


def record(connection: Connection, entries: Sequence[InputImage]) -> list[None]:
    """Write answers, each in the place of the one before."""
    last = {entry.url: entry for entry in entries}
    connection.execute(_FORGET, [{"asked": url} for url in last])
    connection.execute(insert(inputs), [entry._asdict() for entry in last.values()])
    return [None] * len(entries)


def look_up(connection: Connection, urls: Sequence[str]) -> dict[str, InputImage]:
    """Return what is known of each of `urls`, a batch of them; absent ones were never asked for."""
    return _images(connection, _LOOK_UP, urls)


def look_up_bad(connection: Connection, urls: Sequence[str]) -> dict[str, InputImage]:
    """Of `urls`, a batch of them, return those with a problem."""
    return _images(connection, _LOOK_UP_BAD, urls)


def look_up_files(connection: Connection, urls: Sequence[str]) -> list[str | None]:
    """Return the `file_name` of each of `urls`, a batch of them, in their order."""
    found = connection.execute(
        _LOOK_UP_FILES, {"urls": json.dumps(urls, allow_nan=False)}
    )
    names: dict[str, str] = dict(found.cursor.fetchall())
    return list(map(names.get, urls))


def _images(
    connection: Connection, statement: Select[Any], urls: Sequence[str]
) -> dict[str, InputImage]:
    found = connection.execute(statement, {"urls": json.dumps(urls, allow_nan=False)})
    return {
        image.url: image for image in map(InputImage._make, found.cursor.fetchall())
    }
