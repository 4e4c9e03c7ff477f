"""A run ends with its report; what keeps the page from being written is no failure of what was paid."""

import logging
from pathlib import Path

import pytest

from tests.conftest import Simulated, Workshop, carry_out


@pytest.fixture
def paid(workshop: Workshop, simulated: Simulated) -> Workshop:
    workshop.write_rows(workshop.rows(4))
    workshop.use(simulated)
    workshop.write_config(output={"images": "url"})
    return workshop


def test_a_run_says_where_its_report_is(paid: Workshop) -> None:
    page = Path(carry_out(paid.path)["report"])
    assert page == paid.folder / "out" / "pets" / "report" / "index.html"
    assert "4 of 4 images" in page.read_text()


def test_a_run_that_changes_nothing_leaves_the_report_as_it_is(paid: Workshop) -> None:
    for _ in range(2):  # after the second run all rows are cached
        carry_out(paid.path)
    page = Path(carry_out(paid.path)["report"])
    before = page.stat().st_mtime_ns
    assert carry_out(paid.path)["report"] == str(page)
    assert page.stat().st_mtime_ns == before


def test_a_report_that_was_deleted_comes_back(paid: Workshop) -> None:
    for _ in range(3):
        page = Path(carry_out(paid.path)["report"])
    page.unlink()
    assert carry_out(paid.path)["report"] == str(page)
    assert page.exists()


def test_a_report_that_can_not_be_written_is_a_warning(
    paid: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    (paid.folder / "out" / "pets").mkdir(parents=True)
    (paid.folder / "out" / "pets" / "report").write_text(
        "a file where the folder belongs"
    )
    with caplog.at_level(logging.WARNING, "pixmill"):
        report = carry_out(paid.path)
    assert (report["exit_code"], report["succeeded"], report["report"]) == (0, 4, None)
    assert "there is no report" in caplog.text
