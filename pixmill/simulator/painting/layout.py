"""The composition of a picture: where sun, ridges and subject stand, and how two compositions blend.

A request has two of them. The free one is drawn from prompt and seed, the guided one from the
identity of the input image; the strength of the controls says how far the picture goes from
the first to the second.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SIZE = 512
"""The width and height of a picture, in pixels."""

LAYERS = 6
"""Ridges, one before the other."""

Floats = npt.NDArray[np.floating[Any]]

X: Floats = np.linspace(0, 1, SIZE, dtype=np.float32)
"""The place of each column, from the left: SIZE."""


class Layout(NamedTuple):
    """Places in fractions of the picture: x from the left, y from the top."""

    horizon: float
    sun_x: float
    sun_y: float
    sun_radius: float
    subject_x: float
    ridges: Floats
    """y of each ridge at each column, the farthest first: LAYERS x SIZE."""


class _Land(NamedTuple):
    height: float
    jagged: bool


_LANDS: Mapping[str, _Land] = {
    "peaks": _Land(0.34, jagged=True),
    "hills": _Land(0.22, jagged=False),
    "sea": _Land(0.26, jagged=True),
    "meadow": _Land(0.18, jagged=False),
    "forest": _Land(0.24, jagged=False),
    "dunes": _Land(0.20, jagged=False),
    "city": _Land(0.26, jagged=False),
}


# Their order decides which one an input image has.
_SHAPES = ("summit", "valley", "slope", "two summits", "table mountain")


def _rise(
    shape: str,
    x: Floats,
    center: float,
) -> Any:
    """Return how high the land is at each `x`, in shares of its height."""
    away = x - center
    match shape:
        case "summit":
            return 1.15 * np.exp(-(np.abs(away / 0.19) ** 1.6))
        case "valley":
            return 1.1 * np.minimum(1, np.abs(away) / 0.6) ** 1.3
        case "slope":
            rise = x if center > 0.5 else 1 - x
            return 1.1 * rise**1.5
        case "two summits":
            left = np.exp(-(np.abs((away + 0.3) / 0.12) ** 1.7))
            right = np.exp(-(np.abs((away - 0.26) / 0.16) ** 1.7))
            return left + 0.7 * right
        case "table mountain":
            steepness = 26 if center > 0.5 else -26
            return 0.9 / (1 + np.exp(away * steepness))
    return 0.3 * np.sin(4 * away) ** 2


def free_layout(
    land: str,
    random: np.random.Generator,
) -> Layout:
    """Return a quiet composition, of which the prompt's landscape and the seed are the only cause."""
    return _compose(land, random, "gentle", wildness=0.75)


def guided_layout(
    land: str,
    random: np.random.Generator,
) -> Layout:
    """Return a composition with a strong shape.

    It is the same for every prompt that is drawn over one input image.
    """
    shape = _SHAPES[int(random.integers(len(_SHAPES)))]
    return _compose(land, random, shape, wildness=0.4)


def blend(
    free: Layout,
    guided: Layout,
    *,
    terrain: float,
    subject: float,
) -> Layout:
    """Return the layout on the way from `free` to `guided`.

    `terrain` and `subject` in [0, 1] say how far.
    """

    def mix(start: float, end: float) -> float:
        return start + (end - start) * terrain

    return Layout(
        horizon=mix(free.horizon, guided.horizon),
        sun_x=mix(free.sun_x, guided.sun_x),
        sun_y=mix(free.sun_y, guided.sun_y),
        sun_radius=mix(free.sun_radius, guided.sun_radius),
        subject_x=free.subject_x + (guided.subject_x - free.subject_x) * subject,
        ridges=free.ridges + (guided.ridges - free.ridges) * terrain,
    )


def noise_line(
    random: np.random.Generator,
    octaves: range,
    *,
    jagged: bool,
    fall: float = 0.5,
) -> Floats:
    """Return fractal noise along x around 0: SIZE.

    Octave n has 2^n waves and `fall`^n of the height.
    """
    line = np.zeros(SIZE, dtype=np.float32)
    for octave in octaves:
        knots = random.uniform(-1, 1, 2**octave + 3).astype(np.float32)
        at = X * 2**octave + random.random(dtype=np.float32)
        left = at.astype(np.int32)
        t = at - left
        ease = t if jagged else t * t * (3 - 2 * t)
        line += fall**octave * (knots[left] * (1 - ease) + knots[left + 1] * ease)
    return line


def _compose(
    land: str,
    random: np.random.Generator,
    shape: str,
    *,
    wildness: float,
) -> Layout:
    """Draw a layout; each draw moves `random` on, so their order is part of every picture."""
    height, jagged = _LANDS[land]
    horizon = random.uniform(0.50, 0.58)
    center = random.uniform(0.25, 0.75)
    ridges = np.empty((LAYERS, SIZE), dtype=np.float32)
    for layer in range(LAYERS):
        nearness = layer / (LAYERS - 1)
        base = horizon + (0.90 - horizon) * nearness**1.1
        shifted = center + random.uniform(-0.16, 0.16)
        bulk = _rise(shape, X, shifted) * (1 - nearness) ** 1.4
        noise = noise_line(random, range(1, 4), jagged=jagged)
        rough = wildness * noise * (1 - 0.4 * nearness)
        lean = 0.35 * random.uniform(-1, 1) * (X - 0.5) * nearness
        ridges[layer] = base - height * (bulk + rough + lean)
    return Layout(
        horizon=horizon,
        sun_x=random.uniform(0.22, 0.78),
        sun_y=random.uniform(0.16, 0.36),
        sun_radius=random.uniform(0.045, 0.10),
        subject_x=random.uniform(0.2, 0.8),
        ridges=ridges,
    )
