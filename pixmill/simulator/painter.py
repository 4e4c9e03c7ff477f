"""Paints a recipe: layered landscapes under a sun, in the colours and with the subject that the prompt asks for."""

import hashlib
import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pixmill.simulator import subjects
from pixmill.simulator.layout import LAYERS, SIZE, Floats, Layout, X, blend, free_layout, guided_layout, noise_line
from pixmill.simulator.recipe import Recipe
from pixmill.simulator.theme import PALETTES

Y: Floats = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]


def rgb(code):
    return np.array([int(code[i:i+2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def generator(*parts):
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big"))


def mix(a, b, t):
    return a + (b - a) * t


def noise_map(random, octaves, stretch=1):
    """2-d"""
    total = np.zeros((SIZE, SIZE), dtype=np.float32)
    for o in range(octaves):
        n = 2 ** (o + 2)
        grid = random.uniform(-1, 1, (n * stretch, n)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) * 0.55**o
    return total


def paint(recipe: Recipe) -> Image.Image:
    theme = recipe.theme
    palette = [rgb(c) for c in PALETTES[theme.palette]]
    details = generator("details", recipe.prompt, recipe.seed)
    free = free_layout(theme.land, generator("free", recipe.prompt, recipe.seed))
    guided = guided_layout(theme.land, generator("guided", recipe.image))
    strength = max(recipe.depth, recipe.canny, recipe.pose)
    layout = blend(free, guided, strength)
    octaves = 1 + round(np.log2(recipe.steps))     # 1..7
    clouds = noise_map(details, min(6, octaves + 1), 2)
    picture = sky(layout, palette, clouds, details, theme, octaves)
    picture = land(picture, layout, palette, clouds, details, recipe, octaves)
    return finish(picture, palette, details, recipe, octaves)


def sky(layout, palette, clouds, details, theme, octaves):
    zenith, middle, horizon, sun, _, accent = palette
    t = np.clip(Y / layout.horizon, 0, 1)[..., None]
    base = np.where(t < 0.55, mix(zenith, middle, t / 0.55), mix(middle, horizon, (t - 0.55) / 0.45)).astype(np.float32)
    base = np.broadcast_to(base, (SIZE, SIZE, 3)).copy()
    dx, dy = X[None, :] - layout.sun_x, Y - layout.sun_y
    distance = np.sqrt(dx * dx + dy * dy)
    dark = float(zenith.mean()) < 0.2
    if dark:
        stars = details.integers(0, SIZE, (40 * octaves, 2))
        keep = stars[:, 0] < layout.horizon * SIZE * 0.85
        stars = stars[keep]
        shine = details.uniform(0.15, 1, len(stars)).astype(np.float32) ** 2
        base[stars[:, 0], stars[:, 1]] += shine[:, None] * (1 - base[stars[:, 0], stars[:, 1]])
    cover = np.clip(clouds * 0.9 - 0.15 + 0.25 * t[..., 0], 0, 1) * np.clip(1.15 - np.abs(t[..., 0] - 0.55) * 1.6, 0, 1)
    base = mix(base, mix(horizon, sun, 0.35), (cover * 0.55)[..., None])
    glow = np.exp(-(distance / 0.28) ** 1.3) * 0.65
    base = mix(base, mix(sun, horizon, 0.25), glow[..., None])
    disk = np.clip((layout.sun_radius - distance) * SIZE * 0.8 + 0.5, 0, 1)
    return mix(base, sun, disk[..., None])


def treeline(random, size, density):
    """pines"""
    line = np.zeros(SIZE, dtype=np.float32)
    n = int(density)
    for at, h, w in zip(random.uniform(-0.02, 1.02, n), random.uniform(0.5, 1, n), random.uniform(0.16, 0.26, n)):
        tall = size * h
        d = np.abs(X - at) / (tall * w)
        jag = 1 - d + 0.10 * np.sin(d * 22)
        line = np.maximum(line, tall * np.where(d < 1, np.clip(jag, 0, 1), 0))
    return line


def skyline(random, size, n):
    line = np.zeros(SIZE, dtype=np.float32)
    for at, h, w in zip(random.uniform(0, 1, n), random.gamma(3, 0.25, n), random.uniform(0.02, 0.05, n)):
        box = np.abs(X - at) < w
        line[box] = np.maximum(line[box], min(size * h, size * 1.6))
    return line


def land(picture, layout, palette, texture, details, recipe, octaves):
    zenith, middle, horizon, sun, near, accent = palette
    theme = recipe.theme
    jagged = theme.land in ("peaks", "sea")
    rough = {"peaks": 0.09, "hills": 0.05, "sea": .06, "meadow": 0.03, "forest": 0.04, "dunes": 0.008, "city": 0.02}[theme.land]
    last = LAYERS
    for i in range(LAYERS):
        k = i / (LAYERS - 1)
        ridge = layout.ridges[i].copy()
        ridge -= rough * (1 - 0.5*k) * 4 * noise_line(details, range(4, 4 + octaves), jagged=jagged, fall=0.55)
        if theme.land == "forest" and i >= 1:
            ridge -= treeline(details, 0.03 + 0.16 * k**1.6, (10 + 12 * octaves) * (1 - 0.6 * k))
        if theme.land == "city" and 1 <= i < 5:
            ridge -= skyline(details, 0.22 * (0.7 + 0.5*k), 8 + 5 * octaves)
        if theme.land == "sea" and 2 <= i < 5:
            if i == 2:
                picture = water(picture, layout, palette, details, octaves)
            continue
        top = int(max(0, np.floor(ridge.min() * SIZE)))
        if top >= SIZE:
            continue
        depth = (Y[top:] - ridge[None, :])
        far = mix(horizon, middle, 0.45)
        color = mix(far, near, k**0.8)
        fog = mix(horizon, near, 0.75 * k**1.6)
        reach = 0.05 + 0.22 * k
        t = np.clip(depth / reach, 0, 1)
        t *= t * (3 - 2 * t)
        tone = mix(color, fog, t[..., None])
        grain = texture[top:] * (0.03 + 0.05 * k)
        light = np.exp(-np.clip(depth, 0, 1) / 0.02) * np.exp(-((X - layout.sun_x) / 0.35) ** 2)[None, :] * (0.35 - 0.2 * k)
        tone = mix(tone, sun, np.clip(light, 0, 1)[..., None]) + grain[..., None]
        if theme.land == "peaks" and i < 4 :
            cap = 0.07 * (1 - 0.6*k) * (1 + 1.2 * noise_line(details, range(3, 4 + octaves), jagged=True, fall=0.7))
            height = np.clip((layout.horizon - ridge) / 0.3, 0, 1)
            white = np.clip((cap * (0.3 + height) * height * 1.8- depth) * SIZE * 0.5, 0, 1) * (0.75 - 0.4 * k)
            tone = mix(tone, mix(sun, horizon, 0.25), white[..., None])
        alpha = np.clip(depth * SIZE + 0.5, 0, 1)[..., None]
        picture[top:] += (tone - picture[top:]) * alpha
    return picture


def water(picture, layout, palette, details, octaves):
    zenith, middle, horizon, sun, near, accent = palette
    line = int((layout.horizon + 0.06) * SIZE)
    rows = SIZE - line
    y = np.arange(rows)
    source = np.clip(line - 1 - y * line // (rows + 40), 0, line - 1)
    depth = (y / rows)[:, None].astype(np.float32)
    wave = noise_map(details, min(octaves, 5), 8)[:rows] * (1 + 14 * depth)
    columns = np.clip(np.arange(SIZE)[None, :] + wave * 3, 0, SIZE - 1).astype(np.int32)
    mirror = picture[source[:, None], columns]
    tint = mix(mix(horizon, middle, 0.5), mix(near, zenith, 0.35), depth[..., None] ** 0.7)
    shade = mix(mirror, tint, 0.35 + 0.35 * depth[..., None])
    spread = 0.03 + 0.10 * depth
    path = np.exp(-((X[None, :] - layout.sun_x) / spread) ** 2) * np.clip(wave / (2 + 10 * depth) + 0.1, 0, 1)
    picture[line:] = mix(shade, sun, np.clip(path * 0.8, 0, 1)[..., None])
    return picture


def finish(picture, palette, details, recipe, octaves):
    g = np.log(recipe.scale) / np.log(30)
    vign = 1 - 0.35 * ((X[None, :] - 0.5) ** 2 + (Y - 0.5) ** 2)
    picture = picture * vign[..., None]
    grey = picture @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    sat = 0.25 + 2.1 * g ** 0.9
    picture = grey[..., None] + (picture - grey[..., None]) * sat
    contrast = 0.72 + 0.85 * g
    picture = 0.5 + (picture - 0.5) * contrast + 0.06 * (0.33-g)
    picture += details.normal(0, 0.012, (SIZE, SIZE)).astype(np.float32)[..., None]
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
