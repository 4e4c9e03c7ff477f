"""The built-in check `duplicate`: which pictures of a dataset look like another one of it.

Perceptual hashes of 64 bits are unsure just where pictures are alike by nature, such as gradients
and signs on plain grounds: most of their bits hang on noise. What is kept of a picture here are
its colors on a small grid. Pictures are compared that fall into one bucket of several tables (locality-sensitive
hashing), so that each is compared with a few others only.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmill.quality.checks import Sample

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
    nearest = np.full(count, _REACH, np.float32)
    if count < 2:
        return np.ones(count)
    features = to_features(signatures)
    pairs = find_candidates(features)
    for begin in range(0, len(pairs), _BATCH):
        one, other = np.divmod(pairs[begin : begin + _BATCH], count)
        apart = features[one] - features[other]
        distances = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        np.minimum.at(nearest, one, distances)
        np.minimum.at(nearest, other, distances)
    return nearest.astype(np.float64) / _REACH


def to_features(signatures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return [picture, feature] what is compared: what differs within the picture, as brightness
    and as color, at equal contrast, and in the end how bright and of which tint all of it is.

    Small signs on a plain ground differ in little but that color."""
    cells = _GRID**2
    luma = signatures[:, :cells].astype(np.float32)
    brightness = luma.mean(axis=1, keepdims=True)
    luma -= brightness
    contrast = np.maximum(luma.std(axis=1, keepdims=True), _LEAST_CONTRAST)
    luma /= contrast * _GRID
    color = signatures[:, cells:].astype(np.float32).reshape(len(luma), -1, 3)
    color -= color.mean(axis=2, keepdims=True)
    tint = color.mean(axis=1)
    color -= tint[:, None]
    color /= contrast[:, :, None] * _COLOR_GRID * np.sqrt(np.float32(3))
    flat = color.reshape(len(luma), -1)
    levels = np.concatenate([brightness, tint], axis=1) / np.float32(_LEVEL_SCALE)
    return np.concatenate([luma, flat, levels], axis=1)


def find_candidates(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the pairs of pictures that are worth comparing, each as `first * pictures + second`.

    In each table a picture is in the bucket that its place along random directions tells. Within a
    bucket it is compared with those that are next to it along one direction more.
    """
    count, width = features.shape
    # The same ones each time, so that the same pictures get the same scores.
    draw = np.random.default_rng(1)
    found = []
    for _ in range(_TABLES):
        directions = draw.normal(size=(width, _PROJECTIONS + 1)).astype(np.float32)
        begins = draw.uniform(size=_PROJECTIONS + 1).astype(np.float32)
        places = features @ (directions / np.float32(_CELL)) + begins
        cells = np.floor(places[:, :-1]).astype(np.int64).astype(np.uint64)
        # One number for all cells of a picture: products of odd numbers wrap and mix well.
        factors = draw.integers(1, 2**63, _PROJECTIONS, np.uint64) | np.uint64(1)
        buckets = (cells * factors).sum(axis=1)
        order = np.lexsort((places[:, -1], buckets))
        sorted_buckets = buckets[order]
        for step in range(1, min(_NEIGHBOURS, count - 1) + 1):
            is_same = sorted_buckets[step:] == sorted_buckets[:-step]
            one = order[:-step][is_same]
            other = order[step:][is_same]
            found.append(np.minimum(one, other) * count + np.maximum(one, other))
    return np.unique(np.concatenate(found))
