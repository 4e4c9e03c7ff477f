"""The figures of the summary."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pixmill.datasets.report import charts
from pixmill.datasets.report.columns import columns_of
from pixmill.datasets.report.costs import Spent
from pixmill.datasets.report.summary import Failure, LastRun, Summary, summarize
from tests.pixmill.datasets.report.sample_datasets import (
    Axis,
    Row,
    axis,
    config,
    ended,
    input_rows,
    jobs_of,
    publish,
)


def summary_of(folder: Path, jobs: list[Row], axes: Sequence[Axis] = ()) -> Summary:
    of = config(folder)
    with pq.ParquetFile(publish(of, jobs, list(axes))) as dataset:
        return summarize(dataset, columns_of(dataset.schema_arrow, of))


def test_one_sentence_says_it_all(tmp_path: Path) -> None:
    jobs = jobs_of(input_rows(10))
    jobs[0] = ended(jobs[0], "refused", "50511")
    jobs[1] = ended(jobs[1], "in_doubt", "timeout")
    jobs[2] = {**jobs[2], "error_code": "image_pending"}
    assert summary_of(tmp_path, jobs).sentence == (
        "8 of 10 images · 1 refused · 1 in doubt · 1 file missing · 0.124 CNY · 18 s"
    )


def test_an_unknown_cost_is_left_out_and_never_0(tmp_path: Path) -> None:
    jobs = [{**job, "cost": None} for job in jobs_of(input_rows(2))]
    summary = summary_of(tmp_path, jobs)
    assert summary.spent == Spent({}, 2)
    assert summary.spent.per_image == ""
    assert "CNY" not in summary.sentence


def test_currencies_are_not_added_up(tmp_path: Path) -> None:
    first, second = jobs_of(input_rows(2))
    summary = summary_of(tmp_path, [first, {**second, "cost": 2.0, "currency": "USD"}])
    assert summary.sentence.startswith("2 of 2 images · 0.0155 CNY + 2.00 USD")


def test_money_is_added_up_to_the_last_digit(tmp_path: Path) -> None:
    """0.1 + 0.2 is not 0.3 in binary."""
    jobs = [
        {**job, "cost": 0.1 * (1 + at % 2)}
        for at, job in enumerate(jobs_of(input_rows(300)))
    ]
    assert summary_of(tmp_path, jobs).spent.amounts == {"CNY": Decimal(45)}


def test_a_job_with_several_images_counts_each_that_is_there(tmp_path: Path) -> None:
    jobs = jobs_of(input_rows(3))
    jobs[0] = {**jobs[0], "image_count": 4, "cost": 0.8}
    jobs[1] = {**jobs[1], "image_count": 3, "cost": 0.6, "error_code": "image_pending"}
    jobs[2] = ended(jobs[2], "refused", "50511")
    summary = summary_of(tmp_path, jobs)
    assert summary.spent == Spent({"CNY": Decimal("1.4")}, 4)
    assert summary.spent.per_image == "0.35 CNY"
    assert summary.sentence.startswith("4 images from 2 of 3 jobs · 1 refused")


def test_each_value_of_an_axis_has_its_cost(tmp_path: Path) -> None:
    """The dearer model made fewer pictures that can be used."""
    models = axis("req_key", "cheap", "dear")
    jobs = jobs_of(input_rows(4), [models])
    for at, job in enumerate(jobs):
        if at % 2:
            jobs[at] = {**job, "image_count": 2, "cost": 0.4}
        else:
            jobs[at] = {**job, "image_count": 1, "cost": 0.1}
    jobs[1] = ended(jobs[1], "failed", "no_image")
    summary = summary_of(tmp_path, jobs, [models])
    costs = {
        of.label: (of.spent.text, of.spent.images, of.spent.per_image)
        for of in summary.axis_costs["req_key"]
    }
    assert costs == {
        "cheap": ("0.40 CNY", 4, "0.10 CNY"),
        "dear": ("1.20 CNY", 6, "0.20 CNY"),
    }
    (table,) = charts.cost_tables(summary.axis_costs)
    assert [row.share for row in table.rows] == [50, 100]


def test_without_prices_or_with_one_value_an_axis_has_no_costs(tmp_path: Path) -> None:
    models = axis("req_key", "one", "other")
    jobs = [{**job, "cost": None} for job in jobs_of(input_rows(2), [models])]
    assert summary_of(tmp_path, jobs, [models]).axis_costs == {}
    alone = axis("req_key", "one")
    assert (
        summary_of(tmp_path, jobs_of(input_rows(2), [alone]), [alone]).axis_costs == {}
    )


def test_codes_are_counted_and_explained_by_their_first_message(tmp_path: Path) -> None:
    jobs = jobs_of(input_rows(4))
    jobs[1] = ended(jobs[1], "failed", "50500", "Internal Error")
    jobs[2] = ended(jobs[2], "failed", "50500", "another")
    jobs[3] = ended(jobs[3], "refused", "50411", "Pre Img Risk Not Pass")
    assert summary_of(tmp_path, jobs).failures == (
        Failure("50500", 2, "Internal Error"),
        Failure("50411", 1, "Pre Img Risk Not Pass"),
    )


def test_rows_with_equal_content_are_one_call(tmp_path: Path) -> None:
    early, late = jobs_of(input_rows(2))
    early["latency_ms"] = 1000.0
    late["latency_ms"] = 3000.0
    summary = summary_of(tmp_path, [late, *[early] * 98, late])
    assert summary.jobs == 100
    assert summary.last_run is not None
    assert len(summary.last_run.ends) == 2
    # Halfway between the two calls, however many rows each has.
    assert summary.latency[50] == pytest.approx(2.0)


def test_the_time_between_runs_is_no_running_time(tmp_path: Path) -> None:
    jobs = jobs_of(input_rows(4))
    earlier = [{**job, "run_id": "a"} for job in jobs[:2]]
    later = [
        {
            **job,
            "run_id": "b",
            **{
                name: job[name].replace(day=20)
                for name in ("started_at", "finished_at")
            },
        }
        for job in jobs[2:]
    ]
    summary = summary_of(tmp_path, [*earlier, *later])
    assert summary.seconds == pytest.approx(5.0 + 6.0)
    assert summary.last_run is not None
    assert summary.last_run.seconds == pytest.approx(6.0)
    assert summary.last_run.ends.tolist() == [4_000_000, 6_000_000]


def test_percentiles_are_of_the_calls_in_seconds(tmp_path: Path) -> None:
    jobs = [
        {**job, "latency_ms": 100.0 * at}
        for at, job in enumerate(jobs_of(input_rows(101)))
    ]
    jobs.append(
        {**jobs[0], "latency_ms": None, "started_at": None, "finished_at": None}
    )
    assert summary_of(tmp_path, jobs).latency == pytest.approx(
        {50: 5.0, 75: 7.5, 90: 9.0, 95: 9.5, 99: 9.9}
    )


def test_nothing_at_all_has_a_summary(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [])
    assert summary.sentence == "0 of 0 images"
    assert (summary.latency, summary.last_run, charts.shares(summary.status)) == (
        {},
        None,
        [],
    )


def test_the_bars_of_the_throughput_hold_every_call(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, jobs_of(input_rows(80)))
    assert summary.last_run is not None
    drawn = charts.throughput(summary.last_run)
    top, height = float(drawn.up[-1].label), charts.HEIGHT
    width = summary.last_run.seconds / len(drawn.bars) / 60
    assert drawn.unit == "per minute"
    assert sum(
        bar.height / height * top * width for bar in drawn.bars
    ) == pytest.approx(80)
    assert all(
        0 <= bar.y <= height and bar.y + bar.height == pytest.approx(height)
        for bar in drawn.bars
    )


@pytest.mark.parametrize("micros", [0, 1, 999, 1_000, 1_001, 1_004, 1_956])
def test_the_only_call_of_a_run_is_in_a_bar_whenever_it_ended(micros: int) -> None:
    """Of some numbers a millionth, a million times, is a little less than the number."""
    run = LastRun(0.0, micros / 1e6, np.array([micros]))
    drawn = charts.throughput(run)
    assert [bar.height > 0 for bar in drawn.bars].count(True) == 1


@pytest.mark.parametrize(
    ("seconds", "read"),
    [
        (0.001, ["0", "1 ms"]),
        (0.69, ["0", "200 ms", "400 ms", "600 ms"]),
        (7.5, ["0", "2 s", "4 s", "6 s"]),
        (130, ["0", "30 s", "60 s", "90 s", "2 min"]),
        (9_000, ["0", "30 min", "60 min", "90 min", "2 h 00 min", "2 h 30 min"]),
    ],
)
def test_the_scale_of_time_has_round_moments_each_read_once(
    seconds: float, read: list[str]
) -> None:
    ends = np.array([int(seconds * 1e6)])
    drawn = charts.throughput(LastRun(0.0, seconds, ends))
    assert [tick.label for tick in drawn.across] == read
    assert all(0 <= tick.at <= charts.WIDTH for tick in drawn.across)


def test_shares_of_outcomes_fill_the_bar() -> None:
    bars = charts.shares({"failed": 1, "succeeded": 3})
    assert [(bar.label, bar.value) for bar in bars] == [
        ("succeeded", "3"),
        ("failed", "1"),
    ]
    assert sum(bar.width for bar in bars) == pytest.approx(charts.WIDTH)


def test_many_codes_end_in_one_line_of_others() -> None:
    rows = charts.failure_rows(
        tuple(Failure(str(at), 100 - at, "") for at in range(20))
    )
    assert len(rows) == 13
    assert (rows[-1].label, rows[-1].value) == (
        "others",
        f"{sum(100 - at for at in range(12, 20)):,}",
    )
