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


def open_sample(source: Path | bytes, side: int = WORKING_SIDE) -> Sample:
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
    small = rgb.reduce(4) if min(rgb.size) >= 4 * _LEAST_SMALL else rgb
    return Sample(rgb, rgb.convert("L"), small)


def score_blank(sample: Sample) -> float:
    """Return how much there is to see: 0 for one colour, whatever noise lies over it."""
    content = max(_content(sample.small, side) for side in _BLANK_GRIDS)
    return min(1.0, content / _BLANK_SCALE)


def score_dark(sample: Sample) -> float:
    """Return the brightness of the lightest parts, 0 to 1: that of the 99.5th percentile."""
    counts = np.array(sample.luma.histogram())
    lighter = np.cumsum(counts[::-1])
    level = 255 - int(np.searchsorted(lighter, _BRIGHT_SHARE * lighter[-1]))
    return level / 255


def score_blurred(sample: Sample) -> float:
    """Return how steep the steepest edges are, 1 for one pixel and where there is no edge.

    The step from a pixel to the next is as high as the whole edge where it is sharp. Where it is
    blurred, only steps in a much smaller copy of the picture are that high.
    """
    picture = np.asarray(sample.luma, np.float32)
    rows, columns = (side // _TILE - 2 for side in picture.shape)
    if min(rows, columns) < 3:
        # So few pixels are an icon, whose edges are all within one of them.
        return 1.0
    edges = np.zeros((rows, columns), np.float32)
    whole = np.full((rows, columns), _EPSILON, np.float32)
    steps, _ = _tile_steps(picture, _TILE, rows, columns)
    for level in range(1, _LEVELS + 1):
        picture = _halve(picture)
        tile = _TILE >> level
        if level not in _EDGE_LEVELS:
            continue
        step, edge = _tile_steps(picture, tile, rows, columns)
        np.maximum(edges, edge, out=edges)
        if level in _STEP_LEVELS:
            np.maximum(whole, step, out=whole)
    least = max(_LEAST_EDGE, _LEAST_OF_STRONGEST * float(np.percentile(edges, 98)))
    has_edge = edges >= least
    if np.count_nonzero(has_edge) < _LEAST_TILES:
        return 1.0
    # A blurred edge is wider than a tile: its height is found in the tiles around as well.
    ratios = steps[has_edge] / _spread(whole)[has_edge]
    return min(1.0, float(np.quantile(ratios, 1 - _SHARP_SHARE)))


def score_unchanged(sample: Sample, source: Sample) -> float:
    """Return how much a picture differs from its input image `source`: 0 for a copy of it, at
    another size, in another format or cut to another ratio."""
    target = _shrink(sample.image, (_CHANGE_GRID, _CHANGE_GRID))
    width, height = source.image.size
    whole = _distance(target, source.image, (0, 0, width, height))
    # The middle at the picture's ratio, to a fraction of a pixel.
    ratio = sample.image.width / sample.image.height
    across = (width - min(width, height * ratio)) / 2
    down = (height - min(height, width / ratio)) / 2
    box = (across, down, width - across, height - down)
    cut = _distance(target, source.image, box)
    return min(1.0, whole / _CHANGE_SCALE, cut / _CHANGE_SCALE)


def _content(image: Image.Image, side: int) -> float:
    """Return by how many levels the cells of a grid differ from the ground."""
    cells = _shrink(image, (side, side)).reshape(-1, 3)
    ground = np.median(cells, axis=0)
    distances = np.abs(cells - ground).max(axis=1)
    return float(np.partition(distances, -_BLANK_CELLS)[-_BLANK_CELLS])


def _shrink(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)


def _halve(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [height // 2, width // 2] the means of 2 x 2 pixels."""
    height = picture.shape[0] // 2 * 2
    width = picture.shape[1] // 2 * 2
    rows = picture[0:height:2, :width] + picture[1:height:2, :width]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _tile_steps(
    picture: NDArray[np.float32], tile: int, rows: int, columns: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the highest step between neighbours in each of [rows, columns] tiles, and the
    strongest change from one step to the next: a slope that is even has none."""
    height = rows * tile
    width = columns * tile
    part = picture[: height + 2, : width + 2]
    across = np.diff(part[:height], axis=1)
    down = np.diff(part[:, :width], axis=0)
    steps = np.maximum(np.abs(across[:, :width]), np.abs(down[:height]))
    changes = np.maximum(
        np.abs(across[:, 1:] - across[:, :-1]), np.abs(down[1:] - down[:-1])
    )
    return _tile_maxima(steps, tile), _tile_maxima(changes, tile) / np.float32(2)


def _tile_maxima(values: NDArray[np.float32], tile: int) -> NDArray[np.float32]:
    height, width = values.shape
    by_row = values.reshape(height // tile, tile, width).max(axis=1)
    maxima: NDArray[np.float32] = by_row.reshape(
        height // tile, width // tile, tile
    ).max(axis=2)
    return maxima


def _spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [row, column] the largest of each value and the eight around it."""
    padded = np.pad(values, 1, mode="edge")
    spread: NDArray[np.float32] = sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
    return spread


def _distance(
    target: NDArray[np.float32],
    source: Image.Image,
    box: tuple[float, float, float, float],
) -> float:
    """Return by how many levels the places in `box` of the source differ from the target that
    differ most, leaving out one in a hundred."""
    size = target.shape[1::-1]
    cells = source.resize(size, Image.Resampling.BOX, box)
    difference = np.abs(target - np.asarray(cells, np.float32)).max(axis=2)
    return float(np.quantile(difference, 1 - _CHANGED_SHARE))
