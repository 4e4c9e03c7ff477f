"""The composition of a picture: where sun, ridges and subject stand, and how two compositions blend.

A request has two of them. The free one is drawn from prompt and seed, the guided one from the identity of the
input image; the strength of the controls says how far the picture goes from the first to the second.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SIZE = 512
LAYERS = 6

Floats = npt.NDArray[np.float32]
X: Floats = np.linspace(0, 1, SIZE, dtype=np.float32)


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
    roughness: float
    jagged: bool


_LANDS: Mapping[str, _Land] = {
    "peaks": _Land(0.34, 0.55, jagged=True),
    "hills": _Land(0.20, 0.30, jagged=False),
    "sea": _Land(0.22, 0.40, jagged=True),
    "meadow": _Land(0.16, 0.22, jagged=False),
    "forest": _Land(0.22, 0.30, jagged=False),
    "dunes": _Land(0.17, 0.10, jagged=False),
    "city": _Land(0.14, 0.18, jagged=False),
}

_SHAPES: tuple[Callable[[Floats, float], Floats], ...] = (
    lambda x, c: np.exp(-(((x - c) / 0.20) ** 2)),  # one summit
    lambda x, c: 1.25 * np.minimum(1, np.abs(x - c) / 0.55) ** 1.2,  # a valley
    lambda x, c: 1.1 * (x if c > 0.5 else 1 - x) ** 1.3,  # a slope
    lambda x, c: np.exp(-(((x - c + 0.28) / 0.13) ** 2)) + 0.8 * np.exp(-(((x - c - 0.28) / 0.15) ** 2)),
    lambda x, c: 0.75 * np.clip(np.sign(x - c) * 6 * (x - c) ** 2 * 2 + 0.5, 0, 1.2),  # a terrace
)


def free_layout(land: str, random: np.random.Generator) -> Layout:
    """A quiet composition, of which the prompt's landscape and the seed are the only cause."""
    return _layout(land, random, lambda x, _: 0.35 * np.sin(3 * x + 6 * random.random()) ** 2, 0.7)


def guided_layout(land: str, random: np.random.Generator) -> Layout:
    """A composition with a strong shape, the same for every prompt that is drawn over one input image."""
    shape = _SHAPES[int(random.integers(len(_SHAPES)))]
    return _layout(land, random, shape, 0.45)


def blend(free: Layout, guided: Layout, strength: float) -> Layout:
    """The layout `strength` of the way from `free` to `guided`."""
    return Layout(*(f + (g - f) * strength for f, g in zip(free, guided, strict=True)))


def noise_line(random: np.random.Generator, octaves: range, *, jagged: bool, fall: float = 0.5) -> Floats:
    """Fractal noise along x around 0; octave n has 2^n waves and `fall`^n of the height."""
    line = np.zeros(SIZE, dtype=np.float32)
    for octave in octaves:
        knots = random.uniform(-1, 1, 2**octave + 2).astype(np.float32)
        at = (X + random.random()) * 2**octave
        left = np.minimum(at.astype(np.int32), len(knots) - 2)
        t = np.clip(at - left, 0, 1)
        ease = t if jagged else t * t * (3 - 2 * t)
        line += fall**octave * (knots[left] * (1 - ease) + knots[left + 1] * ease)
    return line


def _layout(
    land: str, random: np.random.Generator, shape: Callable[[Floats, float], Floats], wildness: float
) -> Layout:
    kind = _LANDS[land]
    horizon = random.uniform(0.50, 0.60)
    center = random.uniform(0.25, 0.75)
    ridges = np.empty((LAYERS, SIZE), dtype=np.float32)
    for layer in range(LAYERS):
        nearness = layer / (LAYERS - 1)
        base = horizon + (0.93 - horizon) * nearness**1.15
        drift = random.uniform(-0.10, 0.10)
        bulk = shape(X, center + drift) * (1 - 0.72 * nearness)
        rough = wildness * noise_line(random, range(1, 4), jagged=kind.jagged) * (1 - 0.45 * nearness)
        ridges[layer] = base - kind.height * (bulk + rough)
    return Layout(
        horizon=horizon,
        sun_x=random.uniform(0.22, 0.78),
        sun_y=random.uniform(0.16, 0.36),
        sun_radius=random.uniform(0.045, 0.10),
        subject_x=random.uniform(0.2, 0.8),
        ridges=ridges,
    )
