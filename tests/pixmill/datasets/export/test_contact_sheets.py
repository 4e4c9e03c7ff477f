"""Contact sheets for papers, and exports of what somebody picked in the report."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pixmill.config.model import Config
from pixmill.datasets.export import Choice, export
from pixmill.errors import UserError
from tests.pixmill.datasets.report.sample_datasets import (
    Axis,
    Row,
    axis,
    config,
    ended,
    input_rows,
    jobs_of,
    publish,
    with_images,
    with_several,
)

SCALES = axis("scale", 2, 3, 4)
STYLES = axis("style", "ink", "oil")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Two rows at six points, twice; of the first one the last point failed."""
    of = config(tmp_path_factory.mktemp("swept"))
    jobs = jobs_of(input_rows(2), [SCALES, STYLES], replicates=2)
    jobs[10] = ended(jobs[10], "refused", "50511")
    publish(of, with_images(jobs, of.store_path), [SCALES, STYLES])
    return of


def draw(of: Config, name: str, where: str | None = None, *sides: str | None) -> Path:
    out = of.store_path.parent / name
    across, down = sides or (None, None)
    export(of, "contact-sheet", out, Choice(where=where, sides=(across, down)))
    return out


def rows_of(of: Config) -> list[Row]:
    return pq.read_table(of.dataset_folder / "dataset.parquet").to_pylist()


def color(sheet: Image.Image, across: int, down: int, columns: int) -> tuple[int, ...]:
    """The color in the middle of a picture, counted from the right and from below, where no labels are."""
    side, gap = 320, 16
    x = sheet.width - (columns - across) * (side + gap) + side // 2
    lines = round(sheet.height / (side + gap))
    y = sheet.height - (lines - down) * (side + gap) + side // 2
    return sheet.convert("RGB").getpixel((x, y))  # type: ignore[return-value]


def picture_color(of: Config, job: Row) -> tuple[int, ...]:
    with Image.open(of.store_path / job["file_name"]) as image:
        return image.convert("RGB").getpixel((24, 24))  # type: ignore[return-value]


def test_the_first_two_axes_are_the_sides_of_a_png(swept: Config) -> None:
    where = "row_key == 'pet-01' and replicate == 1"
    with Image.open(draw(swept, "grid.png", where)) as sheet:
        chosen = [
            job
            for job in rows_of(swept)
            if job["row_key"] == "pet-01" and job["replicate"] == 1
        ]
        assert len(chosen) == 6
        for job in chosen:
            across = [2, 3, 4].index(job["param_scale"])
            down = ["ink", "oil"].index(job["param_style"])
            seen = color(sheet, across, down, columns=3)
            assert seen == pytest.approx(picture_color(swept, job), abs=3)


def test_any_dimension_goes_across_or_down(swept: Config) -> None:
    where = "param_scale == 3 and replicate == 0"
    with Image.open(draw(swept, "turned.png", where, "row", "style")) as sheet:
        (job,) = (
            job
            for job in rows_of(swept)
            if (job["row_key"], job["param_scale"], job["param_style"])
            == ("pet-01", 3, "ink")
            and job["replicate"] == 0
        )
        seen = color(sheet, across=1, down=0, columns=2)
        assert seen == pytest.approx(picture_color(swept, job), abs=3)


def test_what_is_neither_across_nor_down_is_a_page_of_a_pdf(swept: Config) -> None:
    pdf = draw(swept, "pages.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    # A row and a replicate each.
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == 4
    with pytest.raises(
        UserError, match="4 sheets, one for each value of row, replicate"
    ):
        draw(swept, "pages.png")
    assert not (swept.store_path.parent / "pages.png").exists()


def test_rows_alone_are_lines_of_pictures(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, with_images(jobs_of(input_rows(7)), of.store_path))
    with Image.open(draw(of, "rows.png")) as sheet:
        assert sheet.width == 3 * (320 + 16) + 16


@pytest.mark.parametrize(
    ("name", "where", "sides", "mistake"),
    [
        ("sheet.jpg", None, (), "neither a .png nor a .pdf"),
        ("sheet.png", "scale > 9", (), "no column 'scale'"),
        ("sheet.png", "param_scale > 9", (), "nothing to draw"),
        ("sheet.png", None, ("scales", "row"), "did you mean `scale`?"),
        ("sheet.png", None, ("row", "row"), "the same axis"),
        ("sheet.png", "param_scale == 2", ("scale", "row"), "several values"),
    ],
)
def test_what_can_not_be_drawn_is_said_and_leaves_no_file(
    swept: Config, name: str, where: str | None, sides: Sequence[str], mistake: str
) -> None:
    with pytest.raises(UserError) as raised:
        draw(swept, name, where, *sides)
    assert mistake in str(raised.value)
    assert not (swept.store_path.parent / name).exists()


def write_picks(of: Config, picks: Sequence[tuple[str, str]], name: str) -> str:
    """Write picks as the report does, and as a spreadsheet saves them."""
    path = of.store_path.parent / name
    with path.open("w", newline="", encoding="utf-16") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows(
            [("row_key", "point_id", "scale"), *((*pick, 2) for pick in picks)]
        )
    return str(path)


def test_picks_are_exported_in_one_step(swept: Config) -> None:
    jobs = rows_of(swept)
    picked = [(job["row_key"], job["point_id"]) for job in (jobs[4], jobs[20])]
    out = swept.store_path.parent / "picked.parquet"
    picks = write_picks(swept, picked, "picks.csv")
    done = export(swept, "parquet", out, Choice(picks=picks))
    rows = pq.read_table(out).to_pylist()
    # Replicates of one cell are one pick.
    assert done.rows == 4
    assert {(row["row_key"], row["point_id"]) for row in rows} == set(picked)
    few = swept.store_path.parent / "few.csv"
    where = "replicate == 0"
    assert export(swept, "csv", few, Choice(where=where, picks=picks)).rows == 2


def test_a_pick_may_mean_one_image_of_its_cell(swept: Config) -> None:
    jobs = rows_of(swept)
    key, point = jobs[4]["row_key"], jobs[4]["point_id"]
    path = swept.store_path.parent / "one.csv"
    out = swept.store_path.parent / "one.parquet"
    cases = {
        "replicate\n{},{},1": [1],
        "replicate\n{},{},1\n{},{},0": [0, 1],
        "replicate\n{},{},7": "at point .*, replicate 7",
        "candidate\n{},{},0": "has a column candidate, and the dataset has none",
        "pick\n{},{},reject": [],
        "pick\n{},{},star": [0, 1],
    }
    for text, expected in cases.items():
        path.write_text("row_key,point_id," + text.format(key, point, key, point))
        choice = Choice(picks=str(path))
        if isinstance(expected, str):
            with pytest.raises(UserError, match=expected):
                export(swept, "parquet", out, choice)
            continue
        export(swept, "parquet", out, choice)
        assert pq.read_table(out)["replicate"].to_pylist() == expected, text


def test_picks_that_are_not_in_the_dataset_are_named(swept: Config) -> None:
    point = rows_of(swept)[0]["point_id"]
    picks = write_picks(swept, [("pet-00", point), ("pet-77", point)], "wrong.csv")
    out = swept.store_path.parent / "none.csv"
    with pytest.raises(UserError, match=f"1 of 2 picks .* pet-77 at point {point}"):
        export(swept, "csv", out, Choice(picks=picks))
    assert not out.exists()


def test_axes_in_step_are_one_side_of_a_sheet(tmp_path: Path) -> None:
    """The second axis says what the first one says already: the rows go down, and one PNG holds all."""
    of = config(tmp_path)
    steps = axis("ddim_steps", 16, 25, 40)
    pairs = {(2, 16), (3, 25), (4, 40)}
    jobs = [
        job
        for job in jobs_of(input_rows(2), [SCALES, steps])
        if (job["param_scale"], job["param_ddim_steps"]) in pairs
    ]
    publish(of, with_images(jobs, of.store_path), [SCALES, steps])
    for name, sides in (("a.png", ()), ("b.png", (None, "row"))):
        with Image.open(draw(of, name, None, *sides)) as sheet:
            for at, job in enumerate(rows_of(of)):
                down, across = divmod(at, 3)
                seen = color(sheet, across, down, columns=3)
                assert seen == pytest.approx(picture_color(of, job), abs=3)


def test_rows_of_one_picture_each_go_down_below_the_values_of_an_axis(
    tmp_path: Path,
) -> None:
    """They would say all by themselves, but in one line of any length."""
    of = config(tmp_path)
    scales = axis("scale", 2, 3)
    jobs = [
        job
        for at, job in enumerate(jobs_of(input_rows(4), [scales]))
        if at in (0, 3, 4, 7)
    ]
    publish(of, with_images(jobs, of.store_path), [scales])
    with Image.open(draw(of, "sheet.png")) as sheet:
        for down, job in enumerate(rows_of(of)):
            seen = color(sheet, down % 2, down, columns=2)
            assert seen == pytest.approx(picture_color(of, job), abs=3)


def read_sheets(path: Path) -> list[Image.Image]:
    """The sheets of a PNG or PDF: the pages of a PDF are JPEGs."""
    if path.suffix == ".png":
        return [Image.open(path)]
    pictures = re.findall(
        rb"stream\r?\n(\xff\xd8.*?)\r?\nendstream", path.read_bytes(), re.DOTALL
    )
    return [Image.open(BytesIO(picture)) for picture in pictures]


def times_drawn(of: Config, path: Path) -> list[float]:
    """How often the picture of each job is on the sheets, by how many pixels have its color."""
    colors: Counter[tuple[int, ...]] = Counter()
    for sheet in read_sheets(path):
        # One pixel of 16 is enough to count by.
        size = (sheet.width // 4, sheet.height // 4)
        few = sheet.convert("RGB").resize(size, Image.Resampling.NEAREST)
        colors.update({color: count for count, color in few.getcolors(1 << 24)})
    times = []
    for job in rows_of(of):
        wanted = picture_color(of, job)
        pixels = sum(
            count
            for color, count in colors.items()
            if all(abs(a - b) <= 4 for a, b in zip(color, wanted, strict=True))
        )
        times.append(pixels / (SIDE / 4) ** 2)
    return times


def publish_pictures(
    of: Config, jobs: list[Row], axes: Sequence[Axis], *, described: bool = True
) -> None:
    """Publish jobs with pictures that are large enough to be seen in a JPEG, whose edges are blurred."""
    publish(of, with_images(jobs, of.store_path), axes, described=described)
    for path in (of.store_path / "images").rglob("*.jpg"):
        with Image.open(path) as image:
            large = image.resize((SIDE, SIDE))
        large.save(path, "JPEG")


def once(jobs: Sequence[Row]) -> list[object]:
    return [pytest.approx(1, abs=0.3) for _ in jobs]


SIDE = 160
STEPS = axis("ddim_steps", 1, 2, 3, 4, 5, 6)
MANY_SCALES = axis("scale", 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("number_of_rows", [1, 3])
@pytest.mark.parametrize(
    ("points", "one_sheet"),
    [
        # In step; of two axes one says more; picked by hand, where none says the other; nearly a grid.
        ({(1, 1), (2, 2), (3, 3)}, True),
        ({(1, 1), (1, 2), (2, 3), (2, 4)}, True),
        ({(1, 1), (2, 1), (3, 2), (4, 2)}, True),
        ({(1, 1), (1, 4), (2, 2), (3, 3), (3, 5), (4, 6)}, True),
        ({(1, 1), (1, 2), (2, 2), (3, 3), (4, 4), (5, 5)}, False),
        ({(1, 1), (1, 2), (2, 1)}, False),
    ],
)
def test_each_picture_is_drawn_once_whatever_the_points_of_a_sweep(
    tmp_path: Path,
    points: set[tuple[int, int]],
    one_sheet: bool,
    number_of_rows: int,
) -> None:
    of = config(tmp_path)
    jobs = [
        job
        for job in jobs_of(input_rows(number_of_rows), [MANY_SCALES, STEPS])
        if (job["param_scale"], job["param_ddim_steps"]) in points
    ]
    publish_pictures(of, jobs, [MANY_SCALES, STEPS])
    if one_sheet or number_of_rows == 1:
        assert times_drawn(of, draw(of, "sheet.png")) == once(jobs)
    else:
        with pytest.raises(UserError, match="sheets, one for each value of"):
            draw(of, "sheet.png")
        assert times_drawn(of, draw(of, "sheet.pdf")) == once(jobs)


def test_each_picture_is_drawn_once_whatever_goes_across_and_down(
    tmp_path: Path,
) -> None:
    of = config(tmp_path)
    steps = axis("ddim_steps", 1, 2, 3, 4)
    points = {(2, "ink", 1), (2, "ink", 2), (3, "oil", 3), (4, "ink", 4)}
    axes = [SCALES, STYLES, steps]
    jobs = [
        job
        for job in jobs_of(input_rows(2), axes, replicates=2)
        if tuple(job[of_axis.column] for of_axis in axes) in points
    ]
    publish_pictures(of, jobs, axes)
    for across, down in ((None, None), ("scale", "style"), ("row", "replicate")):
        sheets = draw(of, f"{across}-{down}.pdf", None, across, down)
        assert times_drawn(of, sheets) == once(jobs), (across, down)


def test_rows_of_one_key_are_two_lines(tmp_path: Path) -> None:
    of = config(tmp_path)
    rows = [{**row, "id": "pet"} for row in input_rows(2)]
    jobs = jobs_of(rows, [SCALES])
    publish_pictures(of, jobs, [SCALES])
    assert times_drawn(of, draw(of, "sheet.png")) == once(jobs)


def test_a_null_that_no_description_names_is_a_value_of_its_axis(
    tmp_path: Path,
) -> None:
    of = config(tmp_path)
    scales = Axis("scale", {"none": None, "2": 2, "3": 3})
    jobs = jobs_of(input_rows(2), [scales])
    publish_pictures(of, jobs, [scales], described=False)
    assert times_drawn(of, draw(of, "sheet.png")) == once(jobs)


def test_what_is_not_drawn_is_counted(tmp_path: Path) -> None:
    """The images behind the first one of a job, and a row that is at no point of the sweep."""
    of = config(tmp_path)
    jobs = with_images(jobs_of(input_rows(2), [SCALES]), of.store_path)
    jobs[1] = with_several(jobs[1], of.store_path, [20, 21, 22])
    invalid = ended(jobs_of(input_rows(3))[2], "invalid", "missing_prompt")
    publish(of, [*jobs, invalid | {"param_scale": None, "point_id": None}], [SCALES])
    done = export(of, "contact-sheet", tmp_path / "sheet.png")
    assert (done.rows, done.left_out) == (6, {"further_images": 2, "invalid": 1})
