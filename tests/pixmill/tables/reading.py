"""What a table gives out as a whole: its rows, or what it says when it can't be read."""

import pytest

from pixmill.errors import TableError
from pixmill.tables import InputTable


def rows_of(table: InputTable) -> list[dict[str, object]]:
    return [row for batch in table.batches() for row in batch.rows.to_pylist()]


def failure(table: InputTable) -> str:
    with pytest.raises(TableError) as caught:
        rows_of(table)
    return str(caught.value)
