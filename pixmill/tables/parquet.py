"""Parquet. Columns keep their types, in their plain form (`plain`); metadata of other tools is dropped. Files
whose types differ are read as the types that hold them all. Row groups are read a few rows at a time, so a
file may be larger than memory.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.arrow_types import common_type, conform, plain_type
from pixmill.errors import TableError
from pixmill.tables.batch import BATCH_BYTES, UnnumberedBatch
from pixmill.tables.columns import change_error, check_names, common_schema
from pixmill.tables.text_stream import FREE_BYTES, MAX_RATIO

# Rows that Arrow decodes at once: few, for with a dictionary 50 KB of file can say a megabyte in every row.
_STEP = 1_000


# The seconds from 1970 that each unit of 64 bits holds, the finest first.
_UNITS = {"ns": 2**63 // 10**9, "us": 2**63 // 10**6, "ms": 2**63 // 10**3}


@dataclass(frozen=True)
class Parquet:
    """Parquet files with the same columns."""

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The columns of the files, of types that hold the values of all, without metadata."""
        unit = max(
            (_int96_unit(file) for file in files), key=["ns", "us", "ms", "s"].index
        )
        return common_schema(files, [_schema(file, unit) for file in files])

    def parts(
        self, file: Path, schema: pa.Schema, size: int
    ) -> Iterator[UnnumberedBatch]:
        """The rows of one file, decoded and checked: none is bad, a damaged file is a TableError."""
        gathered: list[pa.RecordBatch] = []
        rows = 0
        space = 0
        with _open(file, _int96_unit(file)) as parquet:
            # By what the file declares: as many rows of the widest row group as make up a batch.
            groups = (
                parquet.metadata.row_group(index)
                for index in range(parquet.metadata.num_row_groups)
            )
            widest = max(
                (group.total_byte_size // max(group.num_rows, 1) for group in groups),
                default=0,
            )
            fitting = max(1, BATCH_BYTES // max(widest, 1))
            for decoded in parquet.iter_batches(min(size, _STEP, fitting)):
                # Arrow trusts the file: offsets and UTF-8 that are wrong would show much later, in other places.
                decoded.validate(full=True)
                piece = _conform(file, decoded, schema)
                rows = rows + piece.num_rows
                space = space + piece.nbytes
                if gathered and (rows > size or space > BATCH_BYTES):
                    yield _part(gathered)
                    gathered = []
                    rows = piece.num_rows
                    space = piece.nbytes
                gathered.append(piece)
        if gathered:
            yield _part(gathered)


def _conform(file: Path, piece: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    # Metadata of fields counts as well: of extension types it says what they are.
    if piece.schema.remove_metadata().equals(schema, check_metadata=True):
        return piece.replace_schema_metadata(None)
    if Counter(piece.schema.names) != Counter(schema.names):
        raise change_error(file)
    columns = []
    for field in schema:
        column = piece.column(field.name)
        try:
            columns.append(conform(column, field.type))
        except pa.ArrowException as error:
            if not _holds(field.type, column.type):
                raise change_error(file) from error
            reason = str(error).partition("\n")[0][:200]
            raise TableError(
                f"{file}: column {field.name!r} is {column.type} and holds values that "
                f"{field.type}, its "
                f"type in all files together, can't hold: {reason}",
                hint="write the files of one input with one type for each column",
            ) from error
    return pa.record_batch(columns, schema=schema)


def _holds(wide: pa.DataType, found: pa.DataType) -> bool:
    """Whether `wide` is what columns of `found` become together with those of other files."""
    try:
        return bool(common_type(wide, plain_type(found)) == wide)
    except pa.ArrowException:
        return False


def _int96_unit(file: Path) -> str:
    """The finest unit that holds all timestamps which `file` stores in 96 bits, as Spark and Impala do.

    Nanoseconds, Arrow's own choice, end in the year 2262: 9999-12-31, for "for ever", would be 1816.
    """
    with _open(file) as parquet:
        found = [parquet.schema.column(at) for at in range(len(parquet.schema))]
        roots = sorted(
            {
                column.path.partition(".")[0]
                for column in found
                if column.physical_type == "INT96"
            }
        )
    if not roots:
        return "ns"
    # Read by seconds, which hold every year that 96 bits do.
    with _open(file, "s") as parquet:
        farthest = max(
            (
                _farthest(column)
                for piece in parquet.iter_batches(_STEP, columns=roots)
                for column in piece.columns
            ),
            default=0,
        )
    return next((unit for unit, limit in _UNITS.items() if farthest < limit), "s")


def _farthest(array: pa.Array) -> int:
    """The most seconds between 1970 and a timestamp in `array`, at whatever depth."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        ends = pc.min_max(array.cast(pa.int64())).as_py() if kind.unit == "s" else {}
        return max(
            (abs(value) for value in ends.values() if value is not None), default=0
        )
    if pa.types.is_struct(kind):
        return max((_farthest(part) for part in array.flatten()), default=0)
    if pa.types.is_map(kind):
        return max(_farthest(array.keys), _farthest(array.items))
    return _farthest(array.flatten()) if pa.types.is_nested(kind) else 0


def _part(gathered: list[pa.RecordBatch]) -> UnnumberedBatch:
    return UnnumberedBatch(pa.Table.from_batches(gathered).combine_chunks(), {})


def _schema(file: Path, int96_unit: str) -> pa.Schema:
    with _open(file, int96_unit) as parquet:
        declared = sum(
            parquet.metadata.row_group(index).total_byte_size
            for index in range(parquet.metadata.num_row_groups)
        )
        if declared > max(FREE_BYTES, MAX_RATIO * file.stat().st_size):
            raise TableError(
                f"{file}: it expands to more than {MAX_RATIO} times its size, a possible "
                "decompression bomb",
                hint="if the table is right, write it again without compression",
            )
        found = parquet.schema_arrow
        return check_names(
            pa.schema(
                [pa.field(field.name, plain_type(field.type)) for field in found]
            ),
            file,
        )


@contextmanager
def _open(file: Path, int96_unit: str = "ns") -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(
            file,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit=int96_unit,
        ) as parquet:
            yield parquet
    # ValueError is for names (of columns, of time zones) that are not UTF-8.
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        message = f"{file}: it is damaged, or not Parquet: {reason}"
        raise TableError(message, hint="write or fetch the file again") from error
