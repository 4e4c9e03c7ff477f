"""Paints the land: ridges that fade into mist, their trees, towers, snow and flowers, and still water."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from pixmill.simulator.painting.canvas import Scene, Y, mix, noise_map, soft
from pixmill.simulator.painting.layout import LAYERS, SIZE, Floats, X, noise_line

# How far the fine noise of a seed moves the ridges, in fractions of the picture.
_ROUGHNESS: Mapping[str, float] = {
    "peaks": 0.42,
    "hills": 0.16,
    "sea": 0.30,
    "meadow": 0.08,
    "forest": 0.12,
    "dunes": 0.02,
    "city": 0.05,
}

# Ridges that the sea covers, between the far shore and the near one.
_WATER_LAYERS = range(2, 5)

# The nearness of the towers whose windows can be seen.
_INHABITED = (3 / (LAYERS - 1), 4 / (LAYERS - 1))


class _Ridge(NamedTuple):
    """One layer; its lines are y by column: SIZE."""

    nearness: float
    """0 for the farthest, 1 for the nearest."""

    smooth: Floats
    """The line of the layout."""

    ground: Floats
    """The same with its rocks."""

    outline: Floats
    """The same with what grows or stands there."""


def paint_land(scene: Scene, picture: Floats) -> Floats:
    """Paint land in front of the sky, and return the picture.

    The nearest ground is at the layout's last ridge, where subjects stand.
    """
    land = scene.recipe.theme.land
    ridges = []
    for layer in range(LAYERS):
        if land != "sea" or layer not in _WATER_LAYERS:
            ridges.append(_ridge(scene, layer))
    for ridge, nearer in zip_longest(ridges, ridges[1:]):
        if land == "sea" and nearer is None:
            _paint_water(scene, picture)
        # What a nearer ridge covers need not be painted.
        bottom = nearer.outline.max() if nearer else 1
        _paint_ridge(scene, picture, ridge, bottom=bottom)
        if land == "city" and ridge.nearness in _INHABITED:
            _paint_windows(scene, picture, ridge)
    if land == "meadow":
        for y, x, size, hue in _flowers(scene):
            bloom = mix(scene.palette.accent, scene.palette.sun, hue)
            petals = picture[:, y : y + size, x : x + size]
            petals[:] = mix(petals, bloom, 0.8)
    return picture


def _ridge(scene: Scene, layer: int) -> _Ridge:
    nearness = layer / (LAYERS - 1)
    land = scene.recipe.theme.land
    smooth = scene.layout.ridges[layer]
    fine = noise_line(
        scene.chance,
        range(3, 3 + scene.octaves),
        jagged=land in ("peaks", "sea"),
        fall=0.55,
    )
    ground = smooth - _ROUGHNESS[land] * (1 - 0.6 * nearness) * fine
    outline = ground
    if land == "forest" and layer:
        height = 0.025 + 0.16 * nearness**1.5
        outline = ground - _pines(scene, height, nearness)
    # Not on the farthest and the nearest: these frame the city.
    if land == "city" and 0 < layer < LAYERS - 1:
        height = 0.10 + 0.16 * nearness
        outline = _towers(scene, ground, height)
    return _Ridge(nearness, smooth, ground, outline)


def _paint_ridge(
    scene: Scene,
    picture: Floats,
    ridge: _Ridge,
    *,
    bottom: float,
) -> None:
    """Paint a ridge down to `bottom`."""
    palette = scene.palette
    nearness = ridge.nearness
    top = max(0, int(ridge.outline.min() * SIZE))
    rows = slice(top, int(bottom * SIZE) + 2)
    y = Y[rows]
    below = y - ridge.ground
    distant = mix(palette.horizon, palette.middle, 0.5)
    body = mix(distant, palette.near, nearness**0.75)
    mist = mix(palette.horizon, palette.near, 0.72 * nearness**1.5)
    # Mist lies level: it follows the smooth ridge, not what is jagged on it.
    veil = 0.25 if scene.is_flat else 0.95
    depth = (y - ridge.smooth) / (0.05 + 0.24 * nearness)
    tone = mix(body, mist, veil * soft(depth))
    # The side of the ridge that faces the sun catches its light.
    facing = np.exp(-(((X - scene.layout.sun_x) / 0.35) ** 2))
    facing = facing * (0.34 - 0.22 * nearness)
    tone = mix(tone, palette.sun, facing * np.exp(-np.abs(below) / 0.018))
    tone += scene.texture[rows] * (0.02 + 0.035 * nearness)
    if scene.recipe.theme.land == "peaks" and nearness < 0.7:
        snow = mix(palette.sun, palette.horizon, 0.2)
        tone = mix(tone, snow, _snow_cover(scene, ridge, below))
    # The edge takes half a pixel of each side, as no library smooths it.
    covered = np.clip((y - ridge.outline) * SIZE + 0.5, 0, 1)
    picture[:, rows] = mix(picture[:, rows], tone, covered)


def _snow_cover(
    scene: Scene,
    ridge: _Ridge,
    below: Floats,
) -> Floats:
    """Return how much of each pixel is snow, `below` the ground by so much."""
    rise = scene.layout.horizon + 0.05 - ridge.ground
    altitude = np.clip(rise / 0.3, 0, 1)
    octaves = range(3, 4 + scene.octaves)
    ragged = 1 + 1.6 * noise_line(scene.chance, octaves, jagged=True, fall=0.72)
    deep = 0.13 * altitude**1.5 * ragged - below
    cover: Floats = np.clip(deep * SIZE * 0.5, 0, 1)
    return cover * (0.8 - 0.7 * ridge.nearness)


def _pines(
    scene: Scene,
    size: float,
    nearness: float,
) -> Floats:
    """Return how high trees are by column, the highest that stands there."""
    line = np.zeros(SIZE, dtype=np.float32)
    count = int((14 + 14 * scene.octaves) * (1 - 0.65 * nearness))
    places = scene.chance.uniform(-0.02, 1.02, (count, 3)).astype(np.float32)
    for at, tall, wide in places:
        height = size * (0.45 + 0.55 * abs(tall))
        away = np.abs(X - at) / (height * (0.17 + 0.08 * wide))
        boughs = np.clip(1 - away + 0.09 * np.sin(away * 24), 0, 1)
        np.maximum(line, height * np.where(away < 1, boughs, 0), out=line)
    return line


def _towers(
    scene: Scene,
    ground: Floats,
    size: float,
) -> Floats:
    """Return the line of the ground with towers on it."""
    outline = ground.copy()
    count = 6 + 4 * scene.octaves
    for at, tall, wide in scene.chance.random((count, 3)):
        left = int(at * SIZE)
        right = int((at + 0.03 + 0.05 * wide) * SIZE)
        site = ground[left:right]
        # One at the right edge may have no column.
        if site.size:
            roof = site.min() - size * (0.35 + tall**2)
            outline[left:right] = np.minimum(outline[left:right], roof)
    return outline


def _paint_windows(
    scene: Scene,
    picture: Floats,
    ridge: _Ridge,
) -> None:
    light = mix(scene.palette.sun, scene.palette.accent, 0.25)
    # A grid of windows of 3 x 4 pixels, some of them lit.
    share = 0.06 + 0.025 * scene.octaves
    lit = scene.chance.random((SIZE // 8, SIZE // 6)) < share
    for row, column in zip(*np.nonzero(lit), strict=True):
        y = row * 8
        x = column * 6
        if x + 6 >= SIZE:
            continue
        roof = ridge.outline[x : x + 6].max() * SIZE + 5
        street = ridge.ground[x] * SIZE + 12
        if roof < y < street:
            pane = picture[:, y : y + 4, x + 1 : x + 4]
            pane[:] = mix(pane, light, 0.75)


def _flowers(scene: Scene) -> Iterator[tuple[int, int, int, float]]:
    """Yield row, column, size and hue of each flower, larger ones in front."""
    ground = scene.layout.ridges[-2]
    for depth, at, hue in scene.chance.random((90 * scene.octaves, 3)):
        x = int(at * SIZE)
        top = float(ground[x])
        y = top + 0.02 + (1.02 - top) * depth
        size = 1 + int(5 * depth**2)
        yield int(y * SIZE), x, size, round(float(hue), 1)


def _paint_water(scene: Scene, picture: Floats) -> None:
    """Paint water that mirrors what is above its shore."""
    palette = scene.palette
    shore = int((scene.layout.horizon + 0.06) * SIZE)
    rows = np.arange(SIZE - shore)
    depth = (rows / len(rows)).astype(np.float32)[:, None]
    # Waves are larger in front.
    noise = noise_map(scene.chance, min(scene.octaves, 5), stretch=8)
    waves = noise[: len(rows)] * (1 + 14 * depth)
    # Upside down, a little flatter than what it mirrors, each row shifted by the waves.
    source = np.clip(shore - 1 - rows * shore // (len(rows) + 40), 0, shore - 1)
    columns = np.clip(np.arange(SIZE) + 3 * waves, 0, SIZE - 1).astype(np.int32)
    mirror = picture[:, source[:, None], columns]
    far = mix(palette.horizon, palette.middle, 0.5)
    near = mix(palette.near, palette.zenith, 0.4)
    deep = mix(far, near, depth**0.7)
    water = mix(mirror, deep, 0.35 + 0.35 * depth)
    # The sun's path widens towards the viewer, and breaks on the crests.
    path = np.exp(-(((X - scene.layout.sun_x) / (0.03 + 0.10 * depth)) ** 2))
    crests = soft(waves / (2 + 10 * depth) + 0.1)
    picture[:, shore:] = mix(water, palette.sun, 0.8 * (path * crests))
