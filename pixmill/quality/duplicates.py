"""The built-in check `duplicate`: which pictures of a dataset look like another one of it.

Perceptual hashes of 64 bits are unsure just where pictures are alike by nature, such as gradients
and signs on plain grounds: most of their bits hang on noise. What is kept of a picture here are
its colors on a small grid. Pictures are compared that fall into one bucket of several tables (locality-sensitive
hashing), so that each is compared with a few others only.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmill.quality.checks import Sample

Features = NDArray[np.float32]
"""[picture, feature]: two pictures are as far from each other as these points are."""

_GRID = 16
_COLOR_GRID = 8
SIGNATURE_BYTES = _GRID**2 + 3 * _COLOR_GRID**2

_REACH = 0.4
"""The distance from which on pictures have nothing to do with each other."""
_LEAST_CONTRAST = 5.0
"""In levels of 255: what differs less is noise, and not compared as if it were a picture."""
_LEVEL_SCALE = 60
"""How many levels of brightness or tint count as much as a picture that has nothing in common with
the other."""

_TABLES = 20
"""Of buckets. Near duplicates share one of some table nearly always: of pairs just below the flag's
threshold 93 %, of those at half of it all."""
_PROJECTIONS = 12
"""Random directions by which a table tells its buckets apart: more make smaller buckets."""
_CELL = 0.8
"""The width of a bucket in each direction, twice the reach."""
_NEIGHBOURS = 8
"""With how many of its bucket a picture is compared, in each table: thousands of blank pictures are
in one."""
_BATCH = 50_000
"""Pairs that are compared at once."""


def sign(sample: Sample) -> bytes:
    """Return what is kept of a picture to compare it with others: `SIGNATURE_BYTES`."""
    box = Image.Resampling.BOX
    luma = sample.luma.resize((_GRID, _GRID), box)
    color = sample.small.resize((_COLOR_GRID, _COLOR_GRID), box)
    return luma.tobytes() + color.tobytes()


def score_duplicates(signatures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return [picture] how far it is from the nearest other one: 0 for the same picture, 1 for
    none that is like it.

    `signatures` is [picture, `SIGNATURE_BYTES`].
    """
    count = len(signatures)
    if count < 2:
        return np.ones(count)
    nearest = np.full(count, _REACH, np.float32)
    features = to_features(signatures)
    pairs = find_candidates(features)
    for begin in range(0, len(pairs), _BATCH):
        batch = pairs[begin : begin + _BATCH]
        # [pair], each: the first and the second picture.
        one, other = np.divmod(batch, count)
        difference = features[one] - features[other]
        squares = np.einsum(
            "ij,ij->i",
            difference,
            difference,
        )
        distances = np.sqrt(squares)
        np.minimum.at(nearest, one, distances)
        np.minimum.at(nearest, other, distances)
    return nearest.astype(np.float64) / _REACH


def to_features(signatures: NDArray[np.uint8]) -> Features:
    """Return [picture, feature] what is compared: what differs within the picture, as brightness
    and as color, at equal contrast, and in the end how bright and of which tint all of it is.

    Small signs on a plain ground differ in little but that color.
    """
    count = len(signatures)
    cells = _GRID**2
    luma = signatures[:, :cells].astype(np.float32)
    brightness = luma.mean(axis=1, keepdims=True)
    luma -= brightness
    deviation = luma.std(axis=1, keepdims=True)
    contrast = np.maximum(deviation, _LEAST_CONTRAST)
    luma /= contrast * _GRID

    # [picture, cell, red, green or blue]: how far each is from the gray of its cell.
    color = signatures[:, cells:].astype(np.float32)
    color = color.reshape(count, -1, 3)
    color -= color.mean(axis=2, keepdims=True)
    tint = color.mean(axis=1)
    color -= tint[:, None]
    # The length of a cell's three colors if each of them is 1.
    longest = np.sqrt(np.float32(3))
    color /= contrast[:, :, None] * _COLOR_GRID * longest

    levels = np.concatenate([brightness, tint], axis=1)
    levels /= np.float32(_LEVEL_SCALE)
    return np.concatenate(
        [luma, color.reshape(count, -1), levels],
        axis=1,
    )


def find_candidates(features: Features) -> NDArray[np.int64]:
    """Return the pairs of pictures that are worth comparing, each as `first * pictures + second`.

    In each table a picture is in the bucket that its place along random directions tells. Within a
    bucket it is compared with those that are next to it along one direction more.
    """
    width = features.shape[1]
    # The same ones each time, so that the same pictures get the same scores.
    draw = np.random.default_rng(1)
    pairs: list[NDArray[np.int64]] = []
    for _ in range(_TABLES):
        # [feature, direction]; the last direction orders the pictures of a bucket.
        directions = draw.normal(size=(width, _PROJECTIONS + 1))
        begins = draw.uniform(size=_PROJECTIONS + 1)
        in_cells = directions.astype(np.float32) / np.float32(_CELL)
        # [picture, direction]: its place, counted in cells.
        places = features @ in_cells + begins.astype(np.float32)
        numbers = np.floor(places[:, :-1])
        # By way of signed ones: a negative float has no unsigned number.
        cells = numbers.astype(np.int64).astype(np.uint64)
        # One number for all cells of a picture: products of odd numbers wrap and mix well.
        drawn = draw.integers(1, 2**63, _PROJECTIONS, np.uint64)
        odd = drawn | np.uint64(1)
        buckets = (cells * odd).sum(axis=1)
        order = np.lexsort((places[:, -1], buckets))
        pairs += _pair_neighbours(buckets[order], order)
    return np.unique(np.concatenate(pairs))


def _pair_neighbours(
    buckets: NDArray[np.uint64],
    pictures: NDArray[np.intp],
) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs of `pictures` that are at most `_NEIGHBOURS` places apart in one of the sorted `buckets`."""
    count = len(pictures)
    for step in range(1, min(_NEIGHBOURS, count - 1) + 1):
        is_same = buckets[step:] == buckets[:-step]
        one = pictures[:-step][is_same]
        other = pictures[step:][is_same]
        # Each pair once, whichever of both comes first in a table.
        first = np.minimum(one, other)
        second = np.maximum(one, other)
        yield first * count + second
