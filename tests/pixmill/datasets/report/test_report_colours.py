"""The colours of all pages: what is written can be read, in light and in dark."""

import re
from itertools import product

import pytest

from pixmill.datasets.report.page import page_style

WRITTEN = ("ink", "soft", "accent", "star", "failed")
BEHIND = ("paper", "card", "sunken")
LEAST = 4.5  # of WCAG 2.2, level AA, for text of this size


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb`, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_every_ground(scheme: int) -> None:
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", page_style())
    colours = {name: schemes[scheme] for name, *schemes in found}
    faint = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for text, ground in product(WRITTEN, BEHIND)
        if contrast(colours[text], colours[ground]) < LEAST
    }
    assert faint == {}
