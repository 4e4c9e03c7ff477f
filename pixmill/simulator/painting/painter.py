"""Paints a recipe: layered landscapes under a sun, in the colours and with the subject that the prompt asks for.

Equal recipes give equal bytes. Each parameter does one thing that the eye can follow in a row of pictures: the
prompt chooses palette, land, subject and style; the strength of the controls pulls the composition towards that of
the input image; the seed moves details; `scale` goes from pale to burnt, `ddim_steps` from blurred to fine.
"""

import io
import math

from pixmill.simulator.painting.canvas import Scene, chance, noise_map, palette_of
from pixmill.simulator.painting.finish import (
    add_mark,
    add_style,
    contour_map,
    develop,
    grade,
)
from pixmill.simulator.painting.land import paint_land
from pixmill.simulator.painting.layout import Layout, blend, free_layout, guided_layout
from pixmill.simulator.painting.sky import paint_sky
from pixmill.simulator.painting.subjects import paint_subject
from pixmill.simulator.recipe import Recipe

_QUALITY = 88


def paint(recipe: Recipe) -> bytes:
    """The picture, or its contour map, as a JPEG of 512 x 512."""
    scene = _scene(recipe)
    picture = paint_land(scene, paint_sky(scene))
    paint_subject(scene, picture)
    picture = grade(recipe, picture)
    image = (
        contour_map(picture)
        if recipe.contour
        else develop(scene, add_style(scene, picture))
    )
    if recipe.mark:
        image = add_mark(recipe.mark, image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _scene(recipe: Recipe) -> Scene:
    details = chance("details", recipe.prompt, recipe.seed)
    octaves = 1 + round(math.log2(recipe.steps))
    texture = noise_map(details, min(6, octaves + 1), stretch=2)
    return Scene(
        recipe=recipe,
        layout=_layout(recipe),
        palette=palette_of(recipe.theme.palette),
        texture=0.0 * texture if recipe.theme.style == "poster" else texture,
        chance=details,
        octaves=octaves,
    )


def _layout(recipe: Recipe) -> Layout:
    free = free_layout(recipe.theme.land, chance("free", recipe.prompt, recipe.seed))
    guided = guided_layout(recipe.theme.land, chance("guided", recipe.image))
    # A pose says where somebody stands and little about the land around.
    terrain = max(recipe.depth, recipe.canny, 0.3 * recipe.pose)
    return blend(free, guided, terrain=terrain, subject=max(terrain, recipe.pose))
