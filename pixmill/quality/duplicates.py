"""The built-in check `duplicate`: which pictures of a dataset look like another one of it.

Perceptual hashes of 64 bits are unsure just where pictures are alike by nature, such as gradients
and signs on plain grounds: most of their bits hang on noise. What is kept of a picture here are
its colors on a small grid, and neighbours are found by a k-d tree, which compares each picture with
a few others only.
"""

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmill.errors import UserError
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

_DIMENSIONS = 24
"""In which neighbours are looked for: nearly all in which pictures differ, and few enough for a
tree."""
_NEIGHBOURS = 4
"""Those found are measured in all dimensions: the nearest may be another one there."""
_BATCH = 20_000


def check_installed() -> None:
    """Raise UserError where neighbours can't be looked for."""
    if importlib.util.find_spec("scipy") is None:
        raise UserError(
            "quality.checks: duplicate needs a library that is not installed",
            hint="pip install 'pixmill[quality]'",
        )


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
    check_installed()
    count = len(signatures)
    if count < 2:
        return np.ones(count)
    from scipy.spatial import cKDTree

    features = _features(signatures)
    projected = _project(features)
    tree = cKDTree(projected)
    nearest = np.full(count, _REACH)
    for begin in range(0, count, _BATCH):
        these = np.arange(begin, min(begin + _BATCH, count))
        _, found = tree.query(
            projected[these],
            k=min(_NEIGHBOURS + 1, count),
            distance_upper_bound=_REACH,
        )
        found = found.reshape(len(these), -1)
        for others in found.T:
            # What is not found has the number behind the last; a picture finds itself as well.
            is_other = (others < count) & (others != these)
            one = these[is_other]
            apart = features[one] - features[others[is_other]]
            nearest[one] = np.minimum(nearest[one], np.sqrt((apart**2).sum(axis=1)))
    return nearest / _REACH


def _features(signatures: NDArray[np.uint8]) -> NDArray[np.float32]:
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


def _project(features: NDArray[np.float32]) -> Any:
    """Return [picture, dimension] the features along the directions in which they differ most:
    distances become no larger by that."""
    centered = features - features.mean(axis=0)
    sample = centered[:: max(1, len(centered) // 5_000)]
    _, directions = np.linalg.eigh(sample.T @ sample)
    return centered @ directions[:, : -_DIMENSIONS - 1 : -1]
