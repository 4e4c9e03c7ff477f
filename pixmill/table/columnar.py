"""Parquet. Columns keep their types; metadata of other tools is dropped, and an extension type is replaced by
what stores it. Row groups are read a few rows at a time, so a file may be larger than memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.errors import TableError
from pixmill.table.batch import BATCH_BYTES, Part
from pixmill.table.columns import changed, check_same_types, checked

# Rows that Arrow decodes at once: few, for with a dictionary 50 KB of file can say a megabyte in every row.
_STEP = 1_000

# As for gzip: beyond the free bytes a file may declare this many times its size, more is a bomb.
_FREE_BYTES = 64 << 20
_MAX_RATIO = 200


@dataclass(frozen=True)
class Parquet:
    """Parquet files with the same columns and types."""

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The columns of the files, without metadata."""
        schemas = [_schema(file) for file in files]
        for file, other in zip(files[1:], schemas[1:], strict=True):
            check_same_types(files[0], schemas[0], file, other)
        return schemas[0]

    def parts(self, file: Path, schema: pa.Schema, size: int) -> Iterator[Part]:
        """The rows of one file, decoded and checked: none is bad, a damaged file is a TableError."""
        gathered: list[pa.RecordBatch] = []
        rows = space = 0
        for piece in _pieces(file, size):
            rows, space = rows + piece.num_rows, space + piece.nbytes
            if gathered and (rows > size or space > BATCH_BYTES):
                yield _part(file, gathered, schema)
                gathered, rows, space = [], piece.num_rows, piece.nbytes
            gathered.append(piece)
        if gathered:
            yield _part(file, gathered, schema)


def _pieces(file: Path, size: int) -> Iterator[pa.RecordBatch]:
    with _opened(file) as parquet:
        step = min(size, _STEP, _rows_in(BATCH_BYTES, parquet.metadata))
        for piece in parquet.iter_batches(step):
            # Arrow trusts the file: offsets and UTF-8 that are wrong would show much later, in other places.
            piece.validate(full=True)
            yield piece


def _rows_in(space: int, metadata: pq.FileMetaData) -> int:
    """How many rows of the widest row group need `space` bytes, by what the file declares."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, space // max(widest, 1))


def _part(file: Path, gathered: list[pa.RecordBatch], schema: pa.Schema) -> Part:
    try:
        return Part(
            pa.Table.from_batches(gathered).select(schema.names).cast(schema).combine_chunks(), {}
        )
    except (pa.ArrowException, KeyError) as error:
        raise changed(file) from error


def _schema(file: Path) -> pa.Schema:
    with _opened(file) as parquet:
        _refuse_bomb(file, parquet.metadata)
        found = parquet.schema_arrow
        return checked(
            pa.schema([pa.field(field.name, _plain_type(field.type)) for field in found]), file
        )


def _refuse_bomb(file: Path, metadata: pq.FileMetaData) -> None:
    declared = sum(
        metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)
    )
    if declared > max(_FREE_BYTES, _MAX_RATIO * file.stat().st_size):
        raise TableError(
            f"{file}: it expands to more than {_MAX_RATIO} times its size, as a bomb does",
            hint="if the table is right, write it again without compression",
        )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without extensions and without metadata on the fields inside it."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit, kind.tz)  # the name of a zone may be damaged: Python notices
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(
            _plain_field(kind.key_field), _plain_field(kind.item_field), kind.keys_sorted
        )
    if pa.types.is_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _plain_type(field.type), field.nullable)


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            yield parquet
    # ValueError: names (of columns, of time zones) that are not UTF-8.
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        message = f"{file}: it is damaged, or not Parquet: {reason}"
        raise TableError(message, hint="write or fetch the file again") from error
