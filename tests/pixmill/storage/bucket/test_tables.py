"""Input tables in a bucket: brought here once a version, and named by their URLs."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.errors import StoreError, TableError
from pixmill.tables import InputTable, open_table
from pixmill.tables.cached_copies import KEPT_VERSIONS
from tests.bucket import Bucket, Fault
from tests.conftest import ROOT, Project, run_config

pytest.importorskip("boto3")
pytestmark = pytest.mark.stack

CSV = b"id,photo,text\n1,https://images.example.com/1.jpg,a pet\n"


def rows(table: InputTable) -> int:
    return sum(batch.rows.num_rows for batch in table.batches())


def test_a_table_in_a_bucket_is_read_as_one_beside_the_config(
    bucket: Bucket, project: Project, tmp_path: Path
) -> None:
    project.write_rows(project.rows(3))
    bucket.put("tables/pets.csv", (tmp_path / "pets.csv").read_bytes())
    report = run_config(
        project.write_config(input={"path": bucket.url("tables/pets.csv")})
    )
    assert (report["exit_code"], report["succeeded"]) == (0, 3)
    local = run_config(project.write_config(input={"path": str(tmp_path / "pets.csv")}))
    assert (local["calls"], local["cached"]) == (0, 3), (
        "where a table is changes no key"
    )


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
        assert (
            sorted(file.stem for file in open_table(bucket.url(key)).files) == expected
        ), key
    assert open_table(bucket.url("in")).skipped == ("notes.txt",)
    assert open_table(bucket.url("in/*.csv")).skipped == ()


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
    with pytest.raises(
        TableError, match=f"s3://{bucket.name}/pets.csv: there is no such object"
    ):
        open_table(bucket.url("pets.csv"))


def test_a_table_that_may_not_be_read_is_an_error_that_says_so(bucket: Bucket) -> None:
    bucket.put("pets.csv", CSV)
    bucket.proxy.faults = [Fault("GET", "/pets.csv", 403)]
    with pytest.raises(
        StoreError,
        match=f"can't read s3://{bucket.name}/pets.csv: the answer is 403 AccessDenied",
    ):
        open_table(bucket.url("pets.csv"))


@pytest.mark.parametrize(
    "key", ["in/../../../escape.csv", "in//double.csv", "in/bell\x07.csv"]
)
def test_a_key_that_is_no_path_below_a_folder_is_left_alone(
    bucket: Bucket, key: str, tmp_path: Path
) -> None:
    """Whoever writes to the bucket chooses names: none leads out of the folder of copies."""
    bucket.put(key, CSV)
    with pytest.raises(TableError, match="there is no such object"):
        open_table(bucket.url("in/**/*.csv"))
    assert not list(tmp_path.rglob("escape.csv"))


# Copies of earlier versions


COPIES = """
import sys
from pixmill.tables import open_table
open_table(sys.argv[1])
print("read", flush=True)
sys.stdin.read()
"""


def copies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("pets.csv") if path.is_file()]


def open_elsewhere(bucket: Bucket) -> subprocess.Popen[str]:
    """A process that has opened the table and would read on."""
    command = [sys.executable, "-c", COPIES, bucket.url("pets.csv")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "read\n"
    return process


def put_version(bucket: Bucket, number: int) -> None:
    bucket.put(
        "pets.csv", CSV + b"2,https://images.example.com/2.jpg,pet %d\n" % number
    )


def test_a_few_versions_of_a_table_are_kept(bucket: Bucket, tmp_path: Path) -> None:
    """A night's run brings a new version each night: the disk would fill up with them."""
    for number in range(KEPT_VERSIONS + 3):
        put_version(bucket, number)
        reader = open_elsewhere(bucket)
        reader.communicate()
    assert len(copies(tmp_path)) == KEPT_VERSIONS
    assert any(b"pet 5" in path.read_bytes() for path in copies(tmp_path))


def test_a_version_that_a_process_reads_stays_until_it_ends(
    bucket: Bucket, tmp_path: Path
) -> None:
    put_version(bucket, 0)
    reader = open_elsewhere(bucket)
    for number in range(1, KEPT_VERSIONS + 3):
        put_version(bucket, number)
        open_elsewhere(bucket).communicate()
    assert any(b"pet 0" in path.read_bytes() for path in copies(tmp_path))
    reader.communicate()
    open_elsewhere(bucket).communicate()
    assert len(copies(tmp_path)) == KEPT_VERSIONS


def test_what_nobody_read_for_long_goes(bucket: Bucket, tmp_path: Path) -> None:
    """Also of a table that is there no more, and halves that a killed process left."""
    put_version(bucket, 0)
    open_elsewhere(bucket).communicate()
    (copy,) = copies(tmp_path)
    (copy.parent / ".half.part").write_bytes(b"half")
    os.utime(copy.parent, (0, 0))
    bucket.put("cats.csv", CSV)
    command = [sys.executable, "-c", COPIES, bucket.url("cats.csv")]
    subprocess.run(
        command, cwd=ROOT, input="", text=True, check=True, stdout=subprocess.DEVNULL
    )
    assert copies(tmp_path) == []
    assert not list((tmp_path / "cache").rglob(".*.part"))
