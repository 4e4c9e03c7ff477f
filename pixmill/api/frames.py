"""Tables in memory, written to Parquet so that a run reads them as it reads any file.

Planning, publishing and reports read a table several times, and a run after a crash reads it again:
all of that needs a file. It is named by its content, so that the same frame is the same file, and a
run that still reads one is not disturbed by the next frame.
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.arrow_types import conform, plain_type
from pixmill.errors import TableError
from pixmill.storage.atomic_write import clear_parts, new_part, put_in_place
from pixmill.storage.integrity import hash_of
from pixmill.tables.discovery import FRAME_NAME

GROUP_ROWS = 65_536
"""Rows of a row group: DuckDB streams 2,048 rows at a time, of which each would be a group."""

UNUSED_SECONDS = 24 * 3600
"""After how long nobody reads a table any more: longer than nearly all runs take."""

_NAMELESS_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name, which is what filtering and sorting leave."""


def is_frame(value: Any) -> bool:
    """Whether `value` is a table in memory: it has an Arrow stream, or is a Hugging Face dataset."""
    return hasattr(value, "__arrow_c_stream__") or _is_hugging_face(value)


def write_frame(frame: Any, folder: Path) -> Path:
    """Write the rows of `frame` to a Parquet file in `folder` and return its path.

    An index of pandas is a column where it has a name, and is left out where it has none. Raises
    TableError for columns that Arrow or Parquet can't hold, such as one of texts and numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_parts(folder)
    with new_part(folder) as (_, part):
        try:
            _write_parquet(frame, part)
        except (pa.ArrowException, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise TableError(
                f"this {type(frame).__name__} can't be written as Parquet: {reason}",
                hint="give each column one name and one type, such as "
                "frame.astype({'id': str}) in pandas",
            ) from None
        # Named as `FRAME_NAME` says, which messages about the table know it by.
        file = folder / f"frame-{hash_of(part)[:16]}.parquet"
        if file.exists():
            # By its age `forget_frames` sees that it is in use.
            os.utime(file)
        else:
            put_in_place(part, file)
    return file


def forget_frames(in_use: Path, keep: int) -> None:
    """Remove tables beside `in_use` that were not used for a day, but for the `keep` that were used last."""
    # The folder is the caller's too: shards of their own may be there.
    used = {
        file: file.stat().st_mtime
        for file in in_use.parent.iterdir()
        if FRAME_NAME.fullmatch(file.name)
    }
    newest_first = sorted(used, key=used.__getitem__, reverse=True)
    # Another run may read one that is newer.
    before = time.time() - UNUSED_SECONDS
    for file in newest_first[keep:]:
        # A run may take longer than a day.
        if used[file] < before and file != in_use:
            file.unlink(missing_ok=True)


def _is_hugging_face(value: Any) -> bool:
    # Their datasets have no Arrow stream of their own, but give their rows out as Arrow tables.
    return hasattr(value, "with_format") and hasattr(value, "column_names")


def _write_parquet(frame: Any, path: Path) -> None:
    if _is_hugging_face(frame):
        reader = pa.table(frame.with_format("arrow")[:]).to_reader()
    else:
        reader = pa.RecordBatchReader.from_stream(frame)
    kept = [name for name in reader.schema.names if not _NAMELESS_INDEX.match(name)]
    if len(set(kept)) < len(kept):
        twice = next(name for name in kept if kept.count(name) > 1)
        raise ValueError(f"more than one column is named {twice!r}")
    fields = [(name, plain_type(reader.schema.field(name).type)) for name in kept]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
        for table in _gather(reader):
            columns = [
                pa.chunked_array(
                    [conform(chunk, kind) for chunk in table[name].chunks], kind
                )
                for name, kind in fields
            ]
            writer.write_table(pa.table(columns, schema=schema), GROUP_ROWS)


def _gather(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield the batches of a stream together, as many as make up a row group."""
    gathered: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        gathered.append(batch)
        rows += batch.num_rows
        if rows >= GROUP_ROWS:
            yield pa.Table.from_batches(gathered)
            gathered = []
            rows = 0
    if gathered:
        yield pa.Table.from_batches(gathered)
