from pathlib import Path

import pytest
from PIL import Image

from pixmill.datasets.contact_sheet import (
    Figure,
    draw_contact_sheet,
    jpeg_of,
)

RED = (200, 0, 0)
WHITE = (255, 255, 255)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    file = tmp_path / "red.png"
    Image.new("RGB", (800, 600), RED).save(file)
    return file


def test_pictures_are_in_lines_with_captions_below(red: Path) -> None:
    figures = [Figure(red, f"row {at}") for at in range(5)]
    sheet = draw_contact_sheet(figures, 2, side=100)
    # Gaps of 5 pixels; a picture of 4:3 is 75 high, and its caption 19.
    assert sheet.size == (2 * 105 + 5, 3 * (75 + 19 + 5) + 5)
    assert sheet.getpixel((55, 40)) == RED
    assert sheet.getpixel((160, 40 + 2 * 99)) == WHITE
    caption = sheet.crop((5, 81, 105, 99))
    assert len(caption.getcolors() or ()) > 1


def test_a_sheet_has_labels_above_its_columns_and_before_its_lines(red: Path) -> None:
    figures = [Figure(red)] * 4
    bare = draw_contact_sheet(figures, 2, side=100)
    labelled = draw_contact_sheet(
        figures,
        2,
        side=100,
        title="pets",
        column_labels=("scale 2", "scale 3"),
        row_labels=("depth", "canny"),
    )
    assert labelled.width > bare.width
    # A title and a line of labels, each twice as high as its letters.
    assert labelled.height == bare.height + 4 * 11
    before = labelled.crop((0, 49, labelled.width - bare.width, 124))
    assert len(before.getcolors(1000) or ()) > 1


def test_what_is_no_picture_is_words_in_its_place(tmp_path: Path, red: Path) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    figures = [Figure(red), Figure(damaged), Figure(None, instead="50411")]
    sheet = draw_contact_sheet(figures, 3, side=100)
    for at in (1, 2):
        place = sheet.crop((5 + at * 105, 5, 105 + at * 105, 80))
        colors = {color for _, color in place.getcolors(1000) or ()}
        assert RED not in colors
        assert len(colors) > 1


def test_a_file_of_a_format_that_no_store_has_is_not_opened(
    red: Path, tmp_path: Path
) -> None:
    tall = tmp_path / "tall.png"
    Image.new("RGB", (100, 150), RED).save(tall, "GIF")
    sheet = draw_contact_sheet([Figure(red), Figure(tall)], 2, side=100)
    assert sheet.height == 75 + 2 * 5


def test_texts_of_any_length_and_script_fit_below_their_picture(red: Path) -> None:
    figures = [Figure(red, "水彩画里的猫 " * 500), Figure(red, "\x00\n\u202eabc")]
    sheet = draw_contact_sheet(figures, 2, side=100, title="t" * 10_000)
    between = sheet.crop((105, 30, 110, sheet.height))
    assert between.getcolors() == [(between.width * between.height, WHITE)]


def test_a_transparent_picture_is_on_the_paper(tmp_path: Path) -> None:
    file = tmp_path / "clear.png"
    Image.new("RGBA", (100, 100), (0, 0, 0, 0)).save(file)
    assert draw_contact_sheet([Figure(file)], 1, side=100).getpixel((50, 50)) == WHITE


def test_a_sheet_that_is_empty_or_too_large_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(ValueError, match="needs a figure"):
        draw_contact_sheet([], 4)
    with pytest.raises(ValueError, match="too large to draw"):
        draw_contact_sheet([Figure(None)] * 2_000, 1, side=2_000)


def test_a_sheet_of_twelve_is_small_enough_for_a_message(tmp_path: Path) -> None:
    figures = []
    for at in range(12):
        file = tmp_path / f"{at}.png"
        Image.effect_noise((400, 300), 60).convert("RGB").save(file)
        figures.append(Figure(file, f"row {at}"))
    jpeg = jpeg_of(draw_contact_sheet(figures, 4))
    assert jpeg[:2] == b"\xff\xd8"
    assert len(jpeg) < 500_000
