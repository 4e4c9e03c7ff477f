"""What all painting is made of: pictures, deterministic chance, soft masks and noise.

A picture is 3 x height x width floats in [0, 1], and a colour 3 x 1 x 1: with the channels in
front, numpy mixes a colour under a mask several times faster than with them last.
"""

import hashlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Chance: TypeAlias = np.random.Generator
Size: TypeAlias = tuple[int, int]
"""Width and height in pixels, as Pillow has it."""


def chance(*parts: object) -> Chance:
    """Return a random generator that is always the same for the same `parts`."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    # The one of numpy's that is the fastest to start.
    return Chance(np.random.SFC64(int.from_bytes(digest[:16], "big")))


def mix(start: Floats, end: Floats, share: Floats | float) -> Floats:
    """Return what is `share` of the way from `start` to `end`, pictures or colours."""
    # In single precision throughout: double takes twice as long.
    return start + (end - start) * np.asarray(share, dtype=np.float32)


def soft(value: Floats | float) -> Floats:
    """Return a step from 0 to 1 with rounded ends."""
    clipped = np.clip(value, 0, 1).astype(np.float32)
    return clipped * clipped * (3 - 2 * clipped)


def light_of(picture: Floats) -> Floats:
    """Return how bright each pixel is to the eye: height x width."""
    light: Floats = 0.3 * picture[0] + 0.59 * picture[1] + 0.11 * picture[2]
    return light


def noise_map(random: Chance, size: Size, octaves: int, stretch: int = 1) -> Floats:
    """Return noise around 0, `stretch` times finer along y than x: height x width."""
    # At half the size: it takes a quarter of the time, and noise hides it.
    half = (size[0] // 2 + 1, size[1] // 2 + 1)
    total = np.zeros(half[::-1], dtype=np.float32)
    for octave in range(octaves):
        waves = 2 ** (octave + 2)
        grid = random.random((waves * stretch, waves), dtype=np.float32) * 2 - 1
        total += 0.55**octave * _resize(grid, half)
    return _resize(total, size)


def noise_line(random: Chance, x: Floats, octaves: range, *, jagged: bool) -> Floats:
    """Return noise around 0 at each `x` in [0, 1]; octave n has 2^n waves."""
    line = np.zeros_like(x)
    for octave in octaves:
        knots = random.uniform(-1, 1, 2**octave + 3).astype(np.float32)
        at = x * 2**octave + random.random(dtype=np.float32)
        left = at.astype(np.int32)
        ease = at - left if jagged else soft(at - left)
        line += 0.53**octave * mix(knots[left], knots[left + 1], ease)
    return line


def to_image(picture: Floats) -> Image.Image:
    """Return a picture in 8 bits."""
    bands = np.clip(picture * 255, 0, 255).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(band) for band in bands])


def to_picture(image: Image.Image) -> Floats:
    """Return an image as a picture."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _resize(values: Floats, size: Size) -> Floats:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))
