"""What a table gives out as a whole: its rows, or what it says when it can't be read."""

from pathlib import Path

import pytest

from pixmill.errors import TableError
from pixmill.tables import InputTable, RowBatch, open_table


def open_content(file: Path, content: str | bytes, **options: str) -> InputTable:
    """Write a table and open it."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(str(file), **options)


def only_batch(table: InputTable) -> RowBatch:
    (batch,) = table.batches()
    return batch


def rows_of(table: InputTable) -> list[dict[str, object]]:
    return [row for batch in table.batches() for row in batch.rows.to_pylist()]


def failure(table: InputTable) -> str:
    with pytest.raises(TableError) as caught:
        rows_of(table)
    return str(caught.value)
