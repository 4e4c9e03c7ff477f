"""Whether a table has the columns that a config names, and of types that can be read as it says."""

from collections.abc import Sequence

import pyarrow as pa

from pixmill.config.model import Config
from pixmill.errors import TableError
from pixmill.tables import InputTable, delimiter_hint


def check_columns(
    table: InputTable,
    config: Config,
    needed: Sequence[str],
    axes: Sequence[str],
) -> None:
    """Raise TableError where `table` lacks a column that is `needed`, or has one that can't be what it should be.

    `axes` are the paths of the sweep.
    """
    missing = [name for name in dict.fromkeys(needed) if name not in table.schema.names]
    if missing:
        has = ", ".join(table.schema.names)
        wanted = ", ".join(repr(name) for name in missing)
        hint = "name the columns in input.columns, input.row_key, request.prompt and conditions"
        # A table that was read with the wrong separator has one column, and lacks all others.
        if separator := delimiter_hint(table.schema):
            hint = f"{separator} Then set input.delimiter"
        raise TableError(
            f"{config.input.path} has no column {wanted}; it has: {has}",
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
