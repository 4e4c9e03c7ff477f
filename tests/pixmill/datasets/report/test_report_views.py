"""The report as people use it, in a real browser."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pixmill.datasets.report import write_report
from pixmill.tables import open_table
from tests.pixmill.datasets.report.open_report import OpenReport
from tests.pixmill.datasets.report.sample_datasets import (
    Axis,
    Row,
    axis,
    config,
    ended,
    input_rows,
    jobs_of,
    publish,
    stored_image,
    with_images,
    with_several,
)

pytestmark = pytest.mark.slow

Open = Callable[..., OpenReport]
SCALES, STRENGTHS, STYLES = (
    axis("scale", 2, 3, 4),
    axis("controlnet_args.0.strength", 0.2, 0.6),
    axis("style", "ink", "oil"),
)
CARD, SHOT = "#gallery .card", "#grid .open"


def report_on(
    folder: Path, jobs: list[Row], axes: list[Axis] | None = None, **changes: object
) -> Path:
    of = config(folder, **changes)
    publish(of, with_images(jobs, of.store_path), axes or [])
    return write_report(of)


def keys(report: OpenReport) -> list[str]:
    """The row keys of the cards in sight, in their order."""
    return report.texts(f"{CARD} .name b")


def focused(report: OpenReport) -> str:
    return str(
        report.page.evaluate("document.activeElement.getAttribute('aria-label')")
    )


def loaded(report: OpenReport, selector: str) -> None:
    """Wait until an image is really there."""
    report.page.wait_for_function(
        "(of) => document.querySelector(of)?.naturalWidth > 0", arg=selector
    )


def test_a_sweep_opens_as_a_grid_of_its_first_two_axes(
    tmp_path: Path, open_report: Open
) -> None:
    axes = [SCALES, STRENGTHS]
    report = open_report(report_on(tmp_path, jobs_of(input_rows(2), axes), axes))
    assert report.texts("#grid .column") == ["2", "3", "4"]
    assert report.texts("#grid .row b") == ["0.2", "0.6"]
    assert report.names(SHOT)[:2] == [
        "pet-00, scale 2 · strength 0.2",
        "pet-00, scale 3 · strength 0.2",
    ]
    loaded(report, f"{SHOT} img")
    report.page.get_by_label("Next row").click()
    assert report.names(SHOT)[0] == "pet-01, scale 2 · strength 0.2"


def test_any_dimension_goes_across_or_down(tmp_path: Path, open_report: Open) -> None:
    axes = [SCALES, STRENGTHS, STYLES]
    report = open_report(
        report_on(tmp_path, jobs_of(input_rows(2), axes, replicates=3), axes)
    )
    report.choose("Across", "strength")  # which was down: the two are swapped
    assert (report.texts("#grid .column"), report.texts("#grid .row b")) == (
        ["0.2", "0.6"],
        ["2", "3", "4"],
    )
    report.choose("Across", "row")
    report.choose("Down", "style")
    assert (report.texts("#grid .column"), report.texts("#grid .row b")) == (
        ["pet-00", "pet-01"],
        ["ink", "oil"],
    )
    assert (
        report.page.locator("#grid .cell").first.locator(".open").count() == 3
    )  # replicates share a cell
    report.choose("replicate", "2")
    assert report.names("#grid .cell >> nth=0 >> .open") == [
        "pet-00, scale 2 · strength 0.2 · style ink · replicate 2"
    ]


def test_axes_in_step_are_no_diagonal(tmp_path: Path, open_report: Open) -> None:
    axes = [axis("scale", 2, 3, 4), axis("ddim_steps", 16, 25, 40)]
    pairs = {(2, 16), (3, 25), (4, 40)}
    jobs = [
        job
        for job in jobs_of(input_rows(2), axes)
        if (job["param_scale"], job["param_ddim_steps"]) in pairs
    ]
    report = open_report(report_on(tmp_path, jobs, axes))
    assert report.texts("#grid .row b") == ["pet-00", "pet-01"]
    assert len(report.names(SHOT)) == 6
    report.choose(
        "Across", "row"
    )  # the steps went in step with the scale that was across; now they go down
    report.choose("Down", "ddim_steps")
    assert len(report.names(SHOT)) == 6


def test_no_picture_of_points_picked_by_hand_is_out_of_reach(
    tmp_path: Path, open_report: Open
) -> None:
    """A value across or down does not say which steps: all of them are in its cell."""
    axes = [axis("scale", 1, 2, 3, 4), axis("ddim_steps", 1, 2, 3, 4, 5, 6)]
    points = {(1, 1), (1, 4), (2, 2), (3, 3), (3, 5), (4, 6)}
    jobs = [
        job
        for job in jobs_of(input_rows(2), axes)
        if (job["param_scale"], job["param_ddim_steps"]) in points
    ]
    report = open_report(report_on(tmp_path, jobs, axes))
    names = report.names(SHOT)
    assert len(names) == len(set(names)) == 12


def test_keys_move_open_and_star(tmp_path: Path, open_report: Open) -> None:
    axes = [SCALES, STRENGTHS]
    report = open_report(report_on(tmp_path, jobs_of(input_rows(1), axes), axes))
    page = report.page
    page.locator(SHOT).first.focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert focused(report) == "pet-00, scale 3 · strength 0.6"
    assert (
        page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        == "solid"
    )
    assert (
        page.locator(f"{SHOT}[tabindex='0']").count() == 1
    )  # the grid is one stop of the Tab key
    page.keyboard.press("s")
    assert report.texts("#stars") == ["1"]
    page.keyboard.press("Enter")
    assert report.texts("#job-title") == ["pet-00"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    assert report.texts("#job .axes dd") == ["4", "0.6"]
    page.keyboard.press("Escape")
    # The focus goes to the image that was shown last.
    page.wait_for_function(
        "() => document.activeElement.ariaLabel === 'pet-00, scale 4 · strength 0.6'"
    )
    assert report.texts("#stars") == ["2"]


def test_the_labels_stay_while_a_long_grid_scrolls(
    tmp_path: Path, open_report: Open
) -> None:
    report = open_report(
        report_on(tmp_path, jobs_of(input_rows(300), [SCALES]), [SCALES])
    )
    page = report.page
    page.locator(SHOT).first.focus()
    page.keyboard.press("PageDown")
    page.evaluate("document.querySelector('.sheet').scrollTop = 20000")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.line .row b')].some((of) => of.innerText > 'pet-50')"
    )
    sheet, head = (
        page.locator(of).bounding_box() for of in (".sheet", "#grid .column >> nth=0")
    )
    assert head["y"] == pytest.approx(sheet["y"], abs=2)
    assert page.locator(SHOT).count() < 60


def test_failed_cells_show_their_code(tmp_path: Path, open_report: Open) -> None:
    jobs = jobs_of(input_rows(1), [SCALES])
    jobs[1] = ended(jobs[1], "refused", "50511", "Post Img Risk Not Pass")
    report = open_report(report_on(tmp_path, jobs, [SCALES]))
    assert report.texts("#grid .blank b") == ["50511"]
    report.page.locator(SHOT).nth(1).click()
    assert report.texts("#job .problem") == ["50511\n\nPost Img Risk Not Pass"]
    assert report.texts("#job .status") == ["refused"]


def test_a_table_without_a_sweep_is_a_gallery(
    tmp_path: Path, open_report: Open
) -> None:
    report = open_report(report_on(tmp_path, jobs_of(input_rows(12))))
    assert report.texts(".tabs a:visible") == ["Gallery", "Summary"]
    shown = keys(report)
    assert shown
    assert shown == [f"pet-{at:02}" for at in range(12)][: len(shown)]
    loaded(report, f"{CARD} img")
    report.page.get_by_role("link", name="Summary").click()
    assert report.page.locator("#summary svg title").count() >= 3


def test_filters_search_and_sorting_work_together_and_stand_in_the_address(
    tmp_path: Path, open_report: Open
) -> None:
    jobs = jobs_of(
        [
            {**row, "kind": ["cat", "dog"][at % 2]}
            for at, row in enumerate(input_rows(20))
        ]
    )
    for at in (3, 4, 6):
        jobs[at] = ended(jobs[at], "failed", ["50500", "50207"][at % 2])
    path = report_on(tmp_path, jobs)
    report = open_report(path)
    report.page.locator(".chip", has_text="failed").click()
    assert keys(report) == ["pet-03", "pet-04", "pet-06"]
    report.choose("Code", "50500 (2)")
    assert keys(report) == ["pet-04", "pet-06"]
    report.page.get_by_role("button", name="Clear").click()
    report.choose("Where", "kind")
    report.choose("is", "cat (10)")
    report.choose("Sort", "weight")
    report.page.get_by_label("Ascending").click()
    report.page.locator("#gallery input[type=search]").first.fill("pet-1")
    assert keys(report) == ["pet-18", "pet-16", "pet-14", "pet-12", "pet-10"]
    assert report.texts("#gallery .count") == ["5 of 20"]
    again = open_report(path, report.state)
    assert keys(again) == ["pet-18", "pet-16", "pet-14", "pet-12", "pet-10"]
    again.page.locator("#gallery input[type=search]").first.fill("unicorn")
    assert again.texts("#gallery .nothing") == ["Nothing matches."]


def test_a_card_opens_all_that_is_known(tmp_path: Path, open_report: Open) -> None:
    job = {
        **jobs_of(input_rows(1))[0],
        "effective_seed": 99,
        "seed": 7,
        "prompt": "a pet, in ink",
    }
    job["params"] = json.dumps({"scale": 3, "logo_info": {"add_logo": False}})
    report = open_report(report_on(tmp_path, [job]))
    report.page.locator(f"{CARD} .open").click()
    facts = report.page.locator("#job .facts").inner_text()
    for fact in (
        "a pet, in ink",
        "99",
        job["request_id"],
        "3.00 s",
        "0.0155 CNY",
        "20261005-093000-abcdef",
        "a pet, number 0",
    ):
        assert fact in facts
    assert json.loads(report.texts("#job pre")[0]) == {
        "scale": 3,
        "logo_info": {"add_logo": False},
    }
    loaded(report, "#job figure img")
    assert "/images/" in report.page.locator("#job figure img").get_attribute("src")
    assert (
        report.page.get_by_role("link", name="open ↗").get_attribute("rel")
        == "noopener noreferrer"
    )


def test_inputs_from_disk_stand_beside_their_outputs(
    tmp_path: Path, open_report: Open
) -> None:
    Image.new("RGB", (40, 20), "red").save(tmp_path / "in.png")
    (tmp_path / "pets.csv").write_text("id,photo,text\n")
    first, second = jobs_of(input_rows(2))
    jobs = [{**first, "photo": "in.png"}, {**second, "photo": "gone.png"}]
    columns = {"image_file": "photo", "prompt": "text"}
    report = open_report(
        report_on(
            tmp_path,
            jobs,
            input={"path": str(tmp_path / "pets.csv"), "columns": columns},
        )
    )
    loaded(report, f"{CARD} .frame:first-child img")
    assert report.page.locator(f"{CARD} >> nth=0 >> img").count() == 2
    assert report.texts(f"{CARD} .blank") == ["no input image"]
    report.page.locator(f"{CARD} .open").first.click()
    loaded(report, "#job figure img")
    assert report.texts("#job figcaption") == ["input", "output"]


def test_a_card_is_as_high_as_most_pictures_are(
    tmp_path: Path, open_report: Open
) -> None:
    """Landscapes in squares would be bands of nothing above and below them."""
    of = config(tmp_path)
    jobs = with_images(jobs_of(input_rows(3)), of.store_path)
    for job in jobs[1:]:
        job["images"][0]["width"] = 96
    publish(of, jobs)
    report = open_report(write_report(of))
    frame = report.page.locator(f"{CARD} .frame").first.bounding_box()
    assert frame["width"] == pytest.approx(2 * frame["height"], abs=2)
    # All jobs are looked through for it once, not with every letter of a search.
    passes = """() => {
        const filter = jobs.all.filter;
        let count = 0;
        jobs.all.filter = (...asked) => { count++; return filter.apply(jobs.all, asked); };
        const shape = jobs.shape();
        delete jobs.all.filter;
        return [shape, count];
    }"""
    assert report.page.evaluate(passes) == [0.5, 0]


def test_images_that_are_gone_leave_a_word(tmp_path: Path, open_report: Open) -> None:
    path = report_on(tmp_path, jobs_of(input_rows(2)))
    for image in (tmp_path / "out").glob("images/*/*"):
        image.unlink()
    next((tmp_path / "out").glob("thumbs/*/*")).unlink()
    report = open_report(path)
    report.page.wait_for_selector(f"{CARD} .blank")
    assert report.texts(f"{CARD} .blank") == ["image not found"]
    report.complaints.clear()  # of the browser, about the file


def test_images_that_were_not_downloaded_are_links(
    tmp_path: Path, open_report: Open
) -> None:
    of = config(tmp_path, output={"images": "url"})
    publish(
        of,
        [
            {**job, "output_url": "https://cdn.example.com/a.jpg"}
            for job in jobs_of(input_rows(1))
        ],
    )
    report = open_report(write_report(of))
    assert report.texts(f"{CARD} .blank") == ["not downloaded"]
    report.page.locator(f"{CARD} .open").click()
    addresses = [
        link.get_attribute("href")
        for link in report.page.locator("#job .facts a").all()
    ]
    assert addresses == [
        "https://cdn.example.com/a.jpg",
        "https://images.example.com/0.jpg",
    ]


def test_picks_are_a_table_that_a_run_can_read(
    tmp_path: Path, open_report: Open
) -> None:
    axes = [STRENGTHS, STYLES]
    rows = [
        {**row, "text": f'a "{at}",\n  =SUM(1) 狗 '}
        for at, row in enumerate(input_rows(2))
    ]
    jobs = jobs_of(rows, axes, replicates=2)
    path = report_on(tmp_path, jobs, axes)
    report = open_report(path, "view=gallery")
    page = report.page
    assert page.locator("#download").is_disabled()
    for at in (0, 1, 7):  # two replicates of one cell, and another cell
        page.locator(f"[data-star='{at}']").evaluate("star => star.click()")
    page.reload()
    assert report.texts("#stars") == ["3"]
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "picks.csv"
    picked = tmp_path / "picks.csv"
    download.value.save_as(picked)
    found = list(
        csv.DictReader(io.StringIO(picked.read_text(encoding="utf-8"), newline=""))
    )
    assert list(found[0]) == [
        "row_key",
        "point_id",
        "controlnet_args.0.strength",
        "style",
        "photo",
        "text",
        "id",
    ]
    assert [row["row_key"] for row in found] == ["pet-00", "pet-00"]
    assert [row["point_id"] for row in found] == [
        jobs[0]["point_id"],
        jobs[7]["point_id"],
    ]
    assert [(row["controlnet_args.0.strength"], row["style"]) for row in found] == [
        ("0.2", "ink"),
        ("0.6", "oil"),
    ]
    assert found[0]["text"] == rows[0]["text"]
    (batch,) = open_table(str(picked)).batches()
    assert batch.rows["text"].to_pylist() == [rows[0]["text"]] * 2


def test_stars_alone_can_be_seen(tmp_path: Path, open_report: Open) -> None:
    report = open_report(report_on(tmp_path, jobs_of(input_rows(5))))
    report.page.locator("[data-star='2']").evaluate("star => star.click()")
    report.page.locator(".picks").click()
    report.page.wait_for_function(
        "() => document.querySelector('#gallery .count').innerText === '1 of 5'"
    )
    assert keys(report) == ["pet-02"]


def test_light_and_dark_follow_the_system_until_somebody_chooses(
    tmp_path: Path, open_report: Open
) -> None:
    path = report_on(tmp_path, jobs_of(input_rows(1)))
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (open_report(path, color_scheme=of) for of in ("light", "dark"))
    colours = [report.page.evaluate(paper) for report in (light, dark)]
    assert colours[0] != colours[1]
    light.page.locator("#theme").click()
    light.page.reload()
    assert light.page.evaluate(paper) == colours[1]


def test_an_open_page_is_not_disturbed_by_a_new_report(
    tmp_path: Path, open_report: Open
) -> None:
    of = config(tmp_path)
    publish(of, with_images(jobs_of(input_rows(3)), of.store_path))
    report = open_report(write_report(of))
    publish(
        of,
        [
            {**job, "images": None, "file_name": stored_image(of.store_path, number=90)}
            for job in jobs_of(input_rows(9))
        ],
    )
    write_report(of)
    report.page.locator("#gallery input[type=search]").first.fill("number 2")
    assert keys(report) == ["pet-02"]
    report.page.locator(f"{CARD} .open").click()
    loaded(report, "#job figure img")
    report.page.keyboard.press("Escape")
    # The address follows the dialog a moment later. Left before that, the page would come back with
    # the dialog open, and nobody can type into what is behind it.
    report.page.wait_for_function("() => !location.hash.includes('job=')")
    report.page.goto("about:blank")
    report.page.go_back()
    report.page.wait_for_selector(CARD)
    report.page.locator("#gallery input[type=search]").first.fill("")
    report.page.wait_for_function(
        # A function: a bare expression is evaluated anew each time, which the page's policy forbids.
        "() => document.querySelector('#gallery .count').textContent.trim() === '9'"
    )


@pytest.mark.parametrize("case", ["nothing", "all failed", "long and foreign"])
def test_unusual_datasets_open(tmp_path: Path, open_report: Open, case: str) -> None:
    jobs = jobs_of(input_rows(3))
    if case == "nothing":
        jobs = []
    elif case == "all failed":
        jobs = [ended(job, "failed", "50500", "Internal Error") for job in jobs]
    else:
        for job, text in zip(
            jobs, ("word " * 800, "قطة برتقالية نائمة", "一只橘猫" * 300), strict=True
        ):
            job |= {"prompt": text, "row_key": text[:300]}
    report = open_report(report_on(tmp_path, jobs))
    page = report.page
    assert page.locator(CARD).count() == len(jobs)
    for element in page.locator(f"{CARD}, .top, .top > *").all():
        box = element.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1280
    page.get_by_role("link", name="Summary").click()
    assert page.locator("#summary .tile").count() == 4


def test_a_tap_in_the_middle_of_a_small_cell_opens_its_image(
    tmp_path: Path, open_report: Open
) -> None:
    """The star of a cell on a phone is not over its middle."""
    path = report_on(
        tmp_path,
        jobs_of(input_rows(2), [SCALES, STYLES], replicates=2),
        [SCALES, STYLES],
    )
    phone = {"viewport": {"width": 400, "height": 800}, "has_touch": True}
    report = open_report(path, **phone)
    report.page.locator(SHOT).first.tap()
    assert report.page.locator("#job").is_visible()
    assert report.texts("#stars") == ["0"]


@pytest.mark.parametrize("view", ["grid", "gallery", "summary"])
def test_a_phone_scrolls_the_controls_and_not_the_page(
    tmp_path: Path, open_report: Open, view: str
) -> None:
    path = report_on(
        tmp_path, jobs_of(input_rows(3), [SCALES, STYLES]), [SCALES, STYLES]
    )
    phone = {"viewport": {"width": 400, "height": 800}}
    report = open_report(path, f"view={view}", **phone)
    page = report.page
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    content = page.locator(".view:not([hidden]) .scroll").bounding_box()
    assert content["height"] > 500


def test_the_whole_sentence_of_a_run_is_read_at_the_top(
    tmp_path: Path, open_report: Open
) -> None:
    jobs = jobs_of(input_rows(8), [SCALES])
    for at, status in enumerate(("failed", "refused", "in_doubt", "skipped")):
        jobs[at] = ended(jobs[at], status, "50500")
    report = open_report(report_on(tmp_path, jobs, [SCALES]))
    sentence = report.page.locator(".title p")
    assert "1 skipped" in sentence.inner_text()
    assert sentence.evaluate("p => p.scrollWidth <= p.clientWidth")


def test_all_images_of_a_job_are_in_its_card_and_in_its_dialog(
    tmp_path: Path, open_report: Open
) -> None:
    """Up to four in a card, and a number for the rest; the dialog shows each by itself."""
    of = config(tmp_path)
    first, second, third = jobs_of(input_rows(3))
    jobs = [
        with_several(first, of.store_path, range(6)),
        with_several(second, of.store_path, range(10, 12)),
        *with_images([third], of.store_path),
    ]
    gone = of.store_path / jobs[1]["images"][1]["file_name"]
    gone.unlink()
    publish(of, jobs)
    report = open_report(write_report(of), "view=gallery")
    cards = [card.locator("img") for card in report.page.locator(CARD).all()]
    assert [card.count() for card in cards] == [4, 1, 1]
    loaded(report, f"{CARD} .many img:nth-of-type(4)")
    assert report.texts(f"{CARD} .hidden-count") == ["+2"]
    assert report.texts(f"{CARD} .many .blank") == ["image not found"]
    assert report.names(f"{CARD} .open")[:2] == ["pet-00, 6 images", "pet-01, 2 images"]
    report.page.locator(f"{CARD} .open").first.click()
    assert report.texts("#job figcaption") == [f"{at} of 6" for at in range(1, 7)]
    loaded(report, "#job figure:nth-of-type(6) img")
    boxes = [box.bounding_box() for box in report.page.locator("#job figure").all()]
    height = report.page.locator("#job .pictures").bounding_box()["height"]
    assert max(box["y"] + box["height"] for box in boxes) <= height + 60
    # Columns are hundreds of pixels apart; within one, borders move a picture by one.
    assert len({box["x"] // 100 for box in boxes}) == 3
    files = report.page.locator("#job dd a", has_text=".jpg")
    assert files.count() == 6


def test_what_each_value_of_an_axis_cost_is_in_the_summary(
    tmp_path: Path, open_report: Open
) -> None:
    jobs = [
        {**job, "cost": 0.1 * (1 + at % 3)}
        for at, job in enumerate(jobs_of(input_rows(2), [SCALES]))
    ]
    report = open_report(report_on(tmp_path, jobs, [SCALES]), "view=summary")
    assert report.texts("article:has(h2:text('Cost by')) tbody tr") == [
        "2\t0.20 CNY\t2\t0.10 CNY",
        "3\t0.40 CNY\t2\t0.20 CNY",
        "4\t0.60 CNY\t2\t0.30 CNY",
    ]
