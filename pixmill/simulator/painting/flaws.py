"""What can be wrong with a picture that came: made on purpose, to rehearse what finds it."""

from collections.abc import Sequence
from typing import Literal

from PIL import Image, ImageEnhance, ImageFilter

from pixmill.simulator.painting.theme import read_prompt
from pixmill.simulator.recipe import Recipe

Flaw = Literal["blank", "dark", "blurred", "unchanged", "duplicate"]

_BRIGHTNESS = 0.08
_BLUR = 0.015
"""The radius, as a share of the longer side."""


def replace_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of a picture that may be a duplicate: they are all of the same."""
    if recipe.flaw != "duplicate":
        return recipe
    return recipe._replace(
        theme=read_prompt(""),
        prompt=0,
        image=0,
        seed=0,
        guidance=0.32,
        depth=0,
        canny=0,
        pose=0,
        inputs=(),
    )


def add_flaw(
    recipe: Recipe, image: Image.Image, inputs: Sequence[Image.Image]
) -> Image.Image:
    """Return the picture with the flaw that its recipe asks for.

    Without an input image that came as bytes there is nothing to hand through unchanged.
    """
    match recipe.flaw:
        case "blank":
            # A gray of its own for each, as an encoder leaves it that was given nothing.
            level = 96 + recipe.seed % 64
            return Image.new("RGB", image.size, (level, level, level))
        case "dark":
            return ImageEnhance.Brightness(image.convert("RGB")).enhance(_BRIGHTNESS)
        case "blurred":
            radius = _BLUR * max(image.size)
            return image.convert("RGB").filter(ImageFilter.GaussianBlur(radius))
        case "unchanged" if inputs:
            return inputs[0].convert("RGB")
    return image
