"""Input tables in a bucket: brought here once a version, and named by their URLs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.errors import StoreError, TableError
from pixmill.table import InputTable, open_table
from tests.bucket import Bucket, Fault
from tests.conftest import Workshop, carry_out

pytest.importorskip("boto3")
pytestmark = pytest.mark.stack

CSV = b"id,photo,text\n1,https://images.example.com/1.jpg,a pet\n"


def rows(table: InputTable) -> int:
    return sum(batch.rows.num_rows for batch in table.batches())


def test_a_table_in_a_bucket_is_read_as_one_beside_the_config(
    bucket: Bucket, workshop: Workshop, tmp_path: Path
) -> None:
    workshop.write_rows(workshop.rows(3))
    bucket.put("tables/pets.csv", (tmp_path / "pets.csv").read_bytes())
    report = carry_out(workshop.write_config(input={"path": bucket.url("tables/pets.csv")}))
    assert (report["exit_code"], report["succeeded"]) == (0, 3)
    local = carry_out(workshop.write_config(input={"path": str(tmp_path / "pets.csv")}))
    assert (local["calls"], local["cached"]) == (0, 3), "where a table is changes no key"


def test_a_version_of_a_table_is_fetched_once(bucket: Bucket) -> None:
    bucket.put("pets.csv", CSV)
    assert [rows(open_table(bucket.url("pets.csv"))) for _ in range(3)] == [1, 1, 1]
    assert bucket.proxy.count("GET", "/pets.csv") == 1
    bucket.put("pets.csv", CSV + CSV.splitlines(keepends=True)[1])
    assert rows(open_table(bucket.url("pets.csv"))) == 2
    assert bucket.proxy.count("GET", "/pets.csv") == 2


def test_a_run_reads_one_version_to_its_end(bucket: Bucket) -> None:
    bucket.put("pets.csv", CSV)
    table = open_table(bucket.url("pets.csv"))
    bucket.put("pets.csv", CSV * 2)
    assert rows(open_table(bucket.url("pets.csv"))) == 3
    table.check_unchanged()
    assert rows(table) == 1


def test_folders_and_patterns_mean_what_they_mean_on_a_disk(bucket: Bucket) -> None:
    for key in (
        "in/a.csv",
        "in/b.csv",
        "in/.c.csv",
        "in/_d.csv",
        "in/notes.txt",
        "in/deep/e.csv",
        "in2/f.csv",
    ):
        bucket.put(key, CSV)
    names = {
        "in": ["a", "b"],
        "in/": ["a", "b"],
        "in/*.csv": ["_d", "a", "b"],
        "in/[ab].csv": ["a", "b"],
        "in/**/*.csv": ["_d", "a", "b", "e"],
        "in*/f.csv": ["f"],
    }
    for key, expected in names.items():
        assert sorted(file.stem for file in open_table(bucket.url(key)).files) == expected, key


def test_parquet_comes_whole(bucket: Bucket, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "t.parquet")
    bucket.put("t.parquet", (tmp_path / "t.parquet").read_bytes())
    bucket.proxy.faults = [Fault("GET", "/t.parquet", "lost")]
    assert rows(open_table(bucket.url("t.parquet"))) == 2


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (b'id,text\n1,"no end\n', "quote"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_of_its_url(
    bucket: Bucket, data: bytes, problem: str
) -> None:
    bucket.put("in/pets.csv", data)
    with pytest.raises(TableError, match=problem) as raised:
        rows(open_table(bucket.url("in/pets.csv")))
    assert f"s3://{bucket.name}/in/pets.csv" in str(raised.value)
    assert "cache" not in str(raised.value)


def test_a_table_that_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(TableError, match=f"s3://{bucket.name}/pets.csv: there is no such object"):
        open_table(bucket.url("pets.csv"))


def test_a_table_that_may_not_be_read_is_an_error_that_says_so(bucket: Bucket) -> None:
    bucket.put("pets.csv", CSV)
    bucket.proxy.faults = [Fault("GET", "/pets.csv", 403)]
    with pytest.raises(
        StoreError, match=f"can't read s3://{bucket.name}/pets.csv: the answer is 403 AccessDenied"
    ):
        open_table(bucket.url("pets.csv"))


@pytest.mark.parametrize("key", ["in/../../../escape.csv", "in//double.csv", "in/bell\x07.csv"])
def test_a_key_that_is_no_path_below_a_folder_is_left_alone(
    bucket: Bucket, key: str, tmp_path: Path
) -> None:
    """Whoever writes to the bucket chooses names: none leads out of the folder of copies."""
    bucket.put(key, CSV)
    with pytest.raises(TableError, match="there is no such object"):
        open_table(bucket.url("in/**/*.csv"))
    assert not list(tmp_path.rglob("escape.csv"))
