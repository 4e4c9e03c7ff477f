"""A run ends with its report; what keeps the page from being written is no failure of what was paid."""

import logging
from pathlib import Path

import pytest

from tests.conftest import Project, Simulated, run_config


@pytest.fixture
def paid(project: Project, simulated: Simulated) -> Project:
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    return project


def test_a_run_says_where_its_report_is(paid: Project) -> None:
    page = Path(run_config(paid.path)["report"])
    assert page == paid.folder / "out" / "pets" / "report" / "index.html"
    assert "4 of 4 images" in page.read_text()


def test_a_run_that_changes_nothing_leaves_the_report_as_it_is(paid: Project) -> None:
    for _ in range(2):  # after the second run all rows are cached
        run_config(paid.path)
    page = Path(run_config(paid.path)["report"])
    before = page.stat().st_mtime_ns
    assert run_config(paid.path)["report"] == str(page)
    assert page.stat().st_mtime_ns == before


def test_a_report_that_was_deleted_comes_back(paid: Project) -> None:
    for _ in range(3):
        page = Path(run_config(paid.path)["report"])
    page.unlink()
    assert run_config(paid.path)["report"] == str(page)
    assert page.exists()


def test_a_report_that_can_not_be_written_is_a_warning(
    paid: Project, caplog: pytest.LogCaptureFixture
) -> None:
    (paid.folder / "out" / "pets").mkdir(parents=True)
    (paid.folder / "out" / "pets" / "report").write_text(
        "a file where the folder belongs"
    )
    with caplog.at_level(logging.WARNING, "pixmill"):
        report = run_config(paid.path)
    assert (report["exit_code"], report["succeeded"], report["report"]) == (0, 4, None)
    assert "there is no report" in caplog.text
