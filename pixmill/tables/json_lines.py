"""JSON lines: one object per line. A first pass finds one type for each column, a second one converts.

Arrow's own reader is not used: it gives up at the first bad line, and takes NaN and duplicated keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from pixmill.errors import TableError
from pixmill.tables.batch import LineProblem, UnnumberedBatch
from pixmill.tables.columns import check_names, check_same_names
from pixmill.tables.json_records import parse
from pixmill.tables.text_stream import Lines, in_batches, open_lines
from pixmill.tables.type_inference import ShapeError, arrow_type, widen

# Line, cells by column, problem. Not a NamedTuple, which takes longer to make: there is one per row.
_Row = tuple[int, dict[str, Any], LineProblem | None]


@dataclass(frozen=True)
class JsonLines:
    """Text files with a JSON object per line."""

    encoding: str

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The columns in the order of their first appearance, of the narrowest types that hold all values."""
        shapes: dict[str, Any] = {}
        rows = count(1)
        first: list[str] = []
        for file in files:
            names: set[str] = set()
            with open_lines(file, self.encoding) as lines:
                for (line, cells, _), number in zip(_rows(lines), rows, strict=False):
                    names.update(cells)
                    try:
                        widen(shapes, cells, "")
                    except ShapeError as error:
                        raise TableError(
                            f"{file}: row {number} (line {line}): {error}"
                        ) from error
            if not names:
                raise TableError(
                    f"{file}: none of its lines is a JSON object that has a key",
                    hint="write one object per line, without a list around them and without line "
                    "breaks inside",
                )
            first = first or list(shapes)
            check_same_names(files[0], first, file, names)
        return check_names(
            pa.schema([(name, arrow_type(shape)) for name, shape in shapes.items()]),
            files[0],
        )

    def parts(
        self, file: Path, schema: pa.Schema, size: int
    ) -> Iterator[UnnumberedBatch]:
        """The rows of one file; a line that is not an object, or holds what no column can, is a bad one."""
        with open_lines(file, self.encoding) as lines:
            for batch in in_batches(_rows(lines), lines, size):
                found = {
                    position: problem
                    for position, (_, _, problem) in enumerate(batch)
                    if problem
                }
                columns = []
                for field in schema:
                    column, misfits = _column(
                        [cells.get(field.name) for _, cells, _ in batch], field.type
                    )
                    columns.append(column)
                    for position in misfits:
                        place = f"line {batch[position][0]}, column {field.name!r}"
                        problem = LineProblem(
                            "number_too_large",
                            field.name,
                            f"{place}: a double can't hold it exactly",
                        )
                        first = found.setdefault(position, problem)
                        if first is not problem:
                            found[position] = first._replace(
                                others=(*first.others, problem)
                            )
                yield UnnumberedBatch(pa.table(columns, schema=schema), found)


def _rows(lines: Lines) -> Iterator[_Row]:
    for line in lines:
        # Blank lines are no rows, as in CSV; `isspace` is false for an empty text, which no line is.
        if not line.isspace():
            cells, problem = parse(line, lines.number)
            yield lines.number, cells, problem


def _column(values: list[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """The values as a column, and the positions of those that don't fit its type: they are null in it.

    These are whole numbers beyond 2**53 in a column with fractions: a double would change them silently.
    """
    try:
        return pa.array(values, kind), []
    except pa.ArrowException:
        # Rare, so that every value is tried by itself only then.
        misfits = [
            position for position, value in enumerate(values) if not _fits(value, kind)
        ]
        return pa.array(
            [value if _fits(value, kind) else None for value in values], kind
        ), misfits


def _fits(value: object, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except pa.ArrowException:
        return False
    return True
