"""Files that follow each other under one name, read with the footer of the one before."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.dataset import ParquetFileFormat
from pyarrow.fs import LocalFileSystem

from pixmill.datasets.page_preserving_writer import PagePreservingWriter, content_digest

SCHEMA = pa.schema([("version", pa.int64()), ("text", pa.string())])


def table(version: int, rows: int) -> pa.Table:
    noise = (
        np.random.default_rng(version).bytes(40 * rows).hex()
    )  # can't be compressed to nothing
    return pa.table(
        [[version] * rows, [noise[80 * at : 80 * at + 80] for at in range(rows)]],
        SCHEMA,
    )


def write_version(path: Path, version: int, groups: list[int]) -> None:
    aside = path.with_suffix(".new")
    with PagePreservingWriter(aside, SCHEMA, path) as writer:
        for rows in groups:
            writer.write(table(version, rows))
    aside.replace(path)


@pytest.mark.parametrize("groups", [[10], [0], [1], [3000, 3000, 500], [1] * 20, []])
def test_a_reader_that_has_the_old_footer_reads_the_old_version_whole(
    tmp_path: Path, groups: list[int]
) -> None:
    path = tmp_path / "dataset.parquet"
    write_version(path, 0, groups)
    for version in range(1, 12):
        reading = ParquetFileFormat().make_fragment(str(path), LocalFileSystem())
        assert reading.physical_schema == SCHEMA
        write_version(path, version, [*groups, version])
        assert set(reading.to_table()["version"].to_pylist()) <= {version - 1}
        assert reading.to_table().num_rows == sum(groups) + (
            version - 1 if version > 1 else 0
        )
        assert pq.read_table(path)["version"].to_pylist() == [version] * (
            sum(groups) + version
        )


@pytest.mark.parametrize("groups", [[10], [4000], [2000] * 6])
def test_a_file_stays_within_a_few_times_the_size_of_its_rows(
    tmp_path: Path, groups: list[int]
) -> None:
    path = tmp_path / "dataset.parquet"
    write_version(path, 0, groups)
    alone = path.stat().st_size
    sizes = []
    for version in range(1, 30):
        write_version(path, version, groups)
        sizes.append(path.stat().st_size)
    assert max(sizes) < 3.2 * alone
    assert sum(sizes) / len(sizes) < 2.7 * alone


def test_equal_rows_have_one_digest_wherever_their_pages_lie(tmp_path: Path) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write_version(first, 1, [50, 7])
    write_version(second, 2, [30])
    write_version(second, 1, [50, 7])
    assert first.read_bytes() != second.read_bytes()
    assert content_digest(first) == content_digest(second)
    write_version(second, 1, [50, 8])
    assert content_digest(first) != content_digest(second)


def test_what_is_no_parquet_file_has_no_pages_to_keep(tmp_path: Path) -> None:
    path = tmp_path / "dataset.parquet"
    path.write_bytes(b"PAR1, but damaged")
    write_version(path, 1, [5])
    assert pq.read_table(path)["version"].to_pylist() == [1] * 5
