"""What is done to a picture, painted or given: new colours, styles, and the last hand."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from pixmill.simulator.painting.canvas import (
    Floats,
    Size,
    chance,
    light_of,
    mix,
    noise_map,
    soft,
    to_image,
    to_picture,
)
from pixmill.simulator.painting.scene import palette_of
from pixmill.simulator.recipe import Mark, Recipe

_PAPER = np.array([0.97, 0.95, 0.91], dtype=np.float32)[:, None, None]
_INK = np.array([0.09, 0.09, 0.12], dtype=np.float32)[:, None, None]


def redraw(recipe: Recipe, image: Image.Image, size: Size) -> Floats:
    """Return the input image in the colours of the prompt, shaken by the seed.

    The more the controls keep of it, the less its shapes move.
    """
    picture = to_picture(ImageOps.fit(image, size))
    kept = max(recipe.depth, recipe.canny, 0.3 * recipe.pose) or 0.9
    random = chance("redraw", recipe.prompt, recipe.seed)
    reach = (0.004 + 0.04 * (1 - kept)) * size[1]
    width, height = size
    shifts = [noise_map(random, size, 4) * reach for _ in size]
    rows = np.clip(np.arange(height)[:, None] + shifts[0], 0, height - 1)
    columns = np.clip(np.arange(width) + shifts[1], 0, width - 1)
    picture = picture[:, rows.astype(np.int32), columns.astype(np.int32)]
    # Dark parts take the dark colours of the palette, light ones its light colours.
    colors = palette_of(recipe.theme.palette)[:, :, 0, 0]
    colors = colors[np.argsort(colors.mean(axis=1))]
    light = light_of(picture)
    steps = np.linspace(0, 1, len(colors))
    tinted = np.array([np.interp(light, steps, channel) for channel in colors.T])
    return mix(picture, tinted.astype(np.float32), 0.2 + 0.6 * recipe.guidance)


def enlarge(image: Image.Image, most_pixels: int) -> Image.Image:
    """Return the image twice as wide and high, or as large as `most_pixels` allow."""
    factor = min(2.0, (most_pixels / (image.width * image.height)) ** 0.5)
    larger = ImageOps.scale(image.convert("RGB"), factor, Image.Resampling.LANCZOS)
    return larger.filter(ImageFilter.UnsharpMask(radius=2, percent=80))


def grade(recipe: Recipe, picture: Floats) -> Floats:
    """Apply the guidance: at 0 the prompt hardly tints the picture, at 1 it burns."""
    guidance = recipe.guidance
    picture = mix(light_of(picture), picture, 0.22 + 2.0 * guidance**0.85)
    contrast = 0.70 + 0.90 * guidance
    return 0.5 + (picture - 0.5) * contrast + 0.05 * (0.33 - guidance)


def add_style(recipe: Recipe, picture: Floats) -> Floats:
    """Apply the style that the prompt names, and the ink lines of a canny control."""
    size = (picture.shape[2], picture.shape[1])
    lines = 0.55 * recipe.canny
    match recipe.theme.style:
        case "ink":
            lines = 0.85
            picture = mix(mix(light_of(picture), picture, 0.4), _PAPER, 0.3)
        case "poster":
            flat = to_picture(_smooth(picture))
            light = np.clip(light_of(flat), 0.02, 1)
            picture = flat * (np.floor(light * 6) + 0.5) / 6 / light
        case "pixel":
            squares = (size[0] // 8, size[1] // 8)
            small = to_image(picture).resize(squares, Image.Resampling.BOX)
            picture = to_picture(small.resize(size, Image.Resampling.NEAREST))
        case "watercolor":
            washed = to_picture(_smooth(picture))
            wash = noise_map(chance("wash", recipe.prompt, recipe.seed), size, 6)
            # Pigment gathers where colours meet.
            picture = washed * (1 - 0.25 * contours(washed))
            picture = mix(picture, _PAPER, 0.12 + 0.16 * soft(0.5 + wash))
            # The ragged edge of the wash leaves a margin of paper.
            x, y = (np.linspace(0, 1, side, dtype=np.float32) for side in size)
            edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)[:, None])
            covered = soft((edge - 0.045 + 0.03 * wash) / 0.02)
            return mix(_PAPER + 0.012 * wash, picture, covered)
    return mix(picture, _INK, lines * contours(picture)) if lines else picture


def _smooth(picture: Floats) -> Image.Image:
    """Return a picture whose details have run into each other."""
    image = to_image(picture)
    # At half the size: the filter is slow.
    small = image.reduce(2).filter(ImageFilter.MedianFilter(5))
    return small.resize(image.size, Image.Resampling.BICUBIC)


def contours(picture: Floats) -> Floats:
    """Return how much of an edge each pixel is, in [0, 1]: height x width."""
    light = light_of(picture)
    steps = np.zeros_like(light)
    steps[1:, :] += np.abs(np.diff(light, axis=0))
    steps[:, 1:] += np.abs(np.diff(light, axis=1))
    return soft((steps - 0.035) / 0.10)


def develop(recipe: Recipe, picture: Floats) -> Image.Image:
    """Return the picture in 8 bits: with grain, and blurred where the steps were few."""
    random = chance("grain", recipe.prompt, recipe.seed)
    grain = random.random(picture.shape[1:], dtype=np.float32) - 0.5
    image = to_image(picture + grain * (0.04 + 0.8 / recipe.steps**1.5))
    blur = ImageFilter.GaussianBlur(5 / recipe.steps)
    return image.filter(blur) if recipe.steps < 8 else image


def add_mark(mark: Mark, image: Image.Image) -> Image.Image:
    """Return the image with the watermark in its corner."""
    # Pillow's own font has no Chinese.
    text = mark.text if mark.text.isascii() else "Generated by AI"
    font = ImageFont.load_default(20)
    left, top, right, bottom = font.getbbox(text)
    x = 16 if mark.corner in (1, 2) else image.width - 16 - (right - left)
    y = 14 if mark.corner in (2, 3) else image.height - 20 - (bottom - top)
    layer = Image.new("RGBA", image.size)
    pen = ImageDraw.Draw(layer)
    opacity = int(255 * mark.opacity)
    # A shadow first, so that white can be read on snow.
    pen.text((x + 1, y + 1), text, font=font, fill=(0, 0, 0, opacity))
    pen.text((x, y), text, font=font, fill=(255, 255, 255, opacity))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
