"""Whatever bytes a table file or a console's export has: rows, bad rows, or one TableError."""

import gzip
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from pixmill.errors import TableError
from pixmill.ledger.billing.reconciliation import days_of, read_export
from pixmill.tables import as_text, open_table
from tests.fuzz.amount import examples
from tests.fuzz.mutations import damaged

CSV = b'\xef\xbb\xbfid,photo,text\r\n1,https://x/1.jpg,"a ""red"", house"\r\n2,https://x/2.jpg,two\nlines\n'
JSONL = b'{"id": 1, "text": "a\\u00e9", "tags": ["x", null], "at": 1.5e3}\n{"id": 2, "more": {"a": [1]}}\n'
EXPORT = '日期,请求ID,次数,应付金额\n2026-11-01,r-1,1,¥0.20\n2026-11-02 10:00:00+08:00,r-2,"1,000",-\n'
SPARE = [
    b'"',
    b",",
    b"\r",
    b"\n",
    b"\x00",
    b"\xff",
    b"{",
    b"]",
    b"\\u",
    b"\\ud800",
    b"1e999",
    b"NaN",
    "。".encode(),
    b";",
]
ENCODINGS = [
    "utf-8",
    "utf-16",
    "utf-16-le",
    "gbk",
    "gb18030",
    "latin-1",
    "shift_jis",
    "utf-7",
    "cp437",
]


def parquet() -> bytes:
    file = BytesIO()
    columns = {
        "id": [1, 2, 3],
        "text": ["a", None, "long " * 9],
        "tags": [["x"], [], None],
        "at": [0.5, None, 2.0],
    }
    pq.write_table(pa.table(columns), file, write_page_checksum=True)
    return file.getvalue()


def reads_or_says_why(path: Path, encoding: str = "utf-8") -> None:
    """Every row is given out once, as text too; a bad one names what is wrong with it."""
    try:
        rows = 0
        for batch in open_table(str(path), encoding=encoding).batches(2):
            assert batch.first_row == rows + 1
            rows += batch.rows.num_rows
            assert all(
                0 <= position < batch.rows.num_rows and bad.message
                for position, bad in batch.problems.items()
            )
            for column in batch.rows.columns:
                assert len(as_text(column)) == batch.rows.num_rows
    except TableError as error:
        assert str(error)


@examples(100)
@given(
    content=damaged([CSV, CSV.decode().encode("utf-16")], SPARE)
    | st.binary(max_size=80),
    encoding=st.sampled_from(ENCODINGS),
)
@example(content=CSV, encoding="utf-16")
def test_any_bytes_are_a_csv_table_or_a_table_error(
    tmp_path: Path, content: bytes, encoding: str
) -> None:
    """G5, G6, G7, G12."""
    (tmp_path / "t.csv").write_bytes(content)
    reads_or_says_why(tmp_path / "t.csv", encoding)


@examples(100)
@given(
    content=damaged([JSONL], SPARE) | st.binary(max_size=80),
    encoding=st.sampled_from(ENCODINGS),
)
@example(content=JSONL, encoding="utf-32")
def test_any_bytes_are_json_lines_or_a_table_error(
    tmp_path: Path, content: bytes, encoding: str
) -> None:
    """G5, G7, G16."""
    (tmp_path / "t.jsonl").write_bytes(content)
    reads_or_says_why(tmp_path / "t.jsonl", encoding)


@examples(80)
@given(content=damaged([gzip.compress(CSV, mtime=0)]))
def test_any_bytes_are_a_gzipped_table_or_a_table_error(
    tmp_path: Path, content: bytes
) -> None:
    """G20."""
    (tmp_path / "t.csv.gz").write_bytes(content)
    reads_or_says_why(tmp_path / "t.csv.gz")


@examples(100)
@given(content=damaged([parquet()]))
def test_any_bytes_are_a_parquet_table_or_a_table_error(
    tmp_path: Path, content: bytes
) -> None:
    """G17."""
    (tmp_path / "t.parquet").write_bytes(content)
    reads_or_says_why(tmp_path / "t.parquet")


@examples(100)
@given(
    content=damaged(
        [EXPORT.encode(), EXPORT.encode("gb18030")],
        [*SPARE, b"9" * 30, b"0000-00-00", b"T25:61", b"+99:99", b"9999-12-31"],
    )
)
def test_any_console_export_is_read_or_a_table_error(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bill.csv").write_bytes(content)
    try:
        export = read_export(str(tmp_path / "bill.csv"), ZoneInfo("Asia/Shanghai"))
    except TableError as error:
        assert str(error)
    else:
        assert all(row.day for row in export.rows) or "day" not in export.columns
        days_of(export, ZoneInfo("Asia/Shanghai"))
