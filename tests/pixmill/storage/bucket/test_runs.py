"""Runs whose store is a bucket, with a ledger in PostgreSQL: nothing paid twice, nothing lost."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import requests

import pixmill as library
from pixmill.config.loading import load_config, load_deployment_config
from pixmill.datasets import publishing as dataset_module
from pixmill.datasets.compare import compare, find_side
from pixmill.datasets.dataset_files import PUBLISHED
from pixmill.datasets.export import export
from pixmill.datasets.loading import load_results
from pixmill.datasets.page_preserving_writer import _page_extents
from pixmill.datasets.refused_dataset import accept_refused, find_refused
from pixmill.datasets.report import page_of, write_report
from pixmill.datasets.verification import verify
from pixmill.errors import PixmillError, StoreError, UserError
from pixmill.execution.repair import repair
from pixmill.execution.status import read_status
from pixmill.planning.plan import Plan
from tests.bucket import KEY, SECRET, Bucket, Fault
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.view.open_view import View
from tests.real_command import Command, run_arguments

pytest.importorskip("boto3")
pytestmark = pytest.mark.stack

ROWS = 4


@pytest.fixture
def copies(shop: Project) -> Path:
    """What this machine has of the bucket."""
    return load_config(shop.path).store_path


def images_of(bucket: Bucket) -> list[str]:
    return bucket.keys("team/images/")


def dataset(bucket: Bucket) -> pd.DataFrame:
    """The dataset as pandas reads it out of the bucket, with no help of ours."""
    options = f"endpoint_override={bucket.server.removeprefix('http://')}&scheme=http"
    return pd.read_parquet(f"s3://{bucket.name}/team/pets/dataset.parquet?{options}")


def test_the_same_command_again_makes_no_call_and_all_is_in_the_bucket(
    shop: Project, bucket: Bucket, simulated: Simulated, pixmill: Command
) -> None:
    first = run_config(shop.path)
    assert (first["exit_code"], first["succeeded"], first["calls"]) == (0, ROWS, ROWS)
    again = pixmill(*run_arguments(shop.path))
    assert (again.exit_code, again.report["calls"], again.report["cached"]) == (
        0,
        0,
        ROWS,
    ), again.stderr
    assert simulated.bill.charged == ROWS
    assert again.report["dataset"] == f"s3://{bucket.name}/team/pets/dataset.parquet"
    assert again.report["report"] == f"s3://{bucket.name}/team/pets/report/index.html"
    assert f"open {page_of(load_config(shop.path))}" in again.stderr
    read = dataset(bucket)
    assert list(read["status"]) == ["succeeded"] * ROWS
    assert sorted(f"team/{name}" for name in read["file_name"]) == sorted(
        images_of(bucket)
    )
    published = {key.removeprefix("team/pets/") for key in bucket.keys("team/pets/")}
    runs = {f"runs/{report['run_id']}.json" for report in (first, again.report)}
    assert published >= {*PUBLISHED, "report/index.html", *runs}
    assert len(bucket.keys("team/thumbs/")) == ROWS, "the report finds its pictures"
    for said in (
        again.stdout,
        again.stderr,
        bucket.get("team/pets/config.yaml").decode(),
    ):
        assert SECRET not in said
        assert KEY not in said


def test_every_command_takes_a_bucket(
    shop: Project, bucket: Bucket, pixmill: Command, tmp_path: Path
) -> None:
    run_config(shop.path)
    store, folder = f"s3://{bucket.name}/team", tmp_path / "exported"

    def said(*arguments: str) -> dict[str, Any]:
        ended = pixmill(*arguments, "--json")
        assert ended.exit_code == 0, ended.stderr
        return ended.report

    assert said("plan", shop.path)["cached"] == ROWS
    assert said("status", shop.path)["distinct"] == ROWS
    assert said("verify", shop.path)["wrong"] == 0
    assert (
        said("export", shop.path, "--format", "imagefolder", "--out", str(folder))[
            "rows"
        ]
        == ROWS
    )
    assert said("report", shop.path)["report"] == f"{store}/pets/report/index.html"
    assert (
        said("compare", "pets", bucket.url("team/pets"), "--store", bucket.url("team"))[
            "images"
        ]["same"]
        == ROWS
    )
    assert said("ledger", "stats", shop.path)["images"] == ROWS
    for command in (("bill", store), ("ledger", "backup", store, "--out", "x.db")):
        refused = pixmill(*command)
        assert refused.exit_code == 2
        assert "is a bucket, which can't hold a ledger" in refused.stderr


def test_the_copies_of_this_machine_may_be_deleted_at_any_time(
    shop: Project, bucket: Bucket, copies: Path, simulated: Simulated, tmp_path: Path
) -> None:
    run_config(shop.path)
    config, before = load_config(shop.path), load_results(shop.path)
    for look in (
        lambda: export(config, "imagefolder", tmp_path / "exported"),
        lambda: write_report(config),
        lambda: load_results(shop.path),
        lambda: verify(config),
        lambda: repair(config),
        lambda: read_status(config),
        lambda: compare(find_side(shop.path), find_side(shop.path)),
    ):
        shutil.rmtree(copies, ignore_errors=True)
        look()
    shutil.rmtree(copies)
    report = run_config(shop.path)
    assert (report["calls"], report["cached"], simulated.bill.charged) == (
        0,
        ROWS,
        ROWS,
    )
    columns = ["row_key", "status", "file_name", "job_key"]
    pd.testing.assert_frame_equal(load_results(shop.path)[columns], before[columns])
    assert verify(config).exit_code == 0
    assert len(bucket.keys("team/pets/history/")) == 2, (
        "one earlier version and its manifest"
    )


def test_a_view_sends_the_browser_to_the_bucket_for_pictures(
    shop: Project, bucket: Bucket, copies: Path, pixmill: Command
) -> None:
    """By a link that is signed for minutes; the page allows pictures from there and from nowhere else."""
    run_config(shop.path)
    # As on a machine that looks at what another one has made.
    shutil.rmtree(copies)
    with pixmill.started("view", shop.path, "--no-browser") as process:
        view = View(process)
        page = view.get("d/pets/")
        assert page.status == 200, page.text
        images = images_of(bucket)
        assert images
        for key in images:
            image = view.get(f"d/pets/store/{key.removeprefix('team/')}")
            assert image.status == 307
            fetched = requests.get(image.headers["location"], timeout=30)
            assert fetched.content == bucket.get(key)
            assert SECRET not in image.headers["location"]
            origin = "/".join(image.headers["location"].split("/")[:3])
            assert f"img-src 'self' file: {origin};" in page.text
        unknown = view.get("d/pets/store/pets/dataset.parquet")
        assert unknown.status == 404


def test_results_load_from_a_url_with_urls_of_images(
    shop: Project, bucket: Bucket
) -> None:
    run_config(shop.path)
    for key in ("team/pets", "team/pets/", "team/pets/dataset.parquet"):
        frame = library.load_results(bucket.url(key))
        assert list(frame["path"]) == [
            f"s3://{bucket.name}/team/{name}" for name in frame["file_name"]
        ]
    with pytest.raises(
        UserError, match=f"s3://{bucket.name}/team/cats/dataset.parquet does not exist"
    ):
        library.load_results(bucket.url("team/cats"))
    with pytest.raises(UserError, match="does not name a dataset"):
        library.load_results(f"s3://{bucket.name}")


def test_earlier_versions_are_compared_loaded_and_verified(
    shop: Project, bucket: Bucket, copies: Path
) -> None:
    run_config(shop.path)
    shop.write_rows([*shop.rows(ROWS), *shop.rows(1, "a new pet")])
    run_config(shop.path)
    (kept,) = [
        key for key in bucket.keys("team/pets/history/") if key.endswith(".parquet")
    ]
    shutil.rmtree(copies)
    assert len(library.load_results(bucket.url(kept))) == ROWS
    version = Path(kept).stem
    found = compare(find_side(f"{shop.path}@{version}"), find_side(shop.path))
    assert found.rows.added == 1
    assert verify(load_config(shop.path)).versions == 1
    bucket.put(kept, b"no Parquet any more")
    (finding,) = verify(load_config(shop.path)).findings
    assert (finding.problem, finding.file) == ("history", f"s3://{bucket.name}/{kept}")


def test_old_versions_leave_the_bucket_if_they_may(
    shop: Project, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write_config(output={"keep_versions": 1})
    for prefix in "abc":
        shop.write_rows(shop.rows(ROWS, prefix))
        run_config(shop.path)
    assert len(bucket.keys("team/pets/history/")) == 2
    bucket.proxy.faults = [Fault("DELETE", "/history/", 403, 100)]
    shop.write_rows(shop.rows(ROWS, "d"))
    assert run_config(shop.path)["exit_code"] == 0
    assert len(bucket.keys("team/pets/history/")) == 4
    assert "stay beyond output.keep_versions" in caplog.text


def test_a_refused_dataset_waits_in_the_bucket_for_whoever_accepts_it(
    shop: Project, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on another machine, and also where another run publishes at the same time."""
    run_config(shop.path)
    before = bucket.get("team/pets/dataset.parquet")
    shop.write_config(quality={"gate": ["share(status == 'succeeded') > 2"]})
    shop.write_rows(shop.rows(ROWS + 1))
    report = run_config(shop.path)
    assert report["exit_code"] == 7
    waiting = f"s3://{bucket.name}/team/pets/refused"
    assert report["gate"]["refused_dataset"] == f"{waiting}/dataset.parquet"
    assert report["report"] == f"{waiting}/report/index.html"
    assert bucket.get("team/pets/dataset.parquet") == before
    as_refused = bucket.get("team/pets/refused/dataset.parquet")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    config = load_config(shop.path)
    assert read_status(config).next_command("pets.yaml") == "pixmill publish pets.yaml"
    assert find_refused(config).rows == ROWS + 1
    # Somebody else was a moment faster: it is put in place again, on top of that.
    bucket.proxy.faults = [Fault("PUT", "/pets/dataset.parquet", 412, 1)]
    accept_refused(config)
    assert bucket.get("team/pets/dataset.parquet") == as_refused
    assert not bucket.keys("team/pets/refused/")
    kept = bucket.keys("team/pets/history/")
    assert before in [bucket.get(key) for key in kept]
    assert verify(config).exit_code == 0
    assert read_status(config).gate is None
    with pytest.raises(UserError, match="there is no refused dataset"):
        accept_refused(config)


# Two at once


def test_of_two_hosts_that_publish_at_once_the_second_sees_the_first(
    shop: Project, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """412: the other's dataset becomes an earlier version, and readers of it find its pages in the new one."""
    publish, others = dataset_module._publish, []

    def interrupted(plan: Plan, *rest: Any) -> Any:
        result = publish(plan, *rest)
        if plan.rows == ROWS and not others:
            with pytest.MonkeyPatch.context() as elsewhere:
                elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "another host"))
                others.append(run_config(other))
        return result

    (tmp_path / "other").mkdir()
    second = Project(tmp_path / "other")
    second.config = {
        **shop.config,
        "input": {**shop.config["input"], "path": str(tmp_path / "other" / "pets.csv")},
    }
    second.write_rows(shop.rows(ROWS - 1))
    other = second.write_config()
    monkeypatch.setattr(dataset_module, "_publish", interrupted)
    report = run_config(shop.path)
    assert [len(others), others[0]["jobs"], report["jobs"]] == [1, ROWS - 1, ROWS]
    puts = [
        status
        for method, path, status in bucket.proxy.seen
        if method == "PUT" and "/dataset.parquet" in path
    ]
    assert puts == [200, 412, 200]
    assert len(dataset(bucket)) == ROWS
    (kept,) = [
        key for key in bucket.keys("team/pets/history/") if key.endswith(".parquet")
    ]
    assert len(load_results(bucket.url(kept))) == ROWS - 1
    old, new = bucket.get(kept), bucket.get("team/pets/dataset.parquet")
    pages = _page_extents(BytesIO(old))
    assert pages
    assert all(
        old[page.begin : page.end] == new[page.begin : page.end] for page in pages
    )
    assert verify(load_config(shop.path)).exit_code == 0
    assert bucket.keys(f"team/pets/runs/{others[0]['run_id']}.json")


def test_one_that_others_always_forestall_gives_up_and_says_so(
    shop: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, forestalled = dataset_module._publish, []

    def interrupted(*arguments: Any) -> Any:
        result = publish(*arguments)
        forestalled.append(len(forestalled))
        bucket.put("team/pets/dataset.parquet", str(forestalled).encode())
        return result

    monkeypatch.setattr(dataset_module, "_publish", interrupted)
    with pytest.raises(
        PixmillError, match="was published by other runs 5 times meanwhile"
    ):
        run_config(shop.path)
    assert len(forestalled) == 5


# Looking after it


def test_what_is_wrong_in_the_bucket_is_named_and_repaired(
    shop: Project, bucket: Bucket, copies: Path, simulated: Simulated
) -> None:
    run_config(shop.path)
    config, (gone, harmed, *_) = load_config(shop.path), images_of(bucket)
    bucket.delete(gone)
    bucket.put(harmed, b"harmed")
    found = {finding.file: finding.problem for finding in verify(config).findings}
    assert found == {
        f"s3://{bucket.name}/{gone}": "missing",
        f"s3://{bucket.name}/{harmed}": "wrong_size",
    }
    shutil.rmtree(copies)  # so that only the provider has them
    repaired = repair(config)
    assert (repaired.exit_code, repaired.checked.forgotten, repaired.fetched) == (
        0,
        2,
        2,
    )
    assert verify(config).exit_code == 0
    assert simulated.bill.charged == ROWS


def test_a_repair_takes_what_this_machine_still_has(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    run_config(shop.path)
    for key in images_of(bucket):
        bucket.delete(key)
    repaired = repair(load_config(shop.path))
    assert (repaired.checked.images, repaired.checked.forgotten, repaired.fetched) == (
        ROWS,
        0,
        0,
    )
    assert len(images_of(bucket)) == ROWS


def test_a_damaged_dataset_is_found_and_published_anew(
    shop: Project, bucket: Bucket
) -> None:
    run_config(shop.path)
    bucket.put("team/pets/dataset.parquet", b"no Parquet any more")
    config = load_config(shop.path)
    assert "manifest" in verify(config).problems
    repair(config)
    assert verify(config).exit_code == 0
    assert bucket.keys("team/pets/history/") == []


# Faults while it is paid


def test_a_busy_bucket_costs_no_image(shop: Project, bucket: Bucket) -> None:
    """B11, B12: SlowDown, lost answers and clashes, on images and on the dataset."""
    bucket.proxy.faults = [
        Fault("PUT", "/images/", 503, 2),
        Fault("PUT", "/images/", "lost"),
        Fault("PUT", "/images/", 409),
        Fault("PUT", "/dataset.parquet", "lost"),
        Fault("PUT", "/manifest.json", "lost"),
        Fault("PUT", "/manifest.json", 409),
        Fault("HEAD", "/pets/", 503),
    ]
    report = run_config(shop.path)
    assert (report["exit_code"], report["succeeded"], report["images_missing"]) == (
        0,
        ROWS,
        0,
    )
    assert all(fault.times == 0 for fault in bucket.proxy.faults)
    assert len(dataset(bucket)) == ROWS
    assert verify(load_config(shop.path)).exit_code == 0


def test_a_listing_that_hides_everything_costs_nothing(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    """B13."""
    nothing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    bucket.proxy.faults = [Fault("GET", "list-type=2", nothing, 1_000)]
    run_config(shop.path)
    report = run_config(shop.path)
    assert (report["calls"], report["cached"], simulated.bill.charged) == (
        0,
        ROWS,
        ROWS,
    )
    assert verify(load_config(shop.path)).exit_code == 0
    assert bucket.proxy.faults[0].times < 1_000


def test_a_bucket_that_takes_no_more_ends_the_paying_and_the_next_run_fetches(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    """B2 in a bucket: what was paid stands in the ledger, and its image is fetched without another payment."""
    shop.write_rows(shop.rows(15))
    shop.write_config(limits={"concurrency": 1})
    bucket.proxy.faults = [Fault("PUT", "/images/", 403, 1_000)]
    with pytest.raises(
        PixmillError, match=r"images can't be stored: .*403 AccessDenied"
    ) as stopped:
        run_config(shop.path)
    assert SECRET not in str(stopped.value)
    paid = simulated.bill.charged
    assert 1 <= paid < 15
    assert set(dataset(bucket)["status"]) == {"succeeded", "skipped"}, (
        "what is known was published"
    )
    bucket.proxy.clear()
    report = run_config(shop.path)
    assert (report["exit_code"], report["succeeded"], report["images_missing"]) == (
        0,
        15,
        0,
    )
    assert simulated.bill.charged == 15


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("no bucket", "there is no bucket"),
        ("no right", "the answer is 403"),
        ("no conditions", "ignores If-None-Match"),
    ],
)
def test_a_store_that_can_not_be_written_is_refused_before_anything_is_paid(
    shop: Project, bucket: Bucket, simulated: Simulated, change: str, problem: str
) -> None:
    if change == "no bucket":
        shop.write_config(
            store=bucket.url("team").replace(bucket.name, "no-such-bucket")
        )
    elif change == "no right":
        bucket.proxy.faults = [Fault("PUT", "/pixmill-store", 403, 1_000)]
    else:
        bucket.proxy.deaf = ("if-none-match",)
    with pytest.raises(UserError, match=problem) as refused:
        run_config(shop.path)
    assert SECRET not in f"{refused.value}{refused.value.hint}"
    assert simulated.bill.calls == 0


@pytest.mark.parametrize("status", [503, 403])
def test_a_dataset_that_can_not_be_published_is_an_error_that_loses_nothing(
    shop: Project, bucket: Bucket, simulated: Simulated, impatient: None, status: int
) -> None:
    bucket.proxy.faults = [Fault("PUT", "/dataset.parquet", status, 1_000)]
    with pytest.raises(
        StoreError, match=f"can't write s3://.*/dataset.parquet: the answer is {status}"
    ) as failed:
        run_config(shop.path)
    assert not isinstance(failed.value, UserError), (
        "exit code 2 says that nothing was paid"
    )
    bucket.proxy.clear()
    report = run_config(shop.path)
    assert (report["calls"], report["cached"], simulated.bill.charged) == (
        0,
        ROWS,
        ROWS,
    )
    assert len(dataset(bucket)) == ROWS


def test_input_images_are_kept_in_the_bucket(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    pictures = run_config(shop.path)
    urls = [row["output_url"] for row in load_results(shop.path).to_dict("records")]
    shop.write_rows(
        [{"id": f"k{at}", "photo": url, "text": "again"} for at, url in enumerate(urls)]
    )
    shop.write_config(name="pairs", input={"images": "keep"})
    report = run_config(shop.path)
    assert report["succeeded"] == pictures["succeeded"]
    kept = set(load_results(shop.path)["input_image"])
    assert {f"team/{name}" for name in kept} <= set(images_of(bucket))


def test_a_store_that_was_copied_into_a_bucket_is_one(
    shop: Project, bucket: Bucket, simulated: Simulated, copies: Path
) -> None:
    """As `aws s3 sync` copies a folder: without the mark, and without our checksums."""
    run_config(shop.path)
    for key in bucket.keys("team/images/"):
        bucket.put(key, bucket.get(key))
    bucket.delete("team/pixmill-store")
    shutil.rmtree(copies)
    report = run_config(shop.path)
    assert (report["calls"], simulated.bill.charged) == (0, ROWS)
    assert verify(load_config(shop.path)).exit_code == 0
    bucket.delete(images_of(bucket)[0])
    assert repair(load_config(shop.path)).fetched == 1


# Deployments


def test_a_deployed_flow_takes_a_bucket_for_a_store_that_lasts(shop: Project) -> None:
    assert load_deployment_config(shop.path, [], deployed=True).bucket


def test_what_the_manifest_says_is_what_is_in_the_bucket(
    shop: Project, bucket: Bucket
) -> None:
    run_config(shop.path)
    manifest: dict[str, Any] = json.loads(bucket.get("team/pets/manifest.json"))
    assert manifest["bytes"] == len(bucket.get("team/pets/dataset.parquet"))


def test_a_version_that_a_kill_left_without_its_manifest_is_kept_in_the_history(
    shop: Project, bucket: Bucket
) -> None:
    """A4 in a bucket: the run ends between the two objects, on a machine that is gone afterwards."""
    run_config(shop.path)
    shop.write_rows(shop.rows(ROWS - 1))
    bucket.proxy.faults = [Fault("PUT", "/pets/manifest.json", 403, 1_000)]
    with pytest.raises(StoreError):
        run_config(shop.path)
    bucket.proxy.clear()
    shutil.rmtree(load_config(shop.path).store_path)
    shop.write_rows(shop.rows(ROWS - 2))
    run_config(shop.path)
    kept = [
        key for key in bucket.keys("team/pets/history/") if key.endswith(".parquet")
    ]
    rows = [pq.read_table(BytesIO(bucket.get(key))).num_rows for key in sorted(kept)]
    assert rows == [ROWS, ROWS - 1]
    assert verify(load_config(shop.path)).exit_code == 0
