"""A contact sheet: a few pictures in one image, line by line, each with a caption below it."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Self

from PIL import Image, ImageDraw, ImageFont

from pixmill.datasets.report.thumbnails import shrink_image
from pixmill.storage.image_decoding import FORMATS

SIDE = 240
"""Pixels that a picture is wide: four of them in a line are still clear on a phone."""

_MOST_PIXELS = 100_000_000
"""Of a whole sheet, which takes three times as many bytes while it is drawn."""

_PAPER = "#ffffff"
_SUNKEN = "#f1f0ec"
_INK = "#1d1d1b"
_SOFT = "#67665f"

_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "msyh.ttc",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
)
"""Fonts of Linux, macOS and Windows for texts that the built-in one can't draw; most lack Chinese."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Figure(NamedTuple):
    """One picture of a sheet."""

    file: Path | None
    """Its image file. `None`, or one that can't be read: `instead` is written in its place."""

    caption: str = ""
    """One line below it, cut off where it is longer than the picture is wide."""

    instead: str = "no image"
    """What is written where there is no picture, such as the code of an error."""

    def shape(self) -> float | None:
        """Return the picture's height for a width of 1, from its header, between 0.4 and 1.6; None without one."""
        if self.file is None:
            return None
        try:
            with Image.open(self.file, formats=FORMATS) as image:
                return min(1.6, max(0.4, image.height / image.width))
        # Decoders raise whatever they meet; nothing is drawn of it.
        except Exception:
            return None


class _SheetLayout(NamedTuple):
    """Where things are on a sheet, in pixels."""

    side: int
    """Width of a picture."""

    height: int
    """Height of the place for a picture."""

    gap: int
    text: int
    """Size of the letters."""

    caption: int
    """Height of the line below a picture, 0 where no figure has a caption."""

    left: int
    """Where the first column begins: behind the labels of the lines."""

    top: int
    """Where the first line begins: below the title and the labels of the columns."""

    @classmethod
    def measure(
        cls,
        figures: Sequence[Figure],
        side: int,
        *,
        title: str,
        column_labels: Sequence[str],
        row_labels: Sequence[str],
    ) -> Self:
        """Find out how large everything is that depends on what is drawn."""
        text = max(11, side // 16)
        gap = max(4, side // 20)
        # The tallest picture decides, so that lines of landscapes have no empty bands.
        shapes = filter(None, (figure.shape() for figure in figures))
        height = round(side * max(shapes, default=1.0))
        top = gap
        if title:
            top += text * 2
        if column_labels:
            top += text * 2
        left = gap
        if row_labels:
            font = _font_for("".join(row_labels), text)
            widest = max(font.getlength(label) for label in row_labels)
            # A prompt as a label is not as wide as all pictures together.
            left += min(round(widest), side) + gap
        caption = 0
        if any(figure.caption for figure in figures):
            caption = text * 7 // 4
        return cls(side, height, gap, text, caption, left, top)

    def corner(self, at: int, columns: int) -> tuple[int, int]:
        """Return where the picture with the index `at` has its upper left corner."""
        down, across = divmod(at, columns)
        x = self.left + across * (self.side + self.gap)
        return x, self.top + down * (self.height + self.caption + self.gap)


def draw_contact_sheet(
    figures: Sequence[Figure],
    columns: int,
    *,
    side: int = SIDE,
    title: str = "",
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
) -> Image.Image:
    """Draw figures in lines of `columns` pictures, each at most `side` pixels wide.

    Labels are written above the columns and to the left of the lines, as for the axes of a grid.
    Only one picture is open at a time. Raises ValueError without figures, and for a sheet of more
    than a hundred million pixels.

    >>> draw_contact_sheet([Figure(Path("a.jpg"), "a"), Figure(Path("b.jpg"), "b")], 2).save("s.png")
    """
    if not figures:
        raise ValueError("a contact sheet needs a figure")
    measures = _SheetLayout.measure(
        figures,
        side,
        title=title,
        column_labels=column_labels,
        row_labels=row_labels,
    )
    x, y = measures.corner(len(figures) - 1, columns)
    width = measures.corner(columns - 1, columns)[0] + side + measures.gap
    height = y + measures.height + measures.caption + measures.gap
    if width * height > _MOST_PIXELS:
        raise ValueError(
            f"a contact sheet of {width:,} × {height:,} pixels is too large to draw"
        )
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    text = measures.text
    if title:
        shown, font = _fit(title, text * 5 // 4, width - 2 * measures.gap)
        draw.text((measures.gap, measures.gap), shown, _INK, font)
    for at, label in enumerate(column_labels[:columns]):
        shown, font = _fit(label, text, side)
        middle = measures.corner(at, columns)[0] + side // 2
        draw.text((middle, measures.top - text // 2), shown, _INK, font, anchor="ms")
    for down, label in enumerate(row_labels):
        x, y = measures.corner(down * columns, columns)
        shown, font = _fit(label, text, measures.left - 2 * measures.gap)
        place = (x - measures.gap, y + measures.height // 2)
        draw.text(place, shown, _INK, font, anchor="rm")
    for at, figure in enumerate(figures):
        _draw_figure(sheet, draw, figure, measures, measures.corner(at, columns))
    return sheet


def jpeg_of(sheet: Image.Image) -> bytes:
    """Return a sheet as a JPEG that is small enough for a message: some 20 kB a picture."""
    file = BytesIO()
    sheet.save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()


def _draw_figure(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    figure: Figure,
    measures: _SheetLayout,
    corner: tuple[int, int],
) -> None:
    x, y = corner
    side = measures.side
    height = measures.height
    longest = max(side, height)
    picture = shrink_image(figure.file, longest) if figure.file else None
    if picture is None:
        draw.rectangle((x, y, x + side - 1, y + height - 1), _SUNKEN)
        shown, font = _fit(figure.instead, measures.text, side - measures.gap)
        middle = (x + side // 2, y + height // 2)
        draw.text(middle, shown, _SOFT, font, anchor="mm")
    else:
        picture.thumbnail((side, height))
        at = (x + (side - picture.width) // 2, y + (height - picture.height) // 2)
        # The paper shows through where a picture is transparent.
        sheet.paste(picture, at, picture if picture.mode == "RGBA" else None)
    if figure.caption:
        shown, font = _fit(figure.caption, measures.text, side)
        baseline = y + height + measures.text * 5 // 4
        draw.text((x + side // 2, baseline), shown, _SOFT, font, anchor="ms")


def _fit(text: str, size: int, width: int) -> tuple[str, Font]:
    """Return as much of the first line of a text as fits into a width, and the font for it."""
    line = " ".join(text.split())
    font = _font_for(line, size)
    if font.getlength(line) <= width:
        return line, font
    # Of a long prompt nobody measures the whole once for each letter that is too many.
    line = line[: 2 + width * 4 // size]
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…", font


def _font_for(text: str, size: int) -> Font:
    """Return the first font that can draw a whole text; the built-in one where none can."""
    built_in = _font(None, size)
    if built_in is None or _can_draw(built_in, text):
        return built_in or ImageFont.load_default()
    for name in _FONTS:
        font = _font(name, size)
        if font is not None and _can_draw(font, text):
            return font
    return built_in


@cache
def _font(name: str | None, size: int) -> Font | None:
    """Return a font of the system, or the one that Pillow brings along; None where it is not there."""
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _can_draw(font: Font, text: str) -> bool:
    """Whether a font has every character: what it lacks looks as a character that no font has."""
    missing = bytes(font.getmask("\U0010fffe"))
    return all(
        bytes(font.getmask(one)) != missing for one in set(text) if not one.isspace()
    )
