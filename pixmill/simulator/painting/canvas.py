"""What all painting is made of: colours, deterministic chance, soft masks and noise.

A picture is 3 x SIZE x SIZE floats and a colour 3 x 1 x 1: with the channels in front, numpy
mixes a colour under a mask several times faster than with them last.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from pixmill.simulator.painting.layout import SIZE, Floats, Layout
from pixmill.simulator.painting.theme import PALETTES
from pixmill.simulator.recipe import Recipe

Y: Floats = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
"""The height of each row, from the top: SIZE x 1."""


class Palette(NamedTuple):
    """Colours in [0, 1], from the top of the sky to the front of the ground."""

    zenith: Floats
    middle: Floats
    horizon: Floats
    sun: Floats
    near: Floats
    accent: Floats

    @property
    def is_dark(self) -> bool:
        """Whether stars are out."""
        return float(self.zenith.mean()) < 0.25


class Scene(NamedTuple):
    """Everything that a painter's hand needs."""

    recipe: Recipe
    layout: Layout
    palette: Palette

    texture: Floats
    """Fractal noise over the whole picture: SIZE x SIZE."""

    chance: np.random.Generator
    """What prompt and seed decide; each use moves it on, so the order of painting counts."""

    octaves: int
    """The level of detail, 1 to 7."""

    @property
    def is_flat(self) -> bool:
        """Whether colours meet without passing into each other, as on a printed poster."""
        return self.recipe.theme.style == "poster"

    def flatten(
        self,
        values: Floats,
        step: float,
    ) -> Floats:
        """Return the values in flat steps on a poster, otherwise as they are."""
        return np.floor(values / step) * step if self.is_flat else values


def palette_of(name: str) -> Palette:
    """Return the named palette of the theme."""
    colors = []
    for code in PALETTES[name]:
        # #rrggbb
        channels = [[[int(code[at : at + 2], 16)]] for at in (1, 3, 5)]
        colors.append(np.array(channels, dtype=np.float32) / 255)
    return Palette(*colors)


def chance(*parts: object) -> np.random.Generator:
    """Return a random generator that is always the same for the same `parts`."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    seed = int.from_bytes(digest[:16], "big")
    # The one of numpy's that is the fastest to start.
    return np.random.Generator(np.random.SFC64(seed))


def mix(
    start: Floats,
    end: Floats,
    share: Floats | float,
) -> Floats:
    """Return what is `share` of the way from `start` to `end`, both a picture or a colour."""
    return start + (end - start) * share


def soft(value: Floats | float) -> Floats:
    """Return a step from 0 to 1 with rounded ends."""
    clipped = np.clip(value, 0, 1).astype(np.float32)
    return clipped * clipped * (3 - 2 * clipped)


def noise_map(
    random: np.random.Generator,
    octaves: int,
    *,
    stretch: int = 1,
) -> Floats:
    """Return fractal noise around 0 over the picture: SIZE x SIZE.

    It is `stretch` times finer from top to bottom than along x.
    """
    # At half the size: scaling up takes a quarter of the time, and noise hides it.
    half = SIZE // 2
    total = np.zeros((half, half), dtype=np.float32)
    for octave in range(octaves):
        waves = 2 ** (octave + 2)
        shape = (min(half, waves * stretch), waves)
        grid = random.random(shape, dtype=np.float32) * 2 - 1
        total += 0.55**octave * resize(grid, half)
    return resize(total, SIZE)


def resize(values: Floats, size: int) -> Floats:
    """Return `values` smoothly scaled to a square."""
    image = Image.fromarray(values)
    scaled = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(scaled, dtype=np.float32)
