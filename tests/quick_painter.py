"""Pictures that cost nothing, for the simulators of tests: painting takes longer than all else that a call does.

What the simulator's own pictures look like is tested by tests/pixmill/simulator/test_pictures.py.
"""

import hashlib
import io
import os
from collections.abc import Sequence

from PIL import Image

from pixmill import cli
from pixmill.simulator import __main__ as simulator
from pixmill.simulator.painting import painter
from pixmill.simulator.painting.flaws import add_flaw, replace_recipe
from pixmill.simulator.recipe import Recipe

SIDE = 64
"""Pixels of the longer side."""


def paint_quickly(recipe: Recipe, _inputs: Sequence[bytes] = ()) -> bytes:
    """Return a picture of four by four colours: one recipe gives the same bytes each time, any other gives others."""
    recipe = replace_recipe(recipe)
    colors = hashlib.shake_128(repr(recipe).encode()).digest(4 * 4 * 3)
    ratio = recipe.ratio or 1
    width = min(SIDE, round(SIDE * ratio))
    height = min(SIDE, round(SIDE / ratio))
    squares = Image.frombytes("RGB", (4, 4), colors)
    image = squares.resize((width, height), Image.Resampling.NEAREST)
    image = add_flaw(recipe, image, ())
    file = io.BytesIO()
    image.save(file, "PNG" if recipe.is_png else "JPEG")
    return file.getvalue()


def serve_simulator() -> None:
    """Carry out `sys.argv` as `python -m pixmill.simulator` does, but paint quickly and say nothing on stderr."""
    # Nobody reads the pipe.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    painter.paint = paint_quickly
    simulator.main()


def main() -> None:
    """Carry out `sys.argv` as `pixmill` does; simulators of this process paint quickly."""
    painter.paint = paint_quickly
    cli.main()
