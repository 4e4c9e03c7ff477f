"""Paints the scene of a prompt: layered land under a sun.

A scene has two compositions, a free one of prompt and seed and one of the input image; the
strength of the controls says how far it goes from the first to the second.
"""

import math

import numpy as np

from pixmill.simulator.painting.canvas import (
    Chance,
    Floats,
    Size,
    chance,
    mix,
    noise_line,
    noise_map,
    soft,
)
from pixmill.simulator.painting.subjects import paint_subject
from pixmill.simulator.painting.theme import COLORS, PALETTES
from pixmill.simulator.recipe import Recipe

# Ridges, one before the other; the sea covers those between the far shore and the near one.
_LAYERS = 6
_WATER_LAYERS = range(2, 5)

# How high ridges are, and how far the noise of a seed moves them, in heights of the picture.
_LANDS = {
    "sea": (0.26, 0.30),
    "dunes": (0.20, 0.02),
    "forest": (0.24, 0.12),
    "hills": (0.20, 0.14),
    "peaks": (0.34, 0.42),
}


def palette_of(name: str) -> Floats:
    """Return the colours of a palette: 5 x 3 x 1 x 1."""
    codes = PALETTES[name].split()[:COLORS]
    channels = [list(bytes.fromhex(code)) for code in codes]
    return np.array(channels, dtype=np.float32)[:, :, None, None] / 255


class Scene:
    """The scene of a recipe; `paint` it once, as each stroke uses up some of its chance."""

    def __init__(self, recipe: Recipe, size: Size) -> None:
        self._land = recipe.theme.land
        self._subject = recipe.theme.subject
        self._width, self._height = size
        self._x: Floats = np.linspace(0, 1, self._width, dtype=np.float32)
        self._y: Floats = np.linspace(0, 1, self._height, dtype=np.float32)[:, None]
        # The level of detail, 1 to 7.
        self._octaves = 1 + round(math.log2(recipe.steps))
        self._colors = palette_of(recipe.theme.palette)
        self._random = chance("details", recipe.prompt, recipe.seed)
        self._texture = noise_map(self._random, size, min(6, self._octaves + 1), 2)
        # A pose says where somebody stands and little about the land around.
        terrain = max(recipe.depth, recipe.canny, 0.3 * recipe.pose)
        free_chance = chance("free", recipe.prompt, recipe.seed)
        free, free_ridges = self._compose(free_chance, bulk=0.35, noise=0.75)
        guided, guided_ridges = self._compose(chance(recipe.image), bulk=1, noise=0.4)
        self._horizon, *self._sun, _ = mix(free, guided, terrain)
        self._ridges = mix(free_ridges, guided_ridges, terrain)
        self._subject_x = mix(free, guided, max(terrain, recipe.pose))[-1]

    def _compose(self, random: Chance, bulk: float, noise: float) -> list[Floats]:
        """Draw a composition of two summits, `bulk` times as high as usual, and noise.

        Returns the horizon, x, y and radius of the sun and x of the subject; and y of each
        ridge at each column, the farthest first: layers x width.
        """
        low = (0.50, 0.22, 0.16, 0.045, 0.2)
        places = random.uniform(low, (0.58, 0.78, 0.34, 0.10, 0.8)).astype(np.float32)
        summits = random.uniform((0.15, 0.1), (0.85, 0.24), (2, 2))[:, :, None, None]
        shift = random.uniform(-0.12, 0.12, (_LAYERS, 1))
        away = np.abs(self._x - summits[:, 0] - shift) / summits[:, 1]
        nearness = np.linspace(0, 1, _LAYERS)[:, None]
        rise = bulk * np.exp(-(away**1.6)).max(axis=0) * (1 - nearness) ** 1.4
        rough = [self._noise_line(random, range(1, 4)) for _ in range(_LAYERS)]
        bumps = rise + noise * np.array(rough) * (1 - 0.4 * nearness)
        base = places[0] + (0.90 - places[0]) * nearness**1.1
        ridges = base - _LANDS[self._land][0] * bumps
        return [places, ridges.astype(np.float32)]

    def _noise_line(self, random: Chance, octaves: range) -> Floats:
        is_jagged = self._land in ("peaks", "sea")
        return noise_line(random, self._x, octaves, jagged=is_jagged)

    def paint(self) -> Floats:
        """Return the picture."""
        picture = self._paint_sky()
        for layer in range(_LAYERS):
            if self._land == "sea" and layer == _LAYERS - 1:
                self._paint_water(picture)
            if self._land != "sea" or layer not in _WATER_LAYERS:
                self._paint_ridge(picture, layer)
        _, _, mist, _, near = self._colors
        x = float(self._subject_x)
        paint_subject(self._subject, picture, [mist, 0.7 * near], x, self._ridges[-1])
        return picture

    def _paint_sky(self) -> Floats:
        """Return a new picture that is all sky: stars, clouds, a sun with its glow."""
        zenith, middle, horizon, sun, _ = self._colors
        rise = self._y / self._horizon
        upper = mix(zenith, middle, soft(rise / 0.6))
        gradient = mix(upper, horizon, soft((rise - 0.45) / 0.55))
        picture = np.repeat(gradient, self._width, axis=2)
        if zenith.mean() < 0.25:
            # More stars high up, where the sky is dark.
            places = self._random.random((45 * self._octaves, 2)) ** (1.4, 1)
            places *= (0.9 * self._horizon * self._height, self._width)
            rows, columns = places.astype(np.int32).T
            picture[:, rows, columns] = mix(picture[:, rows, columns], sun[:, 0], 0.5)
        # Clouds are around the middle of the sky, and thin out above and below.
        band = np.clip(1.15 - 1.7 * np.abs(np.minimum(rise, 1.2) - 0.55), 0, 1)
        cover = 0.6 * soft(self._texture * 0.8 - 0.1 + 0.2 * rise) * band
        picture = mix(picture, mix(horizon, sun, 0.35), cover)
        x, y, radius = self._sun
        # Distances in heights, so that the sun is round in any ratio.
        away = np.hypot((self._x - x) * self._width / self._height, self._y - y)
        glow = 0.62 * np.exp(-((away / 0.27) ** 1.25))
        picture = mix(picture, mix(sun, horizon, 0.3), glow)
        return mix(picture, sun, np.clip((radius - away) * self._height + 0.5, 0, 1))

    def _paint_ridge(self, picture: Floats, layer: int) -> None:
        """Paint one layer of land, with what stands on it, down to the bottom."""
        _, middle, horizon, sun, near = self._colors
        nearness = layer / (_LAYERS - 1)
        octaves = range(3, 3 + self._octaves)
        roughness = _LANDS[self._land][1] * (1 - 0.6 * nearness)
        smooth = self._ridges[layer]
        ground = smooth - roughness * self._noise_line(self._random, octaves)
        outline = ground
        if self._land == "forest" and layer:
            line = np.zeros_like(self._x)
            count = int((14 + 14 * self._octaves) * (1 - 0.65 * nearness))
            for at, tall, wide in self._random.random((count, 3), dtype=np.float32):
                height = (0.025 + 0.16 * nearness**1.5) * (0.45 + 0.55 * tall)
                away = np.abs(self._x - at) / (height * (0.17 + 0.08 * wide))
                boughs = np.clip(1 - away + 0.09 * np.sin(away * 24), 0, 1)
                np.maximum(line, height * boughs * (away < 1), out=line)
            outline = ground - line
        top = max(0, int(outline.min() * self._height))
        y = self._y[top:]
        body = mix(mix(horizon, middle, 0.5), near, nearness**0.75)
        mist = mix(horizon, near, 0.72 * nearness**1.5)
        # Mist lies level: it follows the smooth ridge, not what is jagged on it.
        depth = soft((y - smooth) / (0.05 + 0.24 * nearness))
        tone = mix(body, mist, 0.95 * depth)
        # The side of the ridge that faces the sun catches its light.
        facing = np.exp(-(((self._x - self._sun[0]) / 0.35) ** 2))
        rim = np.exp(-np.abs(y - ground) / 0.018)
        tone = mix(tone, sun, facing * rim * (0.34 - 0.22 * nearness))
        tone += self._texture[top:] * (0.02 + 0.035 * nearness)
        # The edge takes half a pixel of each side, as no library smooths it.
        covered = np.clip((y - outline) * self._height + 0.5, 0, 1)
        picture[:, top:] = mix(picture[:, top:], tone, covered)

    def _paint_water(self, picture: Floats) -> None:
        """Paint water that mirrors what is above its shore."""
        zenith, middle, horizon, sun, near = self._colors
        shore = int((self._horizon + 0.06) * self._height)
        rows = np.arange(self._height - shore)
        depth = (rows / len(rows)).astype(np.float32)[:, None]
        # Waves are larger in front.
        size = (self._width, len(rows))
        waves = noise_map(self._random, size, 4, stretch=16) * (1 + 14 * depth)
        # Upside down, a little flatter than what it mirrors, each row shifted.
        source = np.clip(shore - 1 - rows * shore // (len(rows) + 40), 0, shore - 1)
        columns = np.clip(np.arange(self._width) + 3 * waves, 0, self._width - 1)
        mirror = picture[:, source[:, None], columns.astype(np.int32)]
        deep = mix(mix(horizon, middle, 0.5), mix(near, zenith, 0.4), depth**0.7)
        water = mix(mirror, deep, 0.35 + 0.35 * depth)
        # The sun's path widens towards the viewer, and breaks on the crests.
        path = np.exp(-(((self._x - self._sun[0]) / (0.03 + 0.10 * depth)) ** 2))
        crests = soft(waves / (2 + 10 * depth) + 0.1)
        picture[:, shore:] = mix(water, sun, 0.8 * path * crests)
