"""The subject of a picture: a silhouette with a few lit parts, drawn from strokes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pixmill.simulator.painting.canvas import Scene, mix
from pixmill.simulator.painting.layout import SIZE, Floats

_FINER = 3  # drawn this much larger and scaled down: Pillow does not smooth edges

_Stroke = tuple[str, tuple[float, ...]]


class _Subject(NamedTuple):
    """Strokes in a unit square with its feet at y = 1; `size` and `place` are fractions of the picture.

    A subject stands on the ground, unless `place` says at which y its feet are.
    """

    size: float
    dark: tuple[_Stroke, ...]
    lit: tuple[_Stroke, ...] = ()
    place: float | None = None


_BIRDS = tuple(
    (
        "line",
        (
            x - w,
            y - w * 0.5,
            x - w * 0.4,
            y - w * 0.55,
            x,
            y,
            x + w * 0.4,
            y - w * 0.55,
            x + w,
            y - w * 0.5,
        ),
    )
    for x, y, w in (
        (0.2, 0.5, 0.09),
        (0.42, 0.34, 0.12),
        (0.66, 0.46, 0.08),
        (0.8, 0.25, 0.07),
        (0.55, 0.66, 0.06),
    )
)

_SUBJECTS: Mapping[str, _Subject] = {
    "cat": _Subject(
        0.24,
        (
            ("ellipse", (0.30, 0.46, 0.76, 1.06)),
            ("ellipse", (0.36, 0.36, 0.68, 0.78)),
            ("ellipse", (0.34, 0.14, 0.68, 0.46)),
            ("polygon", (0.35, 0.30, 0.345, 0.03, 0.50, 0.18)),
            ("polygon", (0.67, 0.30, 0.675, 0.03, 0.52, 0.18)),
            ("curve", (0.70, 0.95, 0.86, 0.98, 0.93, 0.88, 0.90, 0.76, 0.95, 0.66)),
        ),
    ),
    "dog": _Subject(
        0.26,
        (
            ("ellipse", (0.18, 0.58, 0.56, 1.05)),
            ("polygon", (0.50, 0.26, 0.30, 0.62, 0.30, 0.98, 0.72, 1.0, 0.74, 0.36)),
            ("ellipse", (0.48, 0.08, 0.76, 0.38)),
            ("polygon", (0.66, 0.14, 0.92, 0.22, 0.93, 0.31, 0.66, 0.36)),
            ("ellipse", (0.44, 0.09, 0.57, 0.42)),
            ("curve", (0.22, 0.94, 0.10, 0.86, 0.08, 0.74, 0.13, 0.66)),
        ),
    ),
    "person": _Subject(
        0.22,
        (
            ("ellipse", (0.435, 0.04, 0.565, 0.20)),
            (
                "polygon",
                (
                    0.44,
                    0.20,
                    0.56,
                    0.20,
                    0.63,
                    0.34,
                    0.66,
                    0.80,
                    0.34,
                    0.80,
                    0.37,
                    0.34,
                ),
            ),
            ("polygon", (0.40, 0.78, 0.48, 0.78, 0.47, 1.02, 0.40, 1.02)),
            ("polygon", (0.52, 0.78, 0.60, 0.78, 0.60, 1.02, 0.53, 1.02)),
        ),
    ),
    "house": _Subject(
        0.20,
        (
            ("polygon", (0.12, 0.52, 0.88, 0.52, 0.88, 1.1, 0.12, 1.1)),
            ("polygon", (0.02, 0.56, 0.28, 0.20, 0.72, 0.20, 0.98, 0.56)),
            ("polygon", (0.64, 0.06, 0.74, 0.06, 0.74, 0.40, 0.64, 0.40)),
        ),
        (
            ("polygon", (0.24, 0.64, 0.38, 0.64, 0.38, 0.82, 0.24, 0.82)),
            ("polygon", (0.62, 0.64, 0.76, 0.64, 0.76, 0.82, 0.62, 0.82)),
        ),
    ),
    "lighthouse": _Subject(
        0.34,
        (
            ("polygon", (0.44, 0.24, 0.56, 0.24, 0.62, 1.1, 0.38, 1.1)),
            ("polygon", (0.40, 0.22, 0.60, 0.22, 0.60, 0.26, 0.40, 0.26)),
            ("polygon", (0.42, 0.12, 0.50, 0.03, 0.58, 0.12)),
        ),
        (
            ("polygon", (0.45, 0.13, 0.55, 0.13, 0.55, 0.21, 0.45, 0.21)),
            ("polygon", (0.415, 0.58, 0.585, 0.58, 0.597, 0.74, 0.404, 0.74)),
        ),
    ),
    "tree": _Subject(
        0.30,
        (
            ("polygon", (0.47, 0.50, 0.53, 0.50, 0.57, 1.08, 0.43, 1.08)),
            ("ellipse", (0.10, 0.30, 0.55, 0.66)),
            ("ellipse", (0.44, 0.26, 0.92, 0.64)),
            ("ellipse", (0.24, 0.06, 0.76, 0.50)),
            ("ellipse", (0.30, 0.36, 0.74, 0.70)),
        ),
    ),
    "boat": _Subject(
        0.22,
        (
            ("polygon", (0.12, 0.80, 0.90, 0.80, 0.78, 0.98, 0.24, 0.98)),
            ("polygon", (0.49, 0.04, 0.51, 0.04, 0.51, 0.82, 0.49, 0.82)),
        ),
        (
            ("polygon", (0.53, 0.08, 0.86, 0.74, 0.53, 0.74)),
            ("polygon", (0.46, 0.18, 0.46, 0.74, 0.20, 0.74)),
        ),
        place=0.80,
    ),
    "balloon": _Subject(
        0.20,
        (
            ("ellipse", (0.18, 0.02, 0.82, 0.68)),
            ("polygon", (0.24, 0.50, 0.76, 0.50, 0.57, 0.80, 0.43, 0.80)),
            ("polygon", (0.44, 0.86, 0.56, 0.86, 0.55, 0.98, 0.45, 0.98)),
            ("line", (0.44, 0.80, 0.45, 0.87)),
            ("line", (0.56, 0.80, 0.55, 0.87)),
        ),
        (
            ("ellipse", (0.38, 0.02, 0.62, 0.68)),
            ("polygon", (0.40, 0.52, 0.60, 0.52, 0.53, 0.80, 0.47, 0.80)),
        ),
        place=0.42,
    ),
    "bird": _Subject(0.34, _BIRDS, place=0.42),
}


def paint_subject(scene: Scene, picture: Floats) -> None:
    """Add the subject of the prompt, where the layout wants it."""
    subject = _SUBJECTS.get(scene.recipe.theme.subject)
    if subject is None:
        return
    side = int(subject.size * SIZE * scene.chance.uniform(0.92, 1.1))
    left = int(np.clip(scene.layout.subject_x * SIZE - side / 2, 0, SIZE - side))
    top = min(int(_feet(scene, subject, left + side // 2) * SIZE), SIZE) - side
    area = picture[:, top : top + side, left : left + side]
    palette = scene.palette
    dark = _drawn(subject.dark, side)
    lit = _drawn(subject.lit, side)
    # Light mist behind it, so that it stands out of dark woods.
    area[:] = mix(
        area,
        palette.horizon,
        0.45 * _weights(dark.filter(ImageFilter.GaussianBlur(side / 9))),
    )
    area[:] = mix(area, 0.7 * palette.near, _weights(dark))
    area[:] = mix(area, mix(palette.accent, palette.sun, 0.35), 0.92 * _weights(lit))


def _feet(scene: Scene, subject: _Subject, column: int) -> float:
    if subject.place is not None:
        return subject.place + float(scene.chance.uniform(-0.04, 0.04))
    return float(scene.layout.ridges[-1][column]) + 0.012


def _drawn(strokes: Iterable[_Stroke], side: int) -> Image.Image:
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
            pen.line(
                points,
                fill=255,
                width=int(size * (0.075 if kind == "curve" else 0.014)),
                joint="curve",
            )
    return image.resize((side, side), Image.Resampling.BOX)


def _weights(mask: Image.Image) -> Floats:
    return np.asarray(mask, dtype=np.float32) / 255
