"""The composition of a picture: where sun, ridges and subject stand, and how two compositions blend.

A request has two of them. The free one is drawn from prompt and seed, the guided one from the identity of the
input image; the strength of the controls says how far the picture goes from the first to the second.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SIZE = 512
LAYERS = 6

Floats = npt.NDArray[np.floating[Any]]
X: Floats = np.linspace(0, 1, SIZE, dtype=np.float32)

_Shape = Callable[[Floats, float], Floats]


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

_SHAPES: tuple[_Shape, ...] = (
    lambda x, c: 1.15 * np.exp(-(np.abs((x - c) / 0.19) ** 1.6)),  # one summit
    lambda x, c: 1.1 * np.minimum(1, np.abs(x - c) / 0.6) ** 1.3,  # a valley
    lambda x, c: 1.1 * (x if c > 0.5 else 1 - x) ** 1.5,  # a slope
    lambda x, c: (
        np.exp(-(np.abs((x - c + 0.3) / 0.12) ** 1.7))
        + 0.7 * np.exp(-(np.abs((x - c - 0.26) / 0.16) ** 1.7))
    ),
    lambda x, c: (
        0.9 / (1 + np.exp((x - c) * (26 if c > 0.5 else -26)))
    ),  # a table mountain
)


def free_layout(land: str, random: np.random.Generator) -> Layout:
    """A quiet composition, of which the prompt's landscape and the seed are the only cause."""
    return _layout(
        land, random, lambda x, c: 0.3 * np.sin(4 * (x - c)) ** 2, wildness=0.75
    )


def guided_layout(land: str, random: np.random.Generator) -> Layout:
    """A composition with a strong shape, the same for every prompt that is drawn over one input image."""
    return _layout(
        land, random, _SHAPES[int(random.integers(len(_SHAPES)))], wildness=0.4
    )


def blend(free: Layout, guided: Layout, *, terrain: float, subject: float) -> Layout:
    """The layout on the way from `free` to `guided`: `terrain` and `subject` in [0, 1] say how far."""
    return Layout(
        horizon=_between(free.horizon, guided.horizon, terrain),
        sun_x=_between(free.sun_x, guided.sun_x, terrain),
        sun_y=_between(free.sun_y, guided.sun_y, terrain),
        sun_radius=_between(free.sun_radius, guided.sun_radius, terrain),
        subject_x=_between(free.subject_x, guided.subject_x, subject),
        ridges=free.ridges + (guided.ridges - free.ridges) * terrain,
    )


def noise_line(
    random: np.random.Generator, octaves: range, *, jagged: bool, fall: float = 0.5
) -> Floats:
    """Fractal noise along x around 0; octave n has 2^n waves and `fall`^n of the height."""
    line = np.zeros(SIZE, dtype=np.float32)
    for octave in octaves:
        knots = random.uniform(-1, 1, 2**octave + 3).astype(np.float32)
        at = X * 2**octave + random.random(dtype=np.float32)
        left = at.astype(np.int32)
        t = at - left
        ease = t if jagged else t * t * (3 - 2 * t)
        line += fall**octave * (knots[left] * (1 - ease) + knots[left + 1] * ease)
    return line


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _layout(
    land: str, random: np.random.Generator, shape: _Shape, *, wildness: float
) -> Layout:
    height, jagged = _LANDS[land]
    horizon = random.uniform(0.50, 0.58)
    center = random.uniform(0.25, 0.75)
    ridges = np.empty((LAYERS, SIZE), dtype=np.float32)
    for layer in range(LAYERS):
        nearness = layer / (LAYERS - 1)
        base = horizon + (0.90 - horizon) * nearness**1.1
        bulk = shape(X, center + random.uniform(-0.16, 0.16)) * (1 - nearness) ** 1.4
        rough = (
            wildness
            * noise_line(random, range(1, 4), jagged=jagged)
            * (1 - 0.4 * nearness)
        )
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
