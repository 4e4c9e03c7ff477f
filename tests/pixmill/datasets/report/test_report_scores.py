"""Scores and flags in the report: what can be filtered and sorted by, what is drawn, what is marked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.datasets.report import write_report
from pixmill.datasets.report.columns import ReportScore, columns_of
from pixmill.datasets.report.summary import Summary, summarize
from tests.pixmill.datasets.report.open_report import OpenReport
from tests.pixmill.datasets.report.page_text import about, parts
from tests.pixmill.datasets.report.sample_datasets import (
    Row,
    axis,
    config,
    input_rows,
    jobs_of,
    publish,
    with_images,
)

Open = Callable[..., OpenReport]

SCORES = (
    ("score_blank", pa.float64()),
    ("flag_blank", pa.bool_()),
    ("score_clip", pa.float64()),
)
STYLES = axis("style", "ink", "oil")
CARD = "#gallery .card"


def scored_jobs() -> list[Row]:
    """Twenty rows in two styles: each fifth image is blank, oil has the better score, one has none."""
    jobs = jobs_of(input_rows(20), [STYLES])
    for at, job in enumerate(jobs):
        blank = 0.01 if at % 10 == 3 else 0.9
        clip = 0.2 + at / 1000 + (0.5 if job["param_style"] == "oil" else 0)
        job |= {
            "score_blank": blank,
            "flag_blank": blank < 0.05,
            "score_clip": clip if at else None,
            "cost": 0.25 if job["param_style"] == "oil" else 0.125,
        }
    return jobs


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of these jobs."""
    of = config(tmp_path_factory.mktemp("scored"))
    jobs = with_images(scored_jobs(), of.store_path)
    publish(of, jobs, [STYLES], scores=SCORES)
    return write_report(of)


def summary_of(folder: Path, jobs: list[Row]) -> Summary:
    of = config(folder)
    path = publish(of, jobs, [STYLES], scores=SCORES)
    with pq.ParquetFile(path) as dataset:
        return summarize(dataset, columns_of(dataset.schema_arrow, of))


def keys(report: OpenReport) -> list[str]:
    return report.texts(f"{CARD} .name b")


def test_scores_are_found_behind_the_other_columns_and_are_none_of_the_table(
    tmp_path: Path,
) -> None:
    of = config(tmp_path)
    own = {"score_own": 3.0, "flag_own": True, "score_blank": "of the table"}
    jobs = jobs_of([{**row, **own} for row in input_rows(1)])
    jobs[0] |= {"pixmill_score_blank": 0.5, "flag_blank": False, "score_clip": 0.1}
    dataset = pq.ParquetFile(publish(of, jobs, scores=SCORES))
    columns = columns_of(dataset.schema_arrow, of)
    assert columns.scores == (
        ReportScore("blank", "pixmill_score_blank", "flag_blank", 0.05),
        ReportScore("clip", "score_clip", None, None),
    )
    assert columns.own == ("id", "photo", "text", "weight", *own)


def test_a_distribution_holds_every_image_with_a_score_and_counts_the_flagged(
    tmp_path: Path,
) -> None:
    blank, clip = summary_of(tmp_path, scored_jobs()).scores
    assert (blank.low, blank.high, blank.jobs, blank.flagged) == (0, 1, 40, 4)
    assert {at: count for at, count in enumerate(blank.bars) if count} == {0: 4, 36: 36}
    assert (clip.low, clip.high, clip.jobs) == (0.202, 0.739, 39)
    assert sum(clip.bars) == 39
    assert (clip.bars[0], clip.bars[-1]) == (7, 7)


def test_medians_and_middle_halves_are_those_of_the_values(tmp_path: Path) -> None:
    """Within a bin's width, a 320th of the range; exactly so where values repeat, as prices do."""
    jobs = scored_jobs()
    over = {
        (of.measure.name, value.label): value
        for of in summary_of(tmp_path, jobs).over_axes
        for value in of.spreads
    }
    names = {"clip", "blank", "latency", "cost"}
    assert set(over) == {(name, style) for name in names for style in ("ink", "oil")}
    for style in ("ink", "oil"):
        here = [job for job in jobs if job["param_style"] == style]
        assert over["cost", style].quantiles == (here[0]["cost"],) * 5
        for name, column in (("clip", "score_clip"), ("latency", "latency_ms")):
            values = [job[column] for job in here if job[column] is not None]
            spread = over[name, style]
            assert spread.jobs == len(values)
            assert spread.mean == pytest.approx(np.mean(values))
            assert spread.quantiles == pytest.approx(
                np.quantile(
                    values, [0.05, 0.25, 0.5, 0.75, 0.95], method="inverted_cdf"
                ),
                rel=0.01,
            )


def test_the_latency_over_an_axis_is_that_of_pictures(tmp_path: Path) -> None:
    jobs = scored_jobs()
    for job in jobs[:20]:
        job |= {"status": "failed", "latency_ms": 1.0, "error_code": "50205"}
    spreads = summary_of(tmp_path, jobs).over_axes
    latency = next(of for of in spreads if of.measure.kind == "latency")
    assert [value.jobs for value in latency.spreads] == [10, 10]
    assert min(value.quantiles[0] for value in latency.spreads) >= 3000


def test_many_values_of_an_axis_of_numbers_are_put_together_by_size(
    tmp_path: Path,
) -> None:
    scales = axis("scale", *(100 - at for at in range(60)))
    of = config(tmp_path)
    path = publish(of, jobs_of(input_rows(1), [scales]), [scales])
    with pq.ParquetFile(path) as dataset:
        summary = summarize(dataset, columns_of(dataset.schema_arrow, of))
    latency, _ = summary.over_axes
    assert [value.label for value in latency.spreads][:2] == ["41 – 43", "44 – 46"]
    assert sum(value.jobs for value in latency.spreads) == 60
    assert len(latency.spreads) == 24


def test_without_scores_and_a_sweep_nothing_is_added(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, jobs_of(input_rows(3)))
    page = write_report(of)
    assert (about(page)["scores"], about(page)["spreads"]) == ([], [])
    assert 'class="scores"' not in page.read_text()


def test_images_without_a_single_score_have_no_chart(tmp_path: Path) -> None:
    jobs = jobs_of(input_rows(2), [STYLES])
    assert summary_of(tmp_path, jobs).scores == ()


@pytest.mark.slow
def test_the_gallery_is_filtered_by_flags_and_ranges_and_sorted_by_scores(
    page: Path, open_report: Open
) -> None:
    report = open_report(page, "view=gallery")
    report.page.locator(".chip", has_text="blank").click()
    assert keys(report) == ["pet-01", "pet-06", "pet-11", "pet-16"]
    assert report.texts(f"{CARD} .flags") == ["⚑ blank"] * 4
    assert report.names(f"{CARD} .open")[0] == "pet-01, style oil, flagged blank"
    report.page.get_by_role("button", name="Clear").click()
    report.choose("Where", "score clip")
    report.page.get_by_label("score clip from").fill("0.7")
    report.page.get_by_label("score clip below").fill("0.709")
    report.choose("Sort", "score clip")
    report.page.get_by_label("Ascending").click()
    assert keys(report) == ["pet-03", "pet-02", "pet-01", "pet-00"]
    assert report.texts(f"{CARD} .measure")[0] == "0.707"
    again = open_report(page, report.state)
    assert keys(again) == ["pet-03", "pet-02", "pet-01", "pet-00"]
    again.page.locator(f"{CARD} .open").nth(2).click()
    scores = again.page.locator("#job .facts section", has_text="Scores")
    assert scores.locator("dd").all_inner_texts() == ["0.01 ⚑ flagged", "0.703"]


@pytest.mark.slow
def test_flagged_images_are_marked_in_the_grid(page: Path, open_report: Open) -> None:
    report = open_report(page, "view=grid&y=~row&x=style")
    marked = report.page.locator("#grid .shot", has=report.page.locator(".flags"))
    assert marked.locator(".open").first.get_attribute("aria-label") == (
        "pet-01, style oil, flagged blank"
    )
    page_of = report.page
    page_of.get_by_role("link", name="Summary").click()
    assert report.texts("#summary .scores h3 a") == ["⚑ 4 flagged"]
    # A bar leads to its images.
    page_of.locator("#summary .scores a[href*=clip]").first.click()
    assert keys(report) == [f"pet-{at:02}" for at in range(1, 8)]


@pytest.mark.slow
def test_any_measure_is_drawn_over_any_axis(page: Path, open_report: Open) -> None:
    report = open_report(page, "view=summary")
    shown = "#spreads tbody tr"
    assert report.texts(shown)[1] == "oil\t20\t0.719\t0.709 – 0.729\t0.72"
    assert report.page.locator("#spreads .box").count() == 2
    boxes = [box.bounding_box() for box in report.page.locator("#spreads .box").all()]
    assert boxes[1]["y"] < boxes[0]["y"]  # more is higher
    report.choose("Show", "cost")
    assert report.texts(shown)[1] == "oil\t20\t0.25 CNY\t–\t0.25 CNY"
    assert "measure=cost" in report.state
    again = open_report(page, report.state, viewport={"width": 400, "height": 800})
    assert again.texts(shown) == report.texts(shown)
    assert again.page.evaluate("document.documentElement.scrollWidth") == 400
    # A table that is wider than a phone scrolls by itself, and no word of it is a column of letters.
    assert again.page.locator("#summary .figures").evaluate(
        "figures => figures.scrollWidth <= figures.clientWidth"
    )
    assert again.page.locator("#spreads tbody th").first.bounding_box()["height"] < 50


@pytest.mark.slow
def test_names_of_scores_are_text_whatever_is_in_them(
    tmp_path: Path, open_report: Open
) -> None:
    of = config(tmp_path)
    name = "score_<img src=x onerror=alert(1)>&amp;'\"${x}"
    jobs = [
        {**job, name: at / 10}
        for at, job in enumerate(jobs_of(input_rows(4), [STYLES]))
    ]
    publish(of, jobs, [STYLES], scores=[(name, pa.float64())])
    report = open_report(write_report(of), "view=summary")
    assert report.texts("#summary .scores h3 [dir=auto]") == [
        name.removeprefix("score_")
    ]
    report.page.locator("#summary .scores svg a").last.click()
    assert keys(report) == ["pet-03"]
    assert not parts(write_report(of)).texts.get("img")


def test_values_that_were_drawn_are_ordered_by_size_and_rounded(
    tmp_path: Path,
) -> None:
    drawn = axis("scale", 5.6394267984578837, 2.25, 5.6401)
    given = axis("style", "oil", "ink")
    sweep = {
        "groups": [{"random": {"n": 3, "scale": {"uniform": [2, 8]}}}, {"grid": {}}]
    }
    of = config(tmp_path, sweep=sweep)
    publish(of, jobs_of(input_rows(1), [drawn, given]), [drawn, given])
    scale, style = about(write_report(of))["axes"]
    assert scale["labels"] == ["2.25", "5.639", "5.64"]
    assert scale["texts"] == ["2.25", "5.63942679846", "5.6401"]
    assert style["labels"] == ["oil", "ink"]
