"""The published dataset: readable at every moment, true to input and ledger, and in the shape of the contract."""

import datetime as dt
import hashlib
import json
import random
import signal
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.dataset import ParquetFileFormat
from pyarrow.fs import LocalFileSystem

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.our_columns import OUR_COLUMNS
from pixmill.datasets.publishing import publish
from pixmill.datasets.verification import verify
from pixmill.errors import TableError
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from pixmill.execution.run_summary import judge
from pixmill.ledger.queries import OUTCOME_COLUMNS
from pixmill.planning.planner import make_plan
from tests.conftest import Project, Simulated, results, run_config
from tests.fork_server import fork_process
from tests.pixmill.datasets.publishing import edit_ledger, opened, publish_versions

CONTRACT = """
row_number row_key point_id replicate prompt params req_key provider seed status error_code error_message attempts
cached job_key run_id request_id rephraser_result output_url output_urls url_expires_at file_name images input_image
started_at finished_at queue_ms latency_ms provider_ms download_ms cost currency effective_seed
task_id image_count
""".split()  # noqa: SIM905 - to be compared with the page that it stands on


@pytest.fixture
def paid(project: Project, simulated: Simulated) -> Project:
    """A project whose twenty rows are paid for and published, without images."""
    project.write_rows(project.rows(20))
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    run_config(project.path)
    return project


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of six rows: the files of these small tables have several row groups."""
    monkeypatch.setattr("pixmill.planning.plan.BATCH_JOBS", 6)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state_of(project: Project) -> tuple[Config, Path, dict[str, Any]]:
    config = load_config(project.path)
    return (
        config,
        config.dataset_folder,
        json.loads((config.dataset_folder / "manifest.json").read_text()),
    )


# A reader at any moment


@pytest.mark.slow
def test_a_reader_in_a_loop_sees_whole_versions_only(
    paid: Project, small_batches: None
) -> None:
    """H9, I5: fifty publications under a reader; each read is one of the versions, never an error or a mixture.

    It opens the file itself: given a path, pandas opens it twice (the next test).
    """
    config, folder, _ = state_of(paid)
    publish_versions(config, ["0"])
    seen: list[set[str]] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(
            0.005
        ):  # a pause, or publishing would wait for the interpreter
            try:
                with (folder / "dataset.parquet").open("rb") as file:
                    table = pd.read_parquet(file)
                assert len(table) == 20
                seen.append(set(table["rephraser_result"]))
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        publish_versions(config, map(str, range(1, 51)))
    finally:
        ended.set()
        reader.join()
    assert not errors
    assert all(len(versions) == 1 for versions in seen)
    assert len(set.union(*seen)) > 10, (
        "the reader met too few versions to prove anything"
    )
    assert pq.ParquetFile(folder / "dataset.parquet").metadata.num_row_groups == 4


def test_a_publication_between_the_two_opens_of_a_reader_goes_unnoticed(
    paid: Project,
) -> None:
    """H9, I5: `pd.read_parquet(path)` opens the path for the footer and once more for the pages."""
    config, folder, _ = state_of(paid)
    publish_versions(config, ["old, and long enough to move every page behind it"])
    reading = ParquetFileFormat().make_fragment(
        str(folder / "dataset.parquet"), LocalFileSystem()
    )
    assert reading.physical_schema
    publish_versions(config, ["new"])
    assert len(set(reading.to_table()["rephraser_result"].to_pylist())) == 1


def test_history_keeps_so_many_versions_with_their_manifests(paid: Project) -> None:
    paid.write_config(output={"images": "url", "keep_versions": 3})
    config, folder, _ = state_of(paid)
    publish_versions(config, "abcdef")
    kept = sorted((folder / "history").glob("*.parquet"))
    assert [set(pd.read_parquet(path)["rephraser_result"]) for path in kept] == [
        {"c"},
        {"d"},
        {"e"},
    ]
    manifests = [json.loads(path.with_suffix(".json").read_text()) for path in kept]
    assert [manifest["sha256"] for manifest in manifests] == [
        sha256(path) for path in kept
    ]
    assert len(list((folder / "history").iterdir())) == 6


def test_an_unchanged_dataset_makes_no_new_version(paid: Project) -> None:
    for _ in range(3):  # the first of them says that all rows are cached now
        run_config(paid.path)
    assert len(list((paid.folder / "out" / "pets" / "history").glob("*.parquet"))) == 1


def test_a_damaged_dataset_is_replaced_and_never_becomes_history(paid: Project) -> None:
    config, folder, _ = state_of(paid)
    publish_versions(config, "ab")
    kept = sorted((folder / "history").iterdir())
    good = (folder / "dataset.parquet").read_bytes()
    (folder / "dataset.parquet").write_bytes(good[:-40] + bytes(20) + good[-20:])
    publish_versions(config, "b")
    assert sorted((folder / "history").iterdir()) == kept
    assert set(pd.read_parquet(folder / "dataset.parquet")["rephraser_result"]) == {"b"}


def test_without_keep_versions_there_is_no_history(paid: Project) -> None:
    paid.write_config(output={"images": "url", "keep_versions": 0})
    config, folder, _ = state_of(paid)
    publish_versions(config, "ab")
    assert not list(folder.glob("history/*"))


def test_the_manifest_describes_the_file(paid: Project) -> None:
    _, folder, manifest = state_of(paid)
    dataset = folder / "dataset.parquet"
    assert manifest["sha256"] == sha256(dataset)
    assert manifest["bytes"] == dataset.stat().st_size
    assert manifest["rows"] == pq.ParquetFile(dataset).metadata.num_rows == 20
    assert manifest["counts"] == {"succeeded": 20, "cached": 0, "images_missing": 0}
    assert manifest["input"] == {
        "path": paid.config["input"]["path"],
        "rows": 20,
        "sha256": sha256(paid.folder / "pets.csv"),
    }
    assert manifest["packages"]["pyarrow"] == pa.__version__


def test_the_config_and_the_report_of_the_run_stand_beside_the_dataset(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    report = run_config(project.path)
    folder = project.folder / "out" / "pets"
    assert load_config(str(folder / "config.yaml")) == load_config(project.path)
    written = json.loads((folder / "runs" / f"{report['run_id']}.json").read_text())
    assert report.items() <= written.items()
    assert dt.datetime.fromisoformat(written["at"]).tzinfo


def test_bit_flips_in_the_pages_are_detected_on_read(
    paid: Project, tmp_path: Path
) -> None:
    """Without page checksums half of such flips read back silently wrong."""
    dataset = paid.folder / "out" / "pets" / "dataset.parquet"
    sound, right = dataset.read_bytes(), pq.read_table(dataset)
    with pq.ParquetFile(dataset) as file:
        group = file.metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
    places = random.Random(7)
    detected = 0
    for column in places.choices(columns, k=120):
        start = column.dictionary_page_offset or column.data_page_offset
        at = start + places.randrange(column.total_compressed_size)
        flipped = bytearray(sound)
        flipped[at] ^= 1 << places.randrange(8)
        damaged = tmp_path / "damaged.parquet"
        damaged.write_bytes(flipped)
        try:
            read = pq.read_table(damaged, page_checksum_verification=True)
        except (OSError, pa.ArrowException):
            detected += 1
        else:
            assert read.equals(right), f"byte {at} read back silently wrong"
    assert detected > 60


# Crashes, changes and rivals


def publish_and_die(project: Project, at: str) -> None:
    """Run in a process that is killed when it would put the file `at` in place."""
    with fork_process(
        "tests.pixmill.datasets.publishing:run_and_die", at, "run", project.path
    ) as process:
        said = process.communicate(60)
        assert process.wait() == -signal.SIGKILL, said


def test_a_kill_before_the_rename_leaves_the_old_version(paid: Project) -> None:
    """A4: what was written aside is ignored, and the next run publishes."""
    config, folder, before = state_of(paid)
    edit_ledger(config, "UPDATE jobs SET rephraser_result = 'new'")
    publish_and_die(paid, "dataset.parquet")
    assert sha256(folder / "dataset.parquet") == before["sha256"]
    assert "new" not in set(
        pd.read_parquet(folder / "dataset.parquet")["rephraser_result"]
    )
    assert {row["rephraser_result"] for row in results(run_config(paid.path))} == {
        "new"
    }


@pytest.mark.parametrize("at", ["dataset.parquet", "manifest.json", "config.yaml"])
def test_a_kill_between_two_files_is_mended_by_the_next_run(
    paid: Project, at: str
) -> None:
    """A4: the dataset is one file, so a reader is never torn; the files beside it follow with the next run."""
    config, folder, _ = state_of(paid)
    edit_ledger(config, "UPDATE jobs SET rephraser_result = 'new'")
    publish_and_die(paid, at)
    assert (
        len(
            set(
                pd.read_parquet(folder / "dataset.parquet")["rephraser_result"] == "new"
            )
        )
        == 1
    )
    run_config(paid.path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == sha256(folder / "dataset.parquet")


def test_what_killed_publications_left_aside_does_not_pile_up(paid: Project) -> None:
    """I11: a run that can't end would fill the disk with half-written datasets."""
    folder = paid.folder / "out" / "pets"
    for _ in range(2):
        publish_and_die(paid, "dataset.parquet")
        assert len(list(folder.glob(".*.tmp"))) == 1
    run_config(paid.path)
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("rows", [3, 5], ids="{} rows".format)
def test_a_table_that_changed_since_the_plan_is_refused_and_published_by_the_next_run(
    project: Project, simulated: Simulated, rows: int
) -> None:
    """G4: rows would be joined to the wrong results; what was paid is in the ledger and is not paid again."""
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    with prepare(load_config(project.path)) as prepared:
        run = prepared.start()
        for chunk in run.chunks():
            run.process(chunk)
        project.write_rows(project.rows(rows))
        with pytest.raises(
            TableError, match=r"pets\.csv: it changed after it was opened"
        ):
            run.finish()
    assert not (project.folder / "out" / "pets" / "dataset.parquet").exists()
    report = run_config(project.path)
    assert (report["succeeded"], report["calls"], simulated.bill.calls) == (
        rows,
        max(rows - 4, 0),
        max(rows, 4),
    )


def test_a_table_that_changed_after_it_was_agreed_to_is_not_paid_for(
    project: Project, simulated: Simulated
) -> None:
    """G4: what would be sent is not what the plan showed; it may not even be valid."""
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    with prepare(load_config(project.path)) as prepared:
        run = prepared.start()
        project.write_rows(project.rows(4, "something else"))
        assert list(run.chunks()) == []
        with pytest.raises(
            TableError, match=r"pets\.csv: it changed after it was opened"
        ):
            run.finish()
    assert simulated.bill.calls == 0


def test_two_runs_that_publish_at_the_same_time_do_not_hurt_each_other(
    paid: Project,
) -> None:
    """H1: neither fails, and the manifest is that of the dataset."""
    often = "tests.pixmill.datasets.publishing:publish_often"
    with (
        fork_process(often, paid.path, "a") as one,
        fork_process(often, paid.path, "b") as other,
    ):
        said = [rival.communicate(120) for rival in (one, other)]
        assert [rival.wait() for rival in (one, other)] == [0, 0], said
    _, folder, manifest = state_of(paid)
    assert manifest["sha256"] == sha256(folder / "dataset.parquet")


# What the rows say


def typed_table() -> pa.Table:
    instant = dt.datetime(2026, 2, 3, 4, 5, 6, 789_000)
    return pa.table(
        {
            "photo": pa.array(
                [f"https://images.example.com/{at}.jpg" for at in range(3)],
                pa.large_string(),
            ),
            "text": pa.array(["a cat", "a dog", "a fox"]),
            "count": pa.array([1, None, 3], pa.int8()),
            "weight": pa.array([0.5, 1.5, None], pa.float32()),
            "tame": pa.array([True, False, None]),
            "price": pa.array(
                [Decimal("1.10"), None, Decimal("3.30")], pa.decimal128(9, 2)
            ),
            "born": pa.array([dt.date(2020, 1, 2), None, dt.date(2022, 3, 4)]),
            "seen": pa.array(
                [instant, None, instant], pa.timestamp("ms", tz="Asia/Shanghai")
            ),
            "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
            "place": pa.array([{"x": 1, "y": 2.5}, None, {"x": None, "y": 0.0}]),
            "raw": pa.array([b"\x00\xff", None, b""], pa.binary()),
            "status": pa.array(["new", "old", None]),
            "cost": pa.array([1, 2, 3], pa.int32()),
        }
    )


def test_typed_input_columns_keep_their_names_types_and_values(
    project: Project, simulated: Simulated
) -> None:
    """G16; foreign schema metadata is dropped."""
    own = typed_table()
    pq.write_table(
        own.replace_schema_metadata({"pandas": "{}"}), project.folder / "pets.parquet"
    )
    project.use_simulator(simulated)
    project.write_config(
        input={"path": str(project.folder / "pets.parquet")}, output={"images": "url"}
    )
    published = pq.read_table(run_config(project.path)["dataset"])
    assert published.select(own.schema.names).equals(own)
    assert published.select(own.schema.names).schema.equals(own.schema)
    assert b"pandas" not in (published.schema.metadata or {})


def test_our_columns_come_in_the_order_of_the_contract_and_are_prefixed_only_on_a_clash(
    project: Project, simulated: Simulated
) -> None:
    own = typed_table().append_column("pixmill_cost", pa.array(["a", "b", "c"]))
    pq.write_table(own, project.folder / "pets.parquet")
    project.use_simulator(simulated)
    project.write_config(
        input={"path": str(project.folder / "pets.parquet")}, output={"images": "url"}
    )
    names = pq.read_table(run_config(project.path)["dataset"]).schema.names
    clashes = {"status": "pixmill_status", "cost": "pixmill_pixmill_cost"}
    assert names == [*own.schema.names, *(clashes.get(name, name) for name in CONTRACT)]


def test_csv_stays_text(project: Project, simulated: Simulated) -> None:
    """G10: 007, 1e5, NA and null come back as they stood."""
    odd = ["007", "1e5", "NA", "null", ""]
    project.write_rows(
        [{**row, "id": value} for row, value in zip(project.rows(5), odd, strict=True)]
    )
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    assert [row["id"] for row in results(run_config(project.path))] == odd


def test_every_column_of_a_success_says_what_the_contract_says(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    project.write_config(input={"row_key": ["id"]}, budget={"price_per_call": 0.2})
    report = run_config(project.path)
    row = results(report)[1]
    bill = {line["request_id"]: line for line in simulated.bill.lines()}
    image = row["images"][0]
    picture = project.folder / "out" / row["file_name"]
    assert (row["id"], row["row_number"], row["row_key"], row["prompt"]) == (
        "r1",
        2,
        "r1",
        "a pet 1",
    )
    assert (row["point_id"], row["replicate"], row["status"], row["attempts"]) == (
        "base",
        0,
        "succeeded",
        1,
    )
    assert (
        row["error_code"],
        row["error_message"],
        row["input_image"],
        row["cached"],
    ) == (None, None, None, False)
    assert (row["provider"], row["run_id"], row["currency"]) == (
        "gateway",
        report["run_id"],
        "CNY",
    )
    assert bill[row["request_id"]]["charged"]
    assert json.loads(row["params"])["scale"] == 3
    assert 0 <= row["seed"] < 2**31
    assert len(row["job_key"]) == 64
    assert row["output_url"] == row["output_urls"][0]
    assert row["output_url"].startswith(simulated.url)
    assert (
        image["file_name"]
        == row["file_name"]
        == f"images/{image['sha256'][:2]}/{image['sha256']}.jpg"
    )
    assert sha256(picture) == image["sha256"]
    assert picture.stat().st_size == image["bytes"]
    assert image["format"] == "JPEG"
    assert row["started_at"] < row["finished_at"] < row["url_expires_at"]
    assert all(
        row[name] >= 0
        for name in ("queue_ms", "latency_ms", "provider_ms", "download_ms")
    )
    assert row["cost"] == 0.2
    assert report["cost"] == pytest.approx(0.4)


def test_equal_rows_share_a_result_and_the_cost_stands_on_the_first(
    project: Project, simulated: Simulated
) -> None:
    """G1: one payment, its result on every equal row, its cost once, so that a sum over the column is right."""
    first, second = project.rows(2)
    project.write_rows(
        [first, second, {**first, "id": "twin"}, {**first, "id": "triplet"}]
    )
    project.use_simulator(simulated)
    project.write_config(budget={"price_per_call": 0.2})
    report = run_config(project.path)
    rows = results(report)
    own = {"id", "row_number", "cost"}
    shared = [
        {name: value for name, value in row.items() if name not in own} for row in rows
    ]
    assert (
        shared[0]
        == {**shared[2], "cached": shared[0]["cached"]}
        == {**shared[3], "cached": shared[0]["cached"]}
    )
    assert [row["cost"] for row in rows] == [0.2, 0.2, None, None]
    assert (
        report["jobs"],
        report["succeeded"],
        report["calls"],
        simulated.bill.charged,
    ) == (4, 4, 2, 2)


def test_invalid_rows_are_listed_with_reason_column_and_their_own_values(
    project: Project, simulated: Simulated
) -> None:
    good, blank, local = project.rows(3)
    blank["text"] = "  "
    local["photo"] = "http://127.0.0.1/x.jpg"
    project.write_rows([good, blank, local])
    project.use_simulator(simulated)
    project.write_config(input={"max_invalid": 1.0}, output={"images": "url"})
    report = run_config(project.path)
    listed = pq.read_table(
        project.folder / "out" / "pets" / "invalid.parquet"
    ).to_pylist()
    assert [(row["row_number"], row["column"], row["reason"]) for row in listed] == [
        (2, "text", "empty_prompt"),
        (3, "photo", "private_address"),
    ]
    assert [json.loads(row["values"]) for row in listed] == [blank, local]
    rows = results(report)
    assert [(row["status"], row["error_code"]) for row in rows] == [
        ("succeeded", None),
        ("invalid", "empty_prompt"),
        ("invalid", "private_address"),
    ]
    assert [row["error_message"] for row in rows[1:]] == [
        row["message"] for row in listed
    ]
    assert (rows[1]["job_key"], rows[1]["seed"], rows[1]["attempts"]) == (None, None, 0)
    assert rows[1]["photo"] == blank["photo"]
    assert (report["exit_code"], report["invalid"], report["jobs"]) == (3, 2, 3)
    assert run_config(project.path)["exit_code"] == 0, (
        "the same invalid rows are no news"
    )


def test_an_empty_table_publishes_an_empty_dataset(
    project: Project, simulated: Simulated
) -> None:
    """G8: header only; the columns are all there."""
    project.write_rows([])
    project.use_simulator(simulated)
    report = run_config(project.path)
    table = pd.read_parquet(report["dataset"])
    assert (report["exit_code"], report["rows"], report["jobs"], len(table)) == (
        0,
        0,
        0,
        0,
    )
    assert list(table.columns) == ["id", "photo", "text", *CONTRACT]


def test_a_row_whose_task_still_works_is_skipped_and_says_which_task_it_is(
    paid: Project,
) -> None:
    """Whatever an earlier call for it came to; and what was paid for says how many images it has."""
    config = load_config(paid.path)
    # By key: calls at once end in any order, so that a place in the ledger says nothing of the row.
    keys = [row["job_key"] for row in results(run_config(paid.path))]
    edit_ledger(
        config,
        """UPDATE jobs SET state = 'submitted', claim_task = '42', task_id = '42', error_code = '50430',
        error_message = 'busy', image_count = NULL, output_urls = NULL WHERE job_key = ?""",
        keys[1],
    )
    # As an earlier version left it, which did not count images.
    edit_ledger(config, "UPDATE jobs SET image_count = NULL WHERE job_key = ?", keys[2])
    edit_ledger(
        config,
        "UPDATE jobs SET task_id = '43', image_count = 4 WHERE job_key = ?",
        keys[3],
    )
    with opened(config) as ledger:
        published = publish(
            make_plan(config, ledger), ledger, "this-run", even_a_step_back=True
        )
    names = ("status", "error_code", "error_message", "task_id", "image_count")
    rows = [
        tuple(row[name] for name in names)
        for row in results({"dataset": published.path})[:4]
    ]
    assert rows == [
        ("succeeded", None, None, None, 1),
        ("skipped", "still_running", None, "42", None),
        ("succeeded", None, None, None, 1),
        ("succeeded", None, None, "43", 4),
    ]
    counts = published.counts
    assert (counts.still_running, counts.elsewhere, counts.left) == (1, 0, 0)
    assert judge(published, config.accept) == (
        3,
        "finished with new problems: 1 still running",
    )
    assert judge(published, config.accept, left_out=1)[0] == 0


def test_rows_beyond_the_limit_are_skipped_until_they_are_paid_for(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(5))
    project.use_simulator(simulated)
    first = run_config(project.path, limit=2)
    assert [(row["status"], row["error_code"]) for row in results(first)] == [
        *[("succeeded", None)] * 2,
        *[("skipped", "not_attempted")] * 3,
    ]
    assert (first["exit_code"], first["skipped"]) == (0, 3)
    assert [row["cached"] for row in results(run_config(project.path))] == [
        True,
        True,
        False,
        False,
        False,
    ]


# Images that are not there


def test_without_download_there_is_no_file_and_no_error(paid: Project) -> None:
    rows = pq.read_table(paid.folder / "out" / "pets" / "dataset.parquet").to_pylist()
    assert {
        (row["status"], row["file_name"], row["images"], row["error_code"])
        for row in rows
    } == {("succeeded", None, None, None)}
    assert all(row["output_url"] for row in rows)
    assert not (paid.folder / "out" / "images").exists()


@pytest.fixture
def pending(project: Project, simulated: Simulated) -> Project:
    """A project whose three rows are paid for, but whose images were not allowed to be fetched."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(output={"allow_hosts": []})
    report = run_config(project.path)
    assert (report["exit_code"], report["succeeded"], report["images_missing"]) == (
        3,
        3,
        3,
    )
    assert {(row["file_name"], row["error_code"]) for row in results(report)} == {
        (None, "image_pending")
    }
    return project


def test_a_missing_image_is_fetched_by_the_next_run_without_a_new_call(
    pending: Project, simulated: Simulated
) -> None:
    pending.write_config(output={"allow_hosts": ["127.0.0.1"]})
    report = run_config(pending.path)
    assert (
        report["exit_code"],
        report["images_missing"],
        report["calls"],
        simulated.bill.calls,
    ) == (0, 0, 0, 3)
    assert all(
        (pending.folder / "out" / row["file_name"]).exists() for row in results(report)
    )
    assert {row["error_code"] for row in results(report)} == {None}


def test_an_image_is_lost_once_its_url_has_expired_and_is_never_paid_again(
    pending: Project, simulated: Simulated
) -> None:
    """F1: the URL is kept, the row stays a success, and only `retry` could pay for it again."""
    edit_ledger(load_config(pending.path), "UPDATE jobs SET url_expires_at = 1")
    lost = run_config(pending.path)
    assert {(row["status"], row["error_code"]) for row in results(lost)} == {
        ("succeeded", "image_lost")
    }
    assert all(row["output_url"] for row in results(lost))
    assert lost["exit_code"] == 3
    pending.write_config(output={"allow_hosts": ["127.0.0.1"]})
    later = run_config(pending.path)
    assert (later["exit_code"], later["images_missing"], simulated.bill.calls) == (
        0,
        3,
        3,
    )


def test_images_are_fetched_once_download_is_asked_for(
    paid: Project, simulated: Simulated
) -> None:
    """A config that began with `url` gets its pictures without a new call while the URLs live."""
    paid.write_config(output={"images": "download", "allow_hosts": ["127.0.0.1"]})
    report = run_config(paid.path)
    assert (report["calls"], report["images_missing"], simulated.bill.calls) == (
        0,
        0,
        20,
    )
    assert all(row["file_name"] for row in results(report))


# Killed between the dataset and its manifest


@pytest.mark.parametrize("mend", ["run", "repair"])
def test_a_version_that_a_kill_left_without_its_manifest_is_kept_in_the_history(
    paid: Project, mend: str
) -> None:
    """A4: readers saw it, so it is no damaged one; its manifest says what it says of others."""
    config, folder, _ = state_of(paid)
    publish_versions(config, "a")
    edit_ledger(config, "UPDATE jobs SET rephraser_result = 'seen'")
    publish_and_die(paid, "manifest.json")
    seen = sha256(folder / "dataset.parquet")
    edit_ledger(config, "UPDATE jobs SET rephraser_result = 'newer'")
    if mend == "run":
        run_config(paid.path)
    else:
        (config.store_path / "images").mkdir(exist_ok=True)
        repair(config)
    kept = {sha256(path): path for path in (folder / "history").glob("*.parquet")}
    assert seen in kept
    manifest = json.loads(kept[seen].with_suffix(".json").read_text())
    assert (manifest["sha256"], manifest["rows"]) == (seen, 20)
    assert set(pd.read_parquet(folder / "dataset.parquet")["rephraser_result"]) == {
        "newer"
    }
    assert not list(folder.glob(".manifest*"))
    assert verify(config).problems == {}


def test_a_manifest_of_a_version_that_never_came_is_passed_by(paid: Project) -> None:
    """A4, B7: killed before the dataset was put in place, and damaged afterwards."""
    config, folder, _ = state_of(paid)
    edit_ledger(config, "UPDATE jobs SET rephraser_result = 'never seen'")
    publish_and_die(paid, "dataset.parquet")
    good = (folder / "dataset.parquet").read_bytes()
    harmed = good[:-40] + bytes(20) + good[-20:]
    (
        folder / "dataset.parquet"
    ).unlink()  # history may hold the same file by another name
    (folder / "dataset.parquet").write_bytes(harmed)
    edit_ledger(config, "UPDATE jobs SET rephraser_result = 'newer'")
    run_config(paid.path)
    assert harmed not in [path.read_bytes() for path in (folder / "history").iterdir()]
    assert verify(config).problems == {}


def test_what_is_copied_from_the_ledger_is_a_column_of_it() -> None:
    copied = {column.name for column in OUR_COLUMNS if column.from_ledger}
    # The ledger has input images in a table of their own.
    assert copied - {"input_image"} <= set(OUTCOME_COLUMNS)
