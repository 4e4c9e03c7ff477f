"""Pictures that the bucket does not take while they are paid for: kept on this machine, and brought there later."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.loading import load_results
from pixmill.datasets.verification import verify
from pixmill.errors import PixmillError
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from pixmill.execution.retry_selection import RetrySelection
from tests.bucket import Bucket, Fault
from tests.conftest import Project, Simulated, run_config

pytest.importorskip("boto3")
pytestmark = pytest.mark.stack

ROWS = 6
Mode = Literal["download", "inline"]
MODES: tuple[Mode, ...] = ("download", "inline")


def interrupted(shop: Project, bucket: Bucket, mode: Mode, answer: int = 403) -> Path:
    """Pay for a part of the table while the bucket refuses images; returns this machine's copy of the store."""
    shop.write_config(output={"images": mode}, limits={"concurrency": 2})
    bucket.proxy.faults = [Fault("PUT", "/images/", answer, 1_000)]
    with pytest.raises(PixmillError, match="images can't be stored"):
        run_config(shop.path)
    bucket.proxy.clear()
    return load_config(shop.path).store_path


def codes(shop: Project) -> list[tuple[str, str | None, bool]]:
    """Which statuses and codes the rows have, and whether they have a file."""
    frame = load_results(shop.path)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    found = {
        (row["status"], row["error_code"], row["file_name"] is not None) for row in rows
    }
    return sorted(found, key=str)


def missing(shop: Project) -> int:
    with prepare(load_config(shop.path)) as planned:
        return int(planned.plan.summary()["images_missing"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answer", [403, 503])
def test_what_the_bucket_refuses_for_a_while_is_pushed_by_the_next_run(
    shop: Project,
    bucket: Bucket,
    simulated: Simulated,
    impatient: None,
    mode: Mode,
    answer: int,
) -> None:
    """B20: nothing is fetched, so that it does not matter whether there is a URL and whether it lives."""
    copy = interrupted(shop, bucket, mode, answer)
    paid = simulated.bill.charged
    assert 1 <= paid < ROWS
    assert codes(shop) == [
        ("skipped", "not_attempted", False),
        ("succeeded", "image_pending", False),
    ]
    assert missing(shop) == paid
    waiting = list((copy / ".waiting").rglob("*.*"))
    assert len(waiting) == paid
    assert bucket.keys("team/images/") == []
    report = run_config(shop.path)
    assert (report["exit_code"], report["succeeded"], report["images_missing"]) == (
        0,
        ROWS,
        0,
    )
    assert simulated.bill.charged == ROWS
    assert codes(shop) == [("succeeded", None, True)]
    assert not list((copy / ".waiting").rglob("*.*"))
    names = {f"team/images/{path.parent.name}/{path.name}" for path in waiting}
    assert names <= set(bucket.keys("team/images/"))
    assert verify(load_config(shop.path)).exit_code == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_repair_pushes_what_waits(
    shop: Project, bucket: Bucket, simulated: Simulated, mode: Mode
) -> None:
    interrupted(shop, bucket, mode)
    paid = simulated.bill.charged
    repaired = repair(load_config(shop.path))
    assert (repaired.exit_code, repaired.fetched, missing(shop)) == (0, paid, 0)
    assert simulated.bill.charged == paid


def test_what_waits_is_not_what_may_be_cleared_away(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    """Pictures that are in the bucket may be removed here at any time; these are nowhere else."""
    copy = interrupted(shop, bucket, "inline")
    shutil.rmtree(copy / "images")
    assert run_config(shop.path)["images_missing"] == 0
    assert codes(shop) == [("succeeded", None, True)]
    assert simulated.bill.charged == ROWS


@pytest.mark.parametrize("look", [run_config, lambda path: repair(load_config(path))])
def test_another_machine_leaves_what_waits_here_pending(
    shop: Project,
    bucket: Bucket,
    simulated: Simulated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[str], Any],
) -> None:
    """B20: it has no copy and no URL, and gives nothing up; the machine that has it pushes it afterwards."""
    interrupted(shop, bucket, "inline")
    paid = simulated.bill.charged
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "another host"))
        look(shop.path)
        assert missing(shop) == paid
        assert ("succeeded", "image_pending", False) in codes(shop)
    report = run_config(shop.path)
    assert (report["images_missing"], simulated.bill.charged) == (0, ROWS)


def test_what_another_machine_brought_meanwhile_waits_no_more(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    copy = interrupted(shop, bucket, "inline")
    for path in (copy / ".waiting").rglob("*.*"):
        bucket.put(f"team/images/{path.parent.name}/{path.name}", path.read_bytes())
    shutil.rmtree(copy)
    report = run_config(shop.path)
    assert (report["images_missing"], simulated.bill.charged) == (0, ROWS)
    assert codes(shop) == [("succeeded", None, True)]


def test_a_picture_that_waits_and_is_asked_for_again_is_replaced(
    shop: Project, bucket: Bucket, simulated: Simulated
) -> None:
    """Where its machine is gone for good, `retry --code image_pending` pays for another."""
    shutil.rmtree(interrupted(shop, bucket, "inline"))
    paid = simulated.bill.charged
    assert run_config(shop.path)["images_missing"] == missing(shop) == paid
    asked = RetrySelection(statuses=None, codes=frozenset({"image_pending"}), keys=None)
    with prepare(load_config(shop.path), retried=asked) as prepared:
        assert prepared.to_pay == paid
        run = prepared.start()
        for chunk in run.chunks():
            run.process(chunk)
        report = run.finish().as_dict()
    assert (report["exit_code"], report["images_missing"]) == (0, 0)
    assert simulated.bill.charged == ROWS + paid
