"""Paints a recipe: a scene, or what becomes of the input images that came as bytes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from pixmill.simulator.painting import filters
from pixmill.simulator.painting.canvas import mix, to_image, to_picture
from pixmill.simulator.painting.flaws import add_flaw, replace_recipe
from pixmill.simulator.painting.scene import Scene
from pixmill.simulator.recipe import Recipe

# Pixels of every picture, whatever was asked for: somebody waits while it is painted.
_AREA = 512 * 512


def paint(recipe: Recipe, inputs: Sequence[bytes] = ()) -> bytes:
    """Return the picture, or its contour map, as JPEG or PNG; equal recipes, equal bytes."""
    recipe = replace_recipe(recipe)
    images = [ImageOps.exif_transpose(Image.open(io.BytesIO(data))) for data in inputs]
    ratio = recipe.ratio
    if ratio is None:
        ratio = images[0].width / images[0].height if images else 1.0
    width = round((_AREA * ratio) ** 0.5)
    size = (width, round(_AREA / width))
    if recipe.work == "enlarge":
        given = images[0] if images else to_image(Scene(recipe, size).paint())
        # To twice the sides, or to four times the area of a picture.
        image = filters.enlarge(given, 4 * _AREA)
    elif recipe.work == "repaint" and len(images) > 1:
        original = images[0]
        mask = images[1]
        if recipe.erases:
            around = ImageFilter.BoxBlur(max(original.size) // 8)
            new = to_picture(original.filter(around))
        else:
            scene = filters.grade(recipe, Scene(recipe, original.size).paint())
            new = filters.add_style(recipe, scene)
        region = mask.convert("L").resize(original.size)
        share = np.asarray(region.filter(ImageFilter.GaussianBlur(1.5))) / np.float32(
            255
        )
        image = to_image(mix(to_picture(original), new, share))
    else:
        picture = (
            filters.redraw(recipe, images[0], size)
            if images
            else Scene(recipe, size).paint()
        )
        picture = filters.grade(recipe, picture)
        if recipe.contour:
            lines = np.repeat(filters.contours(picture)[None], 3, axis=0)
            image = ImageOps.autocontrast(to_image(lines))
        else:
            picture = filters.add_style(recipe, picture)
            image = filters.develop(recipe, picture)
    if recipe.flaw:
        image = add_flaw(recipe, image, images)
    if recipe.mark:
        image = filters.add_mark(recipe.mark, image)
    file = io.BytesIO()
    if recipe.is_png:
        # The least effort: pictures are painted while somebody waits.
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=88)
    return file.getvalue()
