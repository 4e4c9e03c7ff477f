"""The subject of a picture: a silhouette with a few lit parts, drawn from strokes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pixmill.simulator.painting.canvas import Scene, mix
from pixmill.simulator.painting.layout import SIZE, Floats

# Drawn this much larger and scaled down: Pillow does not smooth edges.
_FINER = 3

_Stroke = tuple[str, tuple[float, ...]]
"""What to draw (an ellipse, a polygon, a line or a thick curve), and x and y of its points."""


class _Subject(NamedTuple):
    """Strokes in a unit square with its feet at y = 1."""

    size: float
    """Its height, as a fraction of the picture."""

    dark: tuple[_Stroke, ...]
    """The silhouette."""

    lit: tuple[_Stroke, ...] = ()
    """The parts that catch light, on top of it."""

    place: float | None = None
    """At which y of the picture its feet are; without, it stands on the ground."""


def _strokes(text: str) -> tuple[_Stroke, ...]:
    """Read strokes, one a line: what to draw, and the x and y of its points."""
    strokes = []
    for line in text.split("\n"):
        if line.strip():
            kind, *numbers = line.split()
            strokes.append((kind, tuple(map(float, numbers))))
    return tuple(strokes)


def _bird(
    x: float,
    y: float,
    wing: float,
) -> _Stroke:
    """Return a flying bird as one line from wing tip to wing tip."""
    left = (x - wing, y - wing * 0.5, x - wing * 0.4, y - wing * 0.55)
    right = (x + wing * 0.4, y - wing * 0.55, x + wing, y - wing * 0.5)
    return ("line", (*left, x, y, *right))


_SUBJECTS: Mapping[str, _Subject] = {
    "cat": _Subject(
        size=0.24,
        dark=_strokes("""
            ellipse 0.3 0.46 0.76 1.06
            ellipse 0.36 0.36 0.68 0.78
            ellipse 0.34 0.14 0.68 0.46
            polygon 0.35 0.3 0.345 0.03 0.5 0.18
            polygon 0.67 0.3 0.675 0.03 0.52 0.18
            curve 0.7 0.95 0.86 0.98 0.93 0.88 0.9 0.76 0.95 0.66
        """),
    ),
    "dog": _Subject(
        size=0.26,
        dark=_strokes("""
            ellipse 0.18 0.58 0.56 1.05
            polygon 0.5 0.26 0.3 0.62 0.3 0.98 0.72 1 0.74 0.36
            ellipse 0.48 0.08 0.76 0.38
            polygon 0.66 0.14 0.92 0.22 0.93 0.31 0.66 0.36
            ellipse 0.44 0.09 0.57 0.42
            curve 0.22 0.94 0.1 0.86 0.08 0.74 0.13 0.66
        """),
    ),
    "person": _Subject(
        size=0.22,
        dark=_strokes("""
            ellipse 0.435 0.04 0.565 0.2
            polygon 0.44 0.2 0.56 0.2 0.63 0.34 0.66 0.8 0.34 0.8 0.37 0.34
            polygon 0.4 0.78 0.48 0.78 0.47 1.02 0.4 1.02
            polygon 0.52 0.78 0.6 0.78 0.6 1.02 0.53 1.02
        """),
    ),
    "house": _Subject(
        size=0.2,
        dark=_strokes("""
            polygon 0.12 0.52 0.88 0.52 0.88 1.1 0.12 1.1
            polygon 0.02 0.56 0.28 0.2 0.72 0.2 0.98 0.56
            polygon 0.64 0.06 0.74 0.06 0.74 0.4 0.64 0.4
        """),
        lit=_strokes("""
            polygon 0.24 0.64 0.38 0.64 0.38 0.82 0.24 0.82
            polygon 0.62 0.64 0.76 0.64 0.76 0.82 0.62 0.82
        """),
    ),
    "lighthouse": _Subject(
        size=0.34,
        dark=_strokes("""
            polygon 0.44 0.24 0.56 0.24 0.62 1.1 0.38 1.1
            polygon 0.4 0.22 0.6 0.22 0.6 0.26 0.4 0.26
            polygon 0.42 0.12 0.5 0.03 0.58 0.12
        """),
        lit=_strokes("""
            polygon 0.45 0.13 0.55 0.13 0.55 0.21 0.45 0.21
            polygon 0.415 0.58 0.585 0.58 0.597 0.74 0.404 0.74
        """),
    ),
    "tree": _Subject(
        size=0.3,
        dark=_strokes("""
            polygon 0.47 0.5 0.53 0.5 0.57 1.08 0.43 1.08
            ellipse 0.1 0.3 0.55 0.66
            ellipse 0.44 0.26 0.92 0.64
            ellipse 0.24 0.06 0.76 0.5
            ellipse 0.3 0.36 0.74 0.7
        """),
    ),
    "boat": _Subject(
        size=0.22,
        dark=_strokes("""
            polygon 0.12 0.8 0.9 0.8 0.78 0.98 0.24 0.98
            polygon 0.49 0.04 0.51 0.04 0.51 0.82 0.49 0.82
        """),
        lit=_strokes("""
            polygon 0.53 0.08 0.86 0.74 0.53 0.74
            polygon 0.46 0.18 0.46 0.74 0.2 0.74
        """),
        place=0.8,
    ),
    "balloon": _Subject(
        size=0.2,
        dark=_strokes("""
            ellipse 0.18 0.02 0.82 0.68
            polygon 0.24 0.5 0.76 0.5 0.57 0.8 0.43 0.8
            polygon 0.44 0.86 0.56 0.86 0.55 0.98 0.45 0.98
            line 0.44 0.8 0.45 0.87
            line 0.56 0.8 0.55 0.87
        """),
        lit=_strokes("""
            ellipse 0.38 0.02 0.62 0.68
            polygon 0.4 0.52 0.6 0.52 0.53 0.8 0.47 0.8
        """),
        place=0.42,
    ),
    "bird": _Subject(
        size=0.34,
        dark=(
            _bird(0.2, 0.5, 0.09),
            _bird(0.42, 0.34, 0.12),
            _bird(0.66, 0.46, 0.08),
            _bird(0.8, 0.25, 0.07),
            _bird(0.55, 0.66, 0.06),
        ),
        place=0.42,
    ),
}


def paint_subject(scene: Scene, picture: Floats) -> None:
    """Add the subject of the prompt, where the layout wants it."""
    subject = _SUBJECTS.get(scene.recipe.theme.subject)
    if subject is None:
        return
    side = int(subject.size * SIZE * scene.chance.uniform(0.92, 1.1))
    left = int(np.clip(scene.layout.subject_x * SIZE - side / 2, 0, SIZE - side))
    if subject.place is not None:
        feet = subject.place + float(scene.chance.uniform(-0.04, 0.04))
    else:
        # A little in the ground, which is not level under it.
        feet = float(scene.layout.ridges[-1][left + side // 2]) + 0.012
    top = min(int(feet * SIZE), SIZE) - side
    area = picture[:, top : top + side, left : left + side]
    palette = scene.palette
    dark = _draw(subject.dark, side)
    lit = _draw(subject.lit, side)
    # Light mist behind it, so that it can be seen before dark woods.
    mist = dark.filter(ImageFilter.GaussianBlur(side / 9))
    area[:] = mix(area, palette.horizon, 0.45 * _weights(mist))
    area[:] = mix(area, 0.7 * palette.near, _weights(dark))
    light = mix(palette.accent, palette.sun, 0.35)
    area[:] = mix(area, light, 0.92 * _weights(lit))


def _draw(
    strokes: Iterable[_Stroke],
    side: int,
) -> Image.Image:
    size = side * _FINER
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    for kind, numbers in strokes:
        points = [number * size for number in numbers]
        if kind == "ellipse":
            pen.ellipse(points, fill=255)
        elif kind == "polygon":
            pen.polygon(points, fill=255)
        else:
            thickness = 0.075 if kind == "curve" else 0.014
            pen.line(points, fill=255, width=int(size * thickness), joint="curve")
    return image.resize((side, side), Image.Resampling.BOX)


def _weights(mask: Image.Image) -> Floats:
    return np.asarray(mask, dtype=np.float32) / 255
