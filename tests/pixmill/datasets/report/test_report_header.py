"""Where a dataset comes from, what was really paid for it, and how its report is printed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.report import write_report
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.datasets.report.open_report import OpenReport
from tests.pixmill.datasets.report.sample_datasets import (
    Row,
    axis,
    config,
    ended,
    input_rows,
    jobs_of,
    publish,
    with_images,
)

pytestmark = pytest.mark.slow

Open = Callable[..., OpenReport]
SCALES = axis("scale", 2, 3)
STYLES = axis("style", "ink", "oil", "pen")


def report_on(folder: Path, jobs: list[Row], **changes: Any) -> Path:
    of = config(folder, **changes)
    publish(of, with_images(jobs, of.store_path), [SCALES, STYLES])
    return write_report(of)


def test_the_report_of_a_run_says_where_it_comes_from(
    project: Project, simulated: Simulated, open_report: Open
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    project.write_config(provider={**project.config["provider"], "account": "team"})
    report = run_config(project.path)
    page = write_report(load_config(project.path))
    facts = open_report(page, "view=summary").texts(".origin div")
    said = dict(fact.split("\n", 1) for fact in facts)
    assert list(said) == [
        "Version",
        "Answered by",
        "Operation",
        "Calls",
        "Table",
        "Made by",
    ]
    assert said["Answered by"].strip() == "gateway, account team"
    assert said["Operation"].strip().startswith("CVProcess · high_aes")
    assert said["Table"].endswith("pets.csv, 2 rows")
    assert said["Made by"].endswith(f", run {report['run_id']}")


def test_a_simulated_dataset_shows_a_badge_and_no_money(
    tmp_path: Path, open_report: Open
) -> None:
    jobs = [{**job, "provider": "simulator"} for job in jobs_of(input_rows(3))]
    report = open_report(report_on(tmp_path, jobs), "view=summary")
    assert report.texts(".badge") == ["simulated"]
    assert "CNY" not in report.page.locator("body").inner_text()
    assert "the built-in simulator" in report.texts(".origin div")[0]


@pytest.mark.parametrize("ending", ["nothing sent", "nothing charged"])
def test_what_was_not_paid_for_has_no_unknown_cost(
    tmp_path: Path, open_report: Open, ending: str
) -> None:
    jobs = [
        ended(job, "failed", "50205", "Invalid image") for job in jobs_of(input_rows(3))
    ]
    if ending == "nothing sent":
        unsent = dict.fromkeys(("started_at", "finished_at", "latency_ms", "run_id"))
        jobs = [
            {**job, **unsent, "provider": None, "status": "skipped"} for job in jobs
        ]
    page = report_on(tmp_path, jobs, budget={"price_per_call": 0.2})
    tiles = open_report(page, "view=summary").texts(".tile")
    expected = {
        "nothing sent": "Cost\nnothing\nnothing was sent",
        "nothing charged": "Cost\nnothing\nno call was charged",
    }
    assert tiles[1] == expected[ending]
    # A refusal that comes at once is no latency of the provider.
    assert tiles[3] == "Latency\n–"


def test_images_inside_a_cell_are_called_by_the_axes_at_all(
    tmp_path: Path, open_report: Open
) -> None:
    jobs = jobs_of(input_rows(2), [SCALES, STYLES], replicates=2)
    for job in jobs:
        job["prompt"] += f", {job['param_style']}"
    page = report_on(tmp_path, jobs)
    report = open_report(page, "view=grid&x=scale&y=~row&at style=(all)&size=600")
    first = "#grid .cell >> nth=0 >> .slot-label"
    assert report.texts(first)[:3] == [
        "style ink · replicate 0",
        "style ink · replicate 1",
        "style oil · replicate 0",
    ]
    report.choose("replicate", "1")
    assert report.texts(first) == ["style ink", "style oil", "style pen"]
    # Before any image is in hand, the grid of one row is called by no prompt of one of its points.
    one_row = open_report(page, "view=grid&x=style&y=scale&at ~row=pet-00")
    assert one_row.texts("#grid .about > span") == ["pet-00"]
    one_row.page.locator("#grid .open").first.hover()
    assert one_row.texts("#grid .about > span") == ["pet-00 · a pet, number 0, ink"]
    # What is said above the grid is about the image in hand.
    report.page.locator("#grid .open").nth(2).hover()
    assert report.texts("#grid .about > span") == ["a pet, number 0, pen"]
    report.page.locator("#grid .open").nth(1).focus()
    assert report.texts("#grid .about > span") == ["a pet, number 0, oil"]


def test_stars_are_seen_and_hit_without_a_mouse(
    tmp_path: Path, open_report: Open
) -> None:
    page = report_on(tmp_path, jobs_of(input_rows(2), [SCALES, STYLES]))
    phone = {"viewport": {"width": 400, "height": 800}, "has_touch": True}
    report = open_report(page, **phone)
    star = report.page.locator("#grid .star").first
    assert star.evaluate("star => Number(getComputedStyle(star).opacity)") > 0.5
    star.tap()
    assert report.texts("#stars") == ["1"]


@pytest.mark.parametrize("view", ["grid", "gallery", "summary"])
def test_paper_has_all_of_a_view_and_nothing_to_click(
    tmp_path: Path, open_report: Open, view: str
) -> None:
    page = report_on(tmp_path, jobs_of(input_rows(60), [SCALES, STYLES]))
    report = open_report(page, f"view={view}&y=~row&x=scale", color_scheme="dark")
    seen = report.page.locator(".open").count()
    report.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    report.page.emulate_media(media="print")
    report.page.set_viewport_size({"width": 794, "height": 1123})
    in_view = {"grid": 120, "gallery": 360, "summary": 0}[view]
    assert report.page.locator(".open").count() == in_view >= seen
    for hidden in (".tabs", ".tools", ".bar", ".star"):
        assert report.page.locator(f"{hidden} >> visible=true").count() == 0
    width = report.page.evaluate("document.documentElement.scrollWidth")
    height = report.page.evaluate("document.documentElement.scrollHeight")
    assert width == 794
    # All of it is on pages, instead of a part behind a scroll bar.
    assert height > 1123 or view == "summary"
    report.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert report.page.locator(".open").count() < 100
