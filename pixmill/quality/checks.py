"""The built-in checks that look at one picture: `blank`, `dark`, `blurred`, and `unchanged`, which
looks at its input image as well.

What a score means, and from where on it is a flag, is said in `pixmill.quality.thresholds`.
"""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from pixmill.storage.image_decoding import FORMATS

Plane = NDArray[np.float32]
"""[row, column]: the brightness of a picture, or one number for each tile of it."""

WORKING_SIDE = 400
"""Pictures are looked at with a long side of this to twice this: a JPEG of 1024 x 1024 is decoded
at half its size, in a third of the time, and what blurs a picture for its viewers is there still."""

_LEAST_SMALL = 64

_BLANK_GRIDS = (32, 27)
"""Sides of grids over whose cells noise and the traces of compression are averaged away. Two, as
the cells of one may be just as wide as the stripes of a pattern."""
_BLANK_CELLS = 4
"""Cells of a grid that have to differ from the ground: a speck is no content, the
smallest icon is."""
_BLANK_SCALE = 64
"""The difference, in levels of 255, from which on there is as much to see as can be."""

_BRIGHT_SHARE = 0.005
"""The share of a picture that decides how dark it is: a night scene has some lights."""

_TILE = 16
_LEVELS = 4
"""How often the picture is halved: at a sixteenth of its size the worst blur is a sharp edge."""
_EDGE_LEVELS = (2, 3, 4)
_STEP_LEVELS = (3, 4)
_LEAST_EDGE = 2.5
"""Weaker edges, in levels of 255, are those of compression and of gradients."""
_LEAST_OF_STRONGEST = 0.5
_LEAST_TILES = 4
_SHARP_SHARE = 0.1
"""The share of the edges by which a picture is judged: a portrait is sharp before what is not."""

_CHANGE_GRID = 32
_CHANGE_SCALE = 24
"""By how many levels of 255 a place differs that shows something else: a picture that was only
compressed again and moved by half a pixel stays well below."""
_CHANGED_SHARE = 0.01
"""The share of a picture in which something new counts: an object that was added is larger."""

_EPSILON = 1e-6
"""So that nothing is divided by 0."""


SOURCE_SIDE = 256
"""Of an input image that `score_unchanged` compares: with less, edges are not where they were."""


class Sample(NamedTuple):
    """A picture at the size at which it is looked at."""

    image: Image.Image
    """In RGB; what was transparent is white, as most viewers show it."""

    luma: Image.Image
    """Its brightness."""

    small: Image.Image
    """A fourth as wide and high where that leaves enough, for what is averaged over cells anyway,
    and need not be in its place to the pixel."""


def open_sample(
    source: Path | bytes,
    side: int = WORKING_SIDE,
) -> Sample:
    """Decode a picture for the checks, its long side at least `side`: an input image that outputs
    are compared with may be smaller. Raises what Pillow raises where it is damaged."""
    file = BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file, formats=FORMATS) as image:
        # Only JPEG knows drafts: it leaves out what would be averaged away.
        image.draft("RGB", (side, side))
        return make_sample(image)


def make_sample(image: Image.Image) -> Sample:
    """Return a picture that is decoded already at the size at which the checks look at it."""
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        image = Image.new("RGBA", image.size, "white")
        image.alpha_composite(whole)
    rgb = image.convert("RGB")
    factor = max(rgb.size) // WORKING_SIDE
    if factor > 1:
        rgb = rgb.reduce(factor)
    small = rgb
    if min(rgb.size) >= 4 * _LEAST_SMALL:
        small = rgb.reduce(4)
    luma = rgb.convert("L")
    return Sample(rgb, luma, small)


def score_blank(sample: Sample) -> float:
    """Return how much there is to see: 0 for one colour, whatever noise lies over it."""
    content = 0.0
    for side in _BLANK_GRIDS:
        grid = _shrink(sample.small, side)
        # [cell, color]
        cells = grid.reshape(-1, 3)
        ground = np.median(cells, axis=0)
        # [cell]: by how many levels each differs from the ground.
        differences = np.abs(cells - ground)
        distances = differences.max(axis=1)
        # Sorted no further than that the last ones are those that differ most.
        ordered = np.partition(distances, -_BLANK_CELLS)
        of_grid = float(ordered[-_BLANK_CELLS])
        content = max(content, of_grid)
    return min(1.0, content / _BLANK_SCALE)


def score_dark(sample: Sample) -> float:
    """Return the brightness of the lightest parts, 0 to 1: that of the 99.5th percentile."""
    counts = np.array(sample.luma.histogram())
    # From white on: how many pixels are at least so bright.
    brighter = np.cumsum(counts[::-1])
    pixels = brighter[-1]
    needed = _BRIGHT_SHARE * pixels
    below_white = int(np.searchsorted(brighter, needed))
    return (255 - below_white) / 255


class _Grid(NamedTuple):
    """How many tiles a picture has; a copy of half its size has as many, of half the side."""

    rows: int
    columns: int


def score_blurred(sample: Sample) -> float:
    """Return how steep the steepest edges are, 1 for one pixel and where there is no edge.

    The step from a pixel to the next is as high as the whole edge where it is sharp. Where it is
    blurred, only steps in a much smaller copy of the picture are that high.
    """
    picture = np.asarray(sample.luma, np.float32)
    height, width = picture.shape
    # Without the last tiles: halving drops an odd row, and a step needs a pixel behind it.
    grid = _Grid(height // _TILE - 2, width // _TILE - 2)
    if min(grid) < 3:
        # So few pixels are an icon, whose edges are all within one of them.
        return 1.0
    step = _find_strongest_changes(picture, _TILE, grid)
    edge = np.zeros(grid, np.float32)
    whole = np.full(grid, _EPSILON, np.float32)
    for level in range(1, _LEVELS + 1):
        picture = _halve(picture)
        side = _TILE >> level
        if level in _EDGE_LEVELS:
            # An edge is where one step differs from the next: a slope that is even is none.
            bends = _find_strongest_changes(picture, side, grid, order=2)
            edge = np.maximum(edge, bends / np.float32(2))
        if level in _STEP_LEVELS:
            steps = _find_strongest_changes(picture, side, grid)
            whole = np.maximum(whole, steps)
    strongest = float(np.percentile(edge, 98))
    has_edge = edge >= max(_LEAST_EDGE, _LEAST_OF_STRONGEST * strongest)
    if np.count_nonzero(has_edge) < _LEAST_TILES:
        return 1.0
    # A blurred edge is wider than a tile: its height is found in the eight tiles around as well.
    padded = np.pad(whole, 1, mode="edge")
    around = sliding_window_view(padded, (3, 3))
    height_of_edge = around.max(axis=(2, 3))
    # [edge]: only of the tiles that have one.
    steepness = step[has_edge] / height_of_edge[has_edge]
    sharpest = np.quantile(steepness, 1 - _SHARP_SHARE)
    return min(1.0, float(sharpest))


def _halve(picture: Plane) -> Plane:
    """Return [height // 2, width // 2] the means of 2 x 2 pixels."""
    height, width = picture.shape
    even = picture[: height // 2 * 2, : width // 2 * 2]
    rows = even[0::2] + even[1::2]
    sums = rows[:, 0::2] + rows[:, 1::2]
    return sums * np.float32(0.25)


def _find_strongest_changes(
    picture: Plane,
    side: int,
    grid: _Grid,
    order: int = 1,
) -> Plane:
    """Return [row, column] the strongest change in each tile of `side` x `side` pixels: from a pixel
    to the next, or of order 2 from one such step to the next."""
    height = grid.rows * side
    width = grid.columns * side
    # The changes of the last pixels lead out of the tiles.
    part = picture[: height + order, : width + order]
    across = np.diff(part[:height], n=order, axis=1)
    down = np.diff(part[:, :width], n=order, axis=0)
    # In place, as new arrays would take as long as all else here.
    changes = np.abs(across, out=across)
    np.maximum(
        changes,
        np.abs(down, out=down),
        out=changes,
    )
    # [row, y, x], where y and x count pixels: of y in a tile, of x in the picture.
    by_rows = changes.reshape(grid.rows, side, width)
    of_rows = by_rows.max(axis=1)
    # [row, column, x], of x in a tile.
    by_tiles = of_rows.reshape(grid.rows, grid.columns, side)
    maxima: Plane = by_tiles.max(axis=2)
    return maxima


def score_unchanged(
    sample: Sample,
    source: Sample,
) -> float:
    """Return how much a picture differs from its input image `source`: 0 for a copy of it, at
    another size, in another format or cut to another ratio."""
    cells = _shrink(sample.image, _CHANGE_GRID)
    width, height = source.image.size
    whole = _measure_change(
        cells,
        source.image,
        (0, 0, width, height),
    )
    # The middle at the picture's ratio, to a fraction of a pixel.
    ratio = sample.image.width / sample.image.height
    width_at_ratio = min(width, height * ratio)
    height_at_ratio = min(height, width / ratio)
    across = (width - width_at_ratio) / 2
    down = (height - height_at_ratio) / 2
    middle = (across, down, width - across, height - down)
    cut = _measure_change(cells, source.image, middle)
    return min(1.0, min(whole, cut) / _CHANGE_SCALE)


def _measure_change(
    cells: NDArray[np.float32],
    source: Image.Image,
    box: tuple[float, float, float, float],
) -> float:
    """Return by how many levels the places in `box` of the source differ from `cells` [row, column, color]
    that differ most, leaving out one in a hundred."""
    of_source = _shrink(source, _CHANGE_GRID, box)
    by_color = np.abs(cells - of_source)
    # [row, column]
    difference = by_color.max(axis=2)
    return float(np.quantile(difference, 1 - _CHANGED_SHARE))


def _shrink(
    image: Image.Image,
    side: int,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Return [row, column, color] the means of `side` x `side` cells of an image, or of a `box` of it."""
    small = image.resize(
        (side, side),
        Image.Resampling.BOX,
        box,
    )
    return np.asarray(small, np.float32)
