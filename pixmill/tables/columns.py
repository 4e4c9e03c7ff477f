"""Rules about the columns of a table: their names, and whether two files have the same."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa

from pixmill.arrow_types import common_type
from pixmill.errors import TableError


def check_names(schema: pa.Schema, file: Path) -> pa.Schema:
    """Return `schema`; TableError if a column has no name, an unusable one or that of another column."""
    names: list[str] = schema.names
    if not names:
        raise TableError(f"{file}: it has no columns")
    if "" in names:
        raise TableError(
            f"{file}: column {names.index('') + 1} of {len(names)} has no name",
            hint="name every column; a nameless first one is often an index that pandas wrote "
            "(index=False)",
        )
    # Every second byte of UTF-16 that was read as an encoding of single bytes.
    if any("\0" in name for name in names):
        raise TableError(
            f"{file}: a column name contains NUL characters",
            hint="if it is UTF-16: input.encoding: utf-16-le",
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise TableError(
            f"{file}: more than one column is named {quote_names(twice)}",
            hint="rename one of them",
        )
    return schema


def check_same_names(
    first: Path, names: Collection[str], file: Path, others: Collection[str]
) -> None:
    """TableError if the columns of `file` are not those of `first`, in whatever order."""
    missing = [name for name in names if name not in others]
    extra = [name for name in others if name not in names]
    found = []
    if missing:
        found.append(f"it lacks {quote_names(missing)}")
    if extra:
        found.append(f"it also has {quote_names(extra)}")
    if found:
        raise TableError(
            f"{file}: its columns are not those of {first}: {', and '.join(found)}",
            hint="the files of one input need the same columns; give the others an input of "
            "their own",
        )


def common_schema(files: Sequence[Path], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all `files`, those of the first in order, of types that hold the values of each.

    TableError that names the first column for which there is no such type.
    """
    kinds = {field.name: field.type for field in schemas[0]}
    sources = dict.fromkeys(kinds, files[0])
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        check_same_names(files[0], list(kinds), file, schema.names)
        for name, known in kinds.items():
            found = schema.field(name).type
            try:
                kinds[name] = common_type(known, found)
            except pa.ArrowException as error:
                raise TableError(
                    f"{file}: column {name!r} is {found}, but it is {known} in {sources[name]}, "
                    "and no type holds both",
                    hint="write the files of one input with one type for each column",
                ) from error
            # For the message: which file made the type what it is.
            if kinds[name] != known:
                sources[name] = file
    return pa.schema(list(kinds.items()))


def change_error(file: Path) -> TableError:
    """The error for a file that is no longer what it was when it was opened."""
    return TableError(
        f"{file}: it changed after it was opened",
        hint="run again when nothing writes to it, or give a copy of it",
    )


def empty_error(file: Path) -> TableError:
    """The error for a file without a header."""
    return TableError(
        f"{file}: it is empty", hint="a table without rows still needs its header"
    )


def delimiter_hint(schema: pa.Schema) -> str:
    """What to say beside "there is no such column" where the delimiter seems wrong, else ""."""
    names: list[str] = schema.names
    # A wrong delimiter makes one column of the whole header.
    if len(names) != 1:
        return ""
    for mark in (";", "\t", "|"):
        if mark in names[0]:
            return (
                f"the only column is {names[0]!r}: are the cells separated by {mark!r}?"
            )
    return ""


def quote_names(names: Collection[str], most: int = 8) -> str:
    """Names for a message: quoted, and not more of them than a person reads."""
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
