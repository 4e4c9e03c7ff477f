"""Whether a table has the columns that a config names, and of types that can be read as it says."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from pixmill.config.model import Config
from pixmill.errors import TableError
from pixmill.request.model import placeholders
from pixmill.tables import InputTable, delimiter_hint
from pixmill.tables.discovery import FRAME_NAME

_DOUBLED = re.compile(r"(\{\{\s*(\w+)\s*\}\})")


def check_columns(
    table: InputTable,
    config: Config,
    needed: Sequence[str],
    axes: Sequence[str],
) -> None:
    """Raise TableError where `table` lacks a column that is `needed`, or has one that can't be what it should be.

    `axes` are the paths of the sweep.
    """
    _check_placeholders(table, config, axes)
    missing = [name for name in dict.fromkeys(needed) if name not in table.schema.names]
    if missing:
        has = ", ".join(table.schema.names)
        wanted = ", ".join(repr(name) for name in missing)
        hint = "name the columns in input.columns, input.row_key, request.prompt and conditions"
        # A table that was read with the wrong separator has one column, and lacks all others.
        if separator := delimiter_hint(table.schema):
            hint = f"{separator} Then set input.delimiter"
        path = Path(config.input.path)
        # Nobody knows the file of a table that was in memory.
        shown = "the table" if FRAME_NAME.fullmatch(path.name) else path
        raise TableError(
            f"{shown} has no column {wanted}; it has: {has}",
            hint=hint,
        )

    what = "image file" if config.input.local_images else "image URL"
    for name in config.input.image_columns:
        kind = table.schema.field(name).type
        if pa.types.is_nested(kind):
            raise TableError(
                f"column {name!r} is {kind}, and an {what} is one text",
                hint="map a column of texts; several images of a row are several columns: "
                "[first, second]",
            )

    both = [path for path in axes if path in table.schema.names and path != "req_key"]
    if both:
        raise TableError(
            f"{both[0]!r} is an axis of the sweep and a column of the table, so it could mean "
            "either",
            hint="rename the variable in sweep and request.prompt, or the column",
        )


def _check_placeholders(table: InputTable, config: Config, axes: Sequence[str]) -> None:
    """Raise TableError where `request.prompt` means a column by what is none of its placeholders."""
    prompt = config.request.prompt or ""
    columns = table.schema.names
    for written, name in _DOUBLED.findall(prompt):
        # As other template languages have it; here doubled braces are plain ones, sent as they are.
        if name in columns or name in axes:
            raise TableError(
                f"request.prompt contains {written}, which is sent as {{{name}}}",
                hint=f"write {{{name}}} for the column",
            )
    by_case = {column.casefold(): column for column in columns}
    for name in placeholders(prompt):
        column = by_case.get(name.casefold())
        if column and name not in columns:
            raise TableError(
                f"request.prompt contains {{{name}}}, and the table has {column!r}",
                hint=f"write {{{column}}}: upper and lower case count",
            )
