"""Parquet files that follow each other under one name: each still holds its predecessor's pages
where they were.

pandas and pyarrow open a path twice, first for the footer and then for the pages. Where a rename
falls between the two, the old footer is applied to the new file; as the old pages are there, at
their offsets, the reader gets the old version whole. New pages go where there is room before,
between or behind the old ones, so a file is seldom more than twice as large as its own pages.
`pixmill export --format parquet` writes one without the others.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

OPTIONS = {"compression": "zstd", "write_page_checksum": True, "use_dictionary": False}
"""Without dictionaries, as zstd finds what repeats: a file is a tenth smaller and written in a
fifth less time. Keys, prompts and URLs differ from row to row, and the dictionary of such a column
is as long as the column."""

_BLOCK = 8 << 20
_SURE_FACTOR = 4
_SURE_BYTES = 1 << 20
"""No row group is encoded in more bytes than this many times its size in memory, and so many for
headers."""


class Extent(NamedTuple):
    """Bytes of a file, from `begin` up to `end`."""

    begin: int
    end: int


class PagePreservingWriter:
    """Writes a Parquet file, one row group a table, in which the pages of `predecessor` keep their
    places."""

    def __init__(self, path: Path, schema: pa.Schema, predecessor: Path) -> None:
        self._open = ExitStack()
        self._old: BinaryIO | None = None
        self._kept: deque[Extent] = deque()
        if predecessor.exists():
            self._old = self._open.enter_context(predecessor.open("rb"))
            self._kept.extend(_page_extents(self._old))
        self._sink = self._open.enter_context(pa.OSFile(str(path), "wb"))
        self._schema = schema
        self._writer = pq.ParquetWriter(self._sink, schema, **OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        with self._open:
            while self._kept:
                self._keep_next()
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Write `table` as one row group."""
        while self._kept and not self._fits(
            table, self._kept[0].begin - self._sink.tell()
        ):
            self._keep_next()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def _fits(self, table: pa.Table, room: int) -> bool:
        if room >= _SURE_FACTOR * table.nbytes + _SURE_BYTES:
            return True
        if room <= 0:
            return False
        # How well it compresses is known only once it is encoded; this is needed for the few tables
        # that are about as large as a gap.
        tried = pa.BufferOutputStream()
        pq.write_table(table, tried, row_group_size=max(1, table.num_rows), **OPTIONS)
        return bool(tried.tell() <= room)

    def _keep_next(self) -> None:
        """Fill up to the next old pages and copy these."""
        extent = self._kept.popleft()
        if self._old is None:
            return
        self._sink.write(bytes(extent.begin - self._sink.tell()))
        for block in _blocks(self._old, extent):
            self._sink.write(block)


def has_same_content(published: Path, written: Path) -> bool:
    """Whether two files have equal rows, wherever their pages lie; not where one can't be read."""
    try:
        # Most contents that differ do so in length, which the footers tell.
        if _content_lengths(published) != _content_lengths(written):
            return False
        return content_digest(published) == content_digest(written)
    except (OSError, pa.ArrowException):
        # Nothing is published yet, or it is damaged.
        return False


def _content_lengths(path: Path) -> list[int]:
    """Return how many bytes each of a file's column chunks has, in the order of the rows."""
    with path.open("rb") as file:
        return [chunk.end - chunk.begin for chunk in _chunk_extents(file)]


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's schema and own pages: equal for equal rows, wherever their
    pages lie."""
    with path.open("rb") as file:
        digest = sha256(pq.ParquetFile(file).schema_arrow.serialize())
        for chunk in _chunk_extents(file):
            for block in _blocks(file, chunk):
                digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO, extent: Extent) -> Iterator[bytes]:
    file.seek(extent.begin)
    left = extent.end - extent.begin
    while left and (block := file.read(min(left, _BLOCK))):
        left -= len(block)
        yield block


def _page_extents(file: BinaryIO) -> list[Extent]:
    """Where the pages that the footer of `file` names lie, in order, neighbours joined; nothing for
    no Parquet file."""
    try:
        chunks = sorted(_chunk_extents(file))
    except (pa.ArrowException, OSError):
        return []
    joined: list[Extent] = []
    for chunk in chunks:
        if joined and chunk.begin <= joined[-1].end:
            joined[-1] = Extent(joined[-1].begin, max(joined[-1].end, chunk.end))
        else:
            joined.append(chunk)
    return joined


def _chunk_extents(file: BinaryIO) -> list[Extent]:
    """Where each column chunk lies, in the order of the rows."""
    metadata = pq.read_metadata(file)
    extents = []
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            offsets = (column.dictionary_page_offset, column.data_page_offset)
            # 0 says that there is no such page; a row group without rows has none at all.
            begins = [offset for offset in offsets if offset]
            if begins:
                begin = min(begins)
                extents.append(Extent(begin, begin + column.total_compressed_size))
    return extents
