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
_WATER_LAYERS = range(2, 5)  # of the sea, between the far shore and the near one
_INHABITED = (
    3 / (LAYERS - 1),
    4 / (LAYERS - 1),
)  # nearness of the towers whose windows can be seen


class _Ridge(NamedTuple):
    """One layer, as y by column: `smooth` is the layout's line, `ground` has its rocks, `outline` what grows there."""

    nearness: float
    smooth: Floats
    ground: Floats
    outline: Floats


def paint_land(scene: Scene, picture: Floats) -> Floats:
    """The picture with land in front of its sky; y of the nearest ground stays that of the layout's last ridge."""
    land = scene.recipe.theme.land
    ridges = [
        _ridge(scene, layer)
        for layer in range(LAYERS)
        if land != "sea" or layer not in _WATER_LAYERS
    ]
    for ridge, nearer in zip_longest(ridges, ridges[1:]):
        if land == "sea" and nearer is None:
            _paint_water(scene, picture)
        _paint_ridge(
            scene, picture, ridge, bottom=nearer.outline.max() if nearer else 1
        )
        if land == "city" and ridge.nearness in _INHABITED:
            _paint_windows(scene, picture, ridge)
    if land == "meadow":
        _paint_flowers(scene, picture)
    return picture


def _ridge(scene: Scene, layer: int) -> _Ridge:
    nearness = layer / (LAYERS - 1)
    land = scene.recipe.theme.land
    fine = noise_line(
        scene.chance,
        range(3, 3 + scene.octaves),
        jagged=land in ("peaks", "sea"),
        fall=0.55,
    )
    ground = scene.layout.ridges[layer] - _ROUGHNESS[land] * (1 - 0.6 * nearness) * fine
    outline = ground
    if land == "forest" and layer:
        outline = ground - _pines(scene, 0.025 + 0.16 * nearness**1.5, nearness)
    if land == "city" and 0 < layer < LAYERS - 1:
        outline = _towers(scene, ground, 0.10 + 0.16 * nearness)
    return _Ridge(nearness, scene.layout.ridges[layer], ground, outline)


def _paint_ridge(
    scene: Scene, picture: Floats, ridge: _Ridge, *, bottom: float
) -> None:
    palette = scene.palette
    # What a nearer ridge covers need not be painted.
    seen = slice(max(0, int(ridge.outline.min() * SIZE)), int(bottom * SIZE) + 2)
    y = Y[seen]
    below = y - ridge.ground
    body = mix(
        mix(palette.horizon, palette.middle, 0.5), palette.near, ridge.nearness**0.75
    )
    mist = mix(palette.horizon, palette.near, 0.72 * ridge.nearness**1.5)
    # Mist lies level: it follows the smooth ridge, not what is jagged on it.
    veil = 0.25 if scene.is_flat else 0.95
    tone = mix(
        body, mist, veil * soft((y - ridge.smooth) / (0.05 + 0.24 * ridge.nearness))
    )
    # The side of the ridge that faces the sun catches its light.
    facing = np.exp(-(((X - scene.layout.sun_x) / 0.35) ** 2)) * (
        0.34 - 0.22 * ridge.nearness
    )
    tone = mix(tone, palette.sun, facing * np.exp(-np.abs(below) / 0.018))
    tone += scene.texture[seen] * (0.02 + 0.035 * ridge.nearness)
    if scene.recipe.theme.land == "peaks" and ridge.nearness < 0.7:
        tone = mix(
            tone, mix(palette.sun, palette.horizon, 0.2), _snow(scene, ridge, below)
        )
    picture[:, seen] = mix(
        picture[:, seen], tone, np.clip((y - ridge.outline) * SIZE + 0.5, 0, 1)
    )


def _snow(scene: Scene, ridge: _Ridge, below: Floats) -> Floats:
    altitude = np.clip((scene.layout.horizon + 0.05 - ridge.ground) / 0.3, 0, 1)
    ragged = 1 + 1.6 * noise_line(
        scene.chance, range(3, 4 + scene.octaves), jagged=True, fall=0.72
    )
    cover: Floats = np.clip((0.13 * altitude**1.5 * ragged - below) * SIZE * 0.5, 0, 1)
    return cover * (0.8 - 0.7 * ridge.nearness)


def _pines(scene: Scene, size: float, nearness: float) -> Floats:
    line = np.zeros(SIZE, dtype=np.float32)
    count = int((14 + 14 * scene.octaves) * (1 - 0.65 * nearness))
    places = scene.chance.uniform(-0.02, 1.02, (count, 3)).astype(np.float32)
    for at, tall, wide in places:
        height = size * (0.45 + 0.55 * abs(tall))
        away = np.abs(X - at) / (height * (0.17 + 0.08 * wide))
        boughs = np.clip(1 - away + 0.09 * np.sin(away * 24), 0, 1)
        np.maximum(line, height * np.where(away < 1, boughs, 0), out=line)
    return line


def _towers(scene: Scene, ground: Floats, size: float) -> Floats:
    outline = ground.copy()
    count = 6 + 4 * scene.octaves
    for at, tall, wide in scene.chance.random((count, 3)):
        left = int(at * SIZE)
        right = int((at + 0.03 + 0.05 * wide) * SIZE)
        if ground[left:right].size:
            roof = ground[left:right].min() - size * (0.35 + tall**2)
            outline[left:right] = np.minimum(outline[left:right], roof)
    return outline


def _paint_windows(scene: Scene, picture: Floats, ridge: _Ridge) -> None:
    light = mix(scene.palette.sun, scene.palette.accent, 0.25)
    lit = scene.chance.random((SIZE // 8, SIZE // 6)) < 0.06 + 0.025 * scene.octaves
    for row, column in zip(*np.nonzero(lit), strict=True):
        y = row * 8
        x = column * 6
        if (
            x + 6 < SIZE
            and ridge.outline[x : x + 6].max() * SIZE + 5
            < y
            < ridge.ground[x] * SIZE + 12
        ):
            pane = picture[:, y : y + 4, x + 1 : x + 4]
            pane[:] = mix(pane, light, 0.75)


def _paint_flowers(scene: Scene, picture: Floats) -> None:
    for y, x, size, hue in _meadow(scene):
        bloom = mix(scene.palette.accent, scene.palette.sun, hue)
        petals = picture[:, y : y + size, x : x + size]
        petals[:] = mix(petals, bloom, 0.8)


def _meadow(scene: Scene) -> Iterator[tuple[int, int, int, float]]:
    ground = scene.layout.ridges[-2]
    for depth, at, hue in scene.chance.random((90 * scene.octaves, 3)):
        y = (
            float(ground[int(at * SIZE)])
            + 0.02
            + (1.02 - float(ground[int(at * SIZE)])) * depth
        )
        yield int(y * SIZE), int(at * SIZE), 1 + int(5 * depth**2), round(float(hue), 1)


def _paint_water(scene: Scene, picture: Floats) -> None:
    palette = scene.palette
    shore = int((scene.layout.horizon + 0.06) * SIZE)
    rows = np.arange(SIZE - shore)
    depth = (rows / len(rows)).astype(np.float32)[:, None]
    waves = noise_map(scene.chance, min(scene.octaves, 5), stretch=8)[: len(rows)] * (
        1 + 14 * depth
    )
    source = np.clip(shore - 1 - rows * shore // (len(rows) + 40), 0, shore - 1)
    columns = np.clip(np.arange(SIZE) + 3 * waves, 0, SIZE - 1).astype(np.int32)
    mirror = picture[:, source[:, None], columns]
    deep = mix(
        mix(palette.horizon, palette.middle, 0.5),
        mix(palette.near, palette.zenith, 0.4),
        depth**0.7,
    )
    glitter = np.exp(-(((X - scene.layout.sun_x) / (0.03 + 0.10 * depth)) ** 2)) * soft(
        waves / (2 + 10 * depth) + 0.1
    )
    picture[:, shore:] = mix(
        mix(mirror, deep, 0.35 + 0.35 * depth), palette.sun, 0.8 * glitter
    )
