"""The comparison as a page: the pictures of both sides beside each other, or one uncovered by a slider."""

import os
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

from PIL import Image

from pixmill.datasets.compare.comparison import Comparison
from pixmill.datasets.compare.image_distance import PicturePair
from pixmill.datasets.compare.parameters import value_text
from pixmill.datasets.report.page import PAGE, check_page, compare_page
from pixmill.errors import UserError
from pixmill.storage.atomic_write import atomic_write
from pixmill.storage.image_decoding import FORMATS
from pixmill.text import counted, in_words, to_minute

MOST_PAIRS = 300
"""Pairs on the page: those that differ most."""

MOST_PARAMETERS = 40
"""Parameters that are listed; two configs with little in common differ in hundreds."""


class _Figures(NamedTuple):
    """A line of the table of both sides."""

    name: str
    a: str
    b: str


class _ShownImage(NamedTuple):
    link: str

    width: int
    """Pixels, so that the page has its place before it is loaded."""

    height: int

    @classmethod
    def of(cls, file: str, folder: Path) -> Self:
        """Return an image as a page in `folder` shows it."""
        link = quote(os.fsencode(os.path.relpath(file, folder)))
        try:
            # No more than its header is read.
            with Image.open(file, formats=FORMATS) as image:
                return cls(link, image.width, image.height)
        # Decoders raise whatever they meet; the browser shows that it is broken.
        except Exception:
            return cls(link, 1, 1)


class _ShownPair(NamedTuple):
    row_key: str
    remark: str
    a: _ShownImage
    b: _ShownImage

    @classmethod
    def of(cls, pair: PicturePair, folder: Path) -> Self:
        """Return a pair as a page in `folder` shows it."""
        parts = []
        if pair.point_id != "base":
            parts.append(pair.point_id)
        if pair.replicate:
            parts.append(f"replicate {pair.replicate}")
        if pair.distance is not None:
            parts.append(f"{pair.distance} of 64 bits differ")
        return cls(
            row_key=pair.row_key,
            remark=" · ".join(filter(None, parts)),
            a=_ShownImage.of(pair.a, folder),
            b=_ShownImage.of(pair.b, folder),
        )


def write_page(found: Comparison, folder: Path) -> Path:
    """Write the page of a comparison to `folder` and return it. Raises UserError where it can't be written."""
    # Not resolved: links from the page go by the path that a browser sees.
    target = Path(os.path.abspath(folder / PAGE))  # noqa: PTH100
    # What a dataset says is not trusted: only what a store makes is shown.
    pairs = [pair for pair in found.images.pairs if pair.is_stored]
    shown = [_ShownPair.of(pair, target.parent) for pair in pairs[:MOST_PAIRS]]
    parameters = [
        _Figures(parameter.path, value_text(parameter.a), value_text(parameter.b))
        for parameter in found.parameters[:MOST_PARAMETERS]
    ]
    more = len(found.parameters) - MOST_PARAMETERS
    if more > 0:
        rest = f"and {more:,} more (`pixmill compare --json` has them all)"
        parameters.append(_Figures(rest, "", ""))
    text = compare_page(
        found=found,
        rows=_list_figures(found),
        parameters=parameters,
        remark=_describe_jobs(found, len(shown)),
        pairs=shown,
    )
    try:
        check_page(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as path:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the page can't be written to {folder}: {error.strerror or error}"
        ) from None
    return target


def _list_figures(found: Comparison) -> list[_Figures]:
    a = found.measures_a
    b = found.measures_b
    published = (to_minute(side.published_at) or "–" for side in (found.a, found.b))
    rows = [
        _Figures("published (UTC)", *published),
        _Figures("rows", f"{a.rows:,}", f"{b.rows:,}"),
        _Figures("jobs", f"{a.jobs:,}", f"{b.jobs:,}"),
        _Figures("jobs without a partner", f"{found.only_a:,}", f"{found.only_b:,}"),
    ]
    for status in dict.fromkeys([*a.statuses, *b.statuses]):
        counts = (side.statuses.get(status, 0) for side in (a, b))
        rows.append(_Figures(in_words(status), *(f"{count:,}" for count in counts)))
    rows.append(_Figures("usable images", f"{a.images:,}", f"{b.images:,}"))
    costs = (side.describe_cost(side.cost) for side in (a, b))
    rows.append(_Figures("cost", *costs))
    return rows


def _describe_jobs(found: Comparison, shown: int) -> str:
    images = found.images
    if not found.pairs:
        return "No job is in both: jobs are matched by row key, point and replicate."
    text = (
        f"{counted(found.pairs, 'job')} in both: {images.same:,} with the same picture, "
        f"{images.different:,} with another one."
    )
    if shown < images.different:
        text += f" {counted(shown, 'pair')} of these below, the most different first."
    return text
