"""Paints a recipe: layered landscapes under a sun, in the colours and with the subject that the prompt asks for.

Equal recipes give equal bytes. Each parameter does one thing that the eye can follow in a row
of pictures: the prompt chooses palette, land, subject and style; the strength of the controls
pulls the composition towards that of the input image; the seed moves details; `scale` goes
from pale to burnt, `ddim_steps` from blurred to fine.
"""

import io
import math

from pixmill.simulator.painting.canvas import Scene, chance, noise_map, palette_of
from pixmill.simulator.painting.finish import (
    add_mark,
    add_style,
    contour_map,
    crop,
    develop,
    grade,
)
from pixmill.simulator.painting.land import paint_land
from pixmill.simulator.painting.layout import blend, free_layout, guided_layout
from pixmill.simulator.painting.sky import paint_sky
from pixmill.simulator.painting.subjects import paint_subject
from pixmill.simulator.recipe import Recipe

_QUALITY = 88


def paint(recipe: Recipe) -> bytes:
    """Return the picture, or its contour map, as JPEG or PNG whose longer side is 512."""
    scene = _scene(recipe)
    picture = paint_sky(scene)
    picture = paint_land(scene, picture)
    paint_subject(scene, picture)
    picture = grade(recipe, picture)
    if recipe.contour:
        image = contour_map(picture)
    else:
        picture = add_style(scene, picture)
        image = develop(scene, picture)
    image = crop(recipe.ratio, image)
    if recipe.mark:
        image = add_mark(recipe.mark, image)
    file = io.BytesIO()
    if recipe.is_png:
        # The least effort: pictures are painted while somebody waits.
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _scene(recipe: Recipe) -> Scene:
    theme = recipe.theme
    free = free_layout(theme.land, chance("free", recipe.prompt, recipe.seed))
    guided = guided_layout(theme.land, chance("guided", recipe.image))
    # A pose says where somebody stands and little about the land around.
    terrain = max(recipe.depth, recipe.canny, 0.3 * recipe.pose)
    subject = max(terrain, recipe.pose)
    details = chance("details", recipe.prompt, recipe.seed)
    octaves = 1 + round(math.log2(recipe.steps))
    texture = noise_map(details, min(6, octaves + 1), stretch=2)
    if theme.style == "poster":
        texture = 0.0 * texture
    return Scene(
        recipe=recipe,
        layout=blend(free, guided, terrain=terrain, subject=subject),
        palette=palette_of(theme.palette),
        texture=texture,
        chance=details,
        octaves=octaves,
    )
