"""The page of a comparison: pictures side by side, a slider, and what has no partner."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixmill.datasets.compare import compare, find_side, write_page
from tests.pixmill.datasets.published import Shelf
from tests.pixmill.datasets.report.conftest import browser, open_report
from tests.pixmill.datasets.report.open_report import OpenReport

pytestmark = pytest.mark.slow

__all__ = ["browser", "open_report"]

Open = Callable[..., OpenReport]
EVIL = "<img src=x onerror=alert(1)>&amp;'\""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    """Five jobs of both sides, of which one kept its picture, and two of one side only."""
    shelf = Shelf(tmp_path)
    a = [shelf.job(at, file_name=shelf.image(at)) for at in range(6)]
    b = [shelf.job(at, file_name=shelf.image(at and 50 + at)) for at in range(5)]
    b.append(shelf.job(9, file_name=shelf.image(9)))
    for job in (a[2], b[2]):
        job["row_key"] = EVIL
    # What no store makes is not shown, whatever a dataset says.
    b[3]["file_name"] = "images/../../../etc/passwd"
    shelf.publish(a, version="20261001T000000Z")
    shelf.publish(b)
    found = compare(find_side(f"{shelf.path}@2026-10"), find_side(shelf.path))
    assert (found.only_a, found.only_b) == (1, 1)
    yield write_page(found, tmp_path / "page")


def seen(report: OpenReport) -> Any:
    return report.page.locator(".pair-of-pictures img")


def test_pictures_of_both_sides_are_beside_each_other_or_under_a_slider(
    page: Path, open_report: Open
) -> None:
    report = open_report(page)
    report.page.wait_for_function(
        "() => [...document.images].every(image => image.naturalWidth > 0)"
    )
    keys = sorted(report.texts(".pairs b"))
    assert keys == sorted(["r1", EVIL, "r4"])
    first, second = (seen(report).nth(at).bounding_box() for at in (0, 1))
    assert first["x"] + first["width"] <= second["x"]
    assert "jobs without a partner\t1\t1" in report.texts(".costs tbody tr")
    report.page.get_by_role("button", name="slider").click()
    first, second = (seen(report).nth(at).bounding_box() for at in (0, 1))
    assert first == second
    slider = report.page.locator(".pair-of-pictures input").first
    cut = "figure => getComputedStyle(figure).clipPath"
    over = report.page.locator(".over").first
    assert over.evaluate(cut) == "inset(0px 0px 0px 50%)"
    slider.focus()
    report.page.keyboard.press("End")
    assert over.evaluate(cut) == "inset(0px 0px 0px 100%)"


def test_a_phone_shows_the_page_without_scrolling_sideways(
    page: Path, open_report: Open
) -> None:
    report = open_report(page, viewport={"width": 400, "height": 800})
    assert report.page.evaluate("document.documentElement.scrollWidth") == 400


def test_the_page_says_what_was_asked_for_differently_and_that_nothing_was_paid(
    tmp_path: Path, open_report: Open
) -> None:
    sides = []
    sweeps = (
        {"groups": [{"grid": {"scale": [2, 3]}}]},
        {"groups": [{"zip": {"style": [{"label": "ink", "value": "in black ink"}]}}]},
    )
    prompts = ("{text}", "{text}, {style}")
    for name, sweep, prompt in zip("ab", sweeps, prompts, strict=True):
        (tmp_path / name).mkdir()
        shelf = Shelf(tmp_path / name, sweep=sweep, request={"prompt": prompt})
        picture = io.BytesIO()
        Image.new("L", (80, 40), ord(name)).save(picture, "png")
        wide = shelf.keep(picture.getvalue(), "png")
        shelf.publish([shelf.job(0, provider="simulator", file_name=wide)])
        sides.append(find_side(shelf.path))
    report = open_report(write_page(compare(*sides), tmp_path / "page"))
    asked = [of for of in report.texts(".asked tbody tr") if str(tmp_path) not in of]
    assert asked == [
        "request.prompt\t{text}\t{text}, {style}",
        "sweep.grid.scale\t2, 3\t–",
        "sweep.zip.style\t–\tink (in black ink)",
    ]
    assert "cost\tsimulated\tsimulated" in report.texts("tbody tr")
    # No band above and below a picture, and its place is there before it is loaded.
    box = seen(report).first.bounding_box()
    assert box["width"] == pytest.approx(2 * box["height"], abs=1)
