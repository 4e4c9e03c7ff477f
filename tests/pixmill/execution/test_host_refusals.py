"""Images that their hosts do not give stop the paying, and the remedy is named wherever a person looks."""

from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.execution.host_refusals import HostRefusals
from pixmill.execution.repair import repair
from pixmill.execution.stop_reasons import StopCode
from pixmill.execution.stop_signal import StopSignal
from pixmill.storage.image_decoding import ImageError
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.cli.test_commands import pixmill


def refused(problem: str = "address") -> ImageError:
    return ImageError("10.0.0.1: its URL is not fetched", problem=problem)


@pytest.mark.parametrize("problem", ["address", "forbidden", "unreachable"])
def test_a_row_of_refusals_stops_the_run_with_its_remedy(problem: str) -> None:
    stop = StopSignal()
    refusals = HostRefusals(stop, 3)
    for _ in range(2):
        refusals.record(refused(problem))
    assert not stop.is_set
    refusals.record(refused(problem))
    assert stop.reason is not None
    assert stop.reason.code is StopCode.BREAKER
    assert "3 images in a row" in stop.reason.reason
    assert "10.0.0.1" in stop.reason.reason
    assert "output.allow_hosts" in stop.reason.reason


def test_an_image_that_comes_ends_the_row() -> None:
    stop = StopSignal()
    refusals = HostRefusals(stop, 2)
    for _ in range(5):
        refusals.record(refused())
        refusals.reset()
    assert not stop.is_set
    assert refusals.seen.total() == 5


@pytest.mark.parametrize("problem", ["damaged", "type", "not_found", "too_large"])
def test_what_is_wrong_with_one_image_says_nothing_of_its_host(problem: str) -> None:
    stop = StopSignal()
    refusals = HostRefusals(stop, 1)
    refusals.record(refused(problem))
    assert not stop.is_set
    assert not refusals.seen


def test_a_repair_tries_all_images() -> None:
    stop = StopSignal()
    refusals = HostRefusals(stop, None)
    for _ in range(20):
        refusals.record(refused())
    assert not stop.is_set


def test_a_provider_whose_images_are_at_a_private_address_is_not_paid_for_long(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(40))
    project.use_simulator(simulated)
    # Nothing of this machine may be fetched.
    path = project.write_config(
        output={"allow_hosts": []}, limits={"qps": 50, "concurrency": 1}
    )
    report = run_config(path)
    assert report["exit_code"] == 5
    assert "5 images in a row" in report["reason"]
    assert "output.allow_hosts" in report["reason"]
    assert 5 <= report["calls"] < 40
    # What there is is fetched before anything more is paid.
    why = "127.0.0.1: its URL is not fetched (private_address); if you trust it: output.allow_hosts: [127.0.0.1]"
    for command, said in (
        ("status", f"      not fetched: {why}\n"),
        (
            "plan",
            f"note: {report['images_missing']} images of earlier runs not fetched: {why}\n",
        ),
    ):
        shown = pixmill(command, path)
        assert said in shown.stderr
        assert shown.stderr.endswith(f"\nnext: pixmill repair {path}\n")

    page = Path(report["dataset"]).with_name("report") / "index.html"
    assert "<code>output.allow_hosts</code>" in page.read_text(encoding="utf-8")

    shown = pixmill("repair", path)
    assert shown.returncode == 3
    assert "not fetched: 127.0.0.1: " in shown.stderr
    assert "output.allow_hosts" in shown.stderr
    allowed = load_config(path, ["output.allow_hosts=[127.0.0.1]"])
    fixed = repair(allowed)
    assert (fixed.fetched, fixed.codes.total()) == (report["calls"], 0)
    shown = pixmill("status", path)
    assert "      not fetched" not in shown.stderr
    assert shown.stderr.endswith(f"\nnext: pixmill run {path}\n")


def test_an_image_that_is_not_fetched_is_called_by_its_row(
    project: Project, simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    project.write_rows(project.rows(1))
    project.use_simulator(simulated)
    path = project.write_config(
        input={"row_key": ["id"]}, output={"allow_hosts": []}, stop={"images": 100}
    )
    # In the run that pays for it, and in the next one, which asks for it once more.
    for _ in range(2):
        caplog.clear()
        run_config(path)
        (warning,) = (record.getMessage() for record in caplog.records)
        assert warning == (
            "the image of row 1 · r0 could not be had: 127.0.0.1: its URL is not fetched "
            "(private_address); if you trust it: output.allow_hosts: [127.0.0.1]"
        )


def test_how_many_refusals_stop_a_run_is_a_setting(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    path = project.write_config(output={"allow_hosts": []}, stop={"images": 100})
    report = run_config(path)
    assert (report["exit_code"], report["calls"]) == (3, 4)
    assert Path(report["dataset"]).exists()
