"""Ten thousand jobs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pixmill.datasets.report import write_report
from tests.pixmill.datasets.report.open_report import OpenReport
from tests.pixmill.datasets.report.sample_datasets import (
    axis,
    config,
    input_rows,
    jobs_of,
    publish,
    with_images,
)

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("view", ["gallery", "grid"])
def test_of_ten_thousand_jobs_less_than_a_hundred_are_drawn_and_fetched_at_once(
    tmp_path: Path, open_report: Callable[..., OpenReport], view: str
) -> None:
    of, axes = config(tmp_path), [axis("scale", 2, 3, 4, 5)]
    rows = [
        {**row, "text": f"{row['text']} in fresh snow at dawn, " * 5}
        for row in input_rows(2500)
    ]
    publish(of, with_images(jobs_of(rows, axes), of.store_path), axes)
    path = write_report(of)
    report = open_report(path, f"view={view}&y=~row")
    report.page.wait_for_selector(f"#{view} img")
    assert report.page.locator(f"#{view} .open").count() < 100
    assert len(report.requests) < 100
