"""The subject of a scene: a silhouette before light mist."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pixmill.simulator.painting.canvas import Floats, mix

# The height of each, and strokes in a unit square with its feet at y = 1: an ellipse or a
# polygon, and x and y of its points.
_SUBJECTS = {
    "cat": ".24; e .3 .46 .76 1.06; e .36 .36 .68 .78; e .34 .14 .68 .46;"
    "p .35 .3 .345 .03 .5 .18; p .67 .3 .675 .03 .52 .18;"
    "p .7 .93 .8 .94 .86 .86 .86 .66 .95 .66 .95 .88 .86 1 .7 1",
    "dog": ".26; e .18 .58 .56 1.05; p .5 .26 .3 .62 .3 .98 .72 1 .74 .36; e .48 .08 .76 .38;"
    "p .66 .14 .92 .22 .93 .31 .66 .36; p .25 .95 .06 .84 .05 .66 .13 .66 .14 .8 .27 .88",
    "lighthouse": ".34; p .44 .24 .56 .24 .62 1.1 .38 1.1; p .4 .22 .6 .22 .6 .26 .4 .26;"
    "p .45 .14 .55 .14 .55 .23 .45 .23; p .42 .12 .5 .03 .58 .12",
    "boat": ".22; p .12 .8 .9 .8 .78 .98 .24 .98; p .49 .04 .51 .04 .51 .82 .49 .82;"
    "p .53 .08 .86 .74 .53 .74; p .46 .18 .46 .74 .2 .74",
}


def paint_subject(
    name: str, picture: Floats, colors: list[Floats], x: float, ground: Floats
) -> None:
    """Add a subject at `x`, in the colours of the mist behind it and of its body."""
    if name not in _SUBJECTS:
        return
    size, *strokes = _SUBJECTS[name].split(";")
    _, height, width = picture.shape
    side = min(int(float(size) * height), width)
    left = int(np.clip(x * width - side / 2, 0, width - side))
    # A little in the ground, which is not level under it.
    feet = float(ground[left + side // 2]) + 0.012
    top = max(0, min(int(feet * height), height) - side)
    # Three times as large, and scaled down: Pillow does not smooth edges.
    large = Image.new("L", (3 * side, 3 * side))
    pen = ImageDraw.Draw(large)
    for stroke in strokes:
        kind, *numbers = stroke.split()
        points = [3 * side * float(number) for number in numbers]
        if kind == "e":
            pen.ellipse(points, fill=255)
        else:
            pen.polygon(points, fill=255)
    body = large.resize((side, side), Image.Resampling.BOX)
    mist = body.filter(ImageFilter.GaussianBlur(side / 9))
    area = picture[:, top : top + side, left : left + side]
    for mask, color, strength in zip((mist, body), colors, (0.45, 1), strict=True):
        area[:] = mix(area, color, strength * np.asarray(mask, dtype=np.float32) / 255)
