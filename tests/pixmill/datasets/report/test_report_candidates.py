"""Candidates in the report: which were not kept, and why."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.report import write_report
from pixmill.execution.picks import record_picks
from pixmill.ledger import open_ledger
from tests.conftest import Project, Simulated, results, run_config
from tests.pixmill.candidates import blank_pictures, draw_candidates
from tests.pixmill.datasets.report.open_report import OpenReport
from tests.pixmill.datasets.report.page_text import column

pytestmark = pytest.mark.slow


def test_candidates_that_were_not_kept_are_beside_the_one_that_was(
    project: Project, tmp_path: Path, open_report: Callable[..., OpenReport]
) -> None:
    with blank_pictures(tmp_path) as simulated:
        draw_candidates(project, simulated, rows=3)
    page = write_report(load_config(project.path))
    assert column(page, "ours", "candidate") == [0, 1, 0]
    assert column(page, "ours", "accepted") == [True, True, False]
    report = open_report(page, "view=summary")
    assert report.texts("#summary article:has(h2:text('Candidates')) tbody tr") == [
        "does not meet quality.until.where\t3"
    ]
    # The one whose every picture is blank has the first of them.
    report.page.get_by_role("link", name="Gallery").click()
    report.choose("Where", "accepted")
    report.choose("is", "false (1)")
    report.page.locator("#gallery .card .open").click()
    assert report.texts("#job .rejected li") == [
        "candidate 1 does not meet quality.until.where",
        "candidate 2 does not meet quality.until.where",
    ]
    report.page.wait_for_function(
        "() => document.querySelector('#job .rejected img')?.naturalWidth > 0"
    )
    facts = report.page.locator("#job .facts").inner_text()
    assert "Accepted\nno" in facts
    assert "From the table" in facts


def test_picks_say_which_candidate_is_meant_so_that_it_can_be_rejected(
    project: Project, simulated: Simulated, open_report: Callable[..., OpenReport]
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    until = {"where": "status == 'succeeded'", "candidates": 2}
    project.write_config(quality={"until": until})
    run_config(project.path)
    config = load_config(project.path)
    report = open_report(write_report(config), "view=gallery")
    page = report.page
    page.locator("[data-star='0']").evaluate("star => star.click()")
    page.locator("#gallery .card .open").nth(1).click()
    page.get_by_role("button", name="Reject").click()
    assert report.texts("[data-reject]") == ["Rejected"]
    page.get_by_role("button", name="Close").click()
    with page.expect_download() as download:
        page.locator("#download").click()
    picks = project.folder / "picks.csv"
    download.value.save_as(picks)
    header, *picked = picks.read_text().splitlines()
    assert header.endswith(",candidate,pick")
    assert [pick.split(",")[-2:] for pick in picked] == [["0", "star"], ["0", "reject"]]
    with closing(open_ledger(config.ledger_address)) as ledger:
        assert record_picks(config, ledger, str(picks)) == (1, 1)
    again = run_config(project.path)
    assert again["calls"] == 1
    assert [row["candidate"] for row in results(again)] == [0, 1]
    # Opened by its address, a job waits for a decision: Enter and Space reject nothing.
    linked = open_report(write_report(config), "view=gallery&job=1")
    linked.page.keyboard.press("Enter")
    linked.page.keyboard.press("Space")
    assert linked.texts("[data-reject]") == ["Reject"]
