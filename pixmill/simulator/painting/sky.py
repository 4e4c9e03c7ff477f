"""Paints what is above the land: sky, stars, clouds, and a sun or moon with its glow."""

import numpy as np

from pixmill.simulator.painting.canvas import Scene, Y, mix, soft
from pixmill.simulator.painting.layout import SIZE, Floats, X


def paint_sky(scene: Scene) -> Floats:
    """Return a new picture, 3 x SIZE x SIZE, that is all sky."""
    palette = scene.palette
    layout = scene.layout
    height = scene.flatten(np.clip(Y / layout.horizon, 0, 1), 0.14)
    upper = mix(palette.zenith, palette.middle, soft(height / 0.6))
    gradient = mix(upper, palette.horizon, soft((height - 0.45) / 0.55))
    picture = np.ascontiguousarray(np.broadcast_to(gradient, (3, SIZE, SIZE)))
    if palette.is_dark:
        _paint_stars(scene, picture)
    # Clouds are around the middle of the sky, and thin out above and below.
    rise = np.clip(Y / layout.horizon, 0, 1.2)
    band: Floats = np.clip(1.15 - 1.7 * np.abs(rise - 0.55), 0, 1)
    cover = 0.6 * soft(scene.texture * 0.8 - 0.1 + 0.2 * rise) * band
    cloud = mix(palette.horizon, palette.sun, 0.35)
    picture = mix(picture, cloud, cover)
    return _paint_sun(scene, picture)


def _paint_stars(scene: Scene, picture: Floats) -> None:
    count = 45 * scene.octaves
    # More of them high up, where the sky is dark.
    rows = scene.chance.random(count) ** 1.4 * scene.layout.horizon * 0.9 * SIZE
    columns = scene.chance.integers(0, SIZE, count)
    shine = scene.chance.random((1, count), dtype=np.float32) ** 3
    stars = (slice(None), rows.astype(np.int32), columns)
    picture[stars] = mix(picture[stars], scene.palette.sun[:, 0], 0.15 + 0.85 * shine)


def _paint_sun(scene: Scene, picture: Floats) -> Floats:
    palette = scene.palette
    layout = scene.layout
    away_x = X[None, :] - layout.sun_x
    away_y = Y - layout.sun_y
    away = np.sqrt(away_x**2 + away_y**2)
    halo = 0.62 * np.exp(-((scene.flatten(away, 0.07) / 0.27) ** 1.25))
    glow = mix(palette.sun, palette.horizon, 0.3)
    picture = mix(picture, glow, halo)
    disk = np.clip((layout.sun_radius - away) * SIZE + 0.5, 0, 1)
    return mix(picture, palette.sun, disk)
