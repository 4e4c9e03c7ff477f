"""Pictures that a faults file spoils are those that the checks find."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmill.errors import UserError
from pixmill.quality.checks import (
    open_sample,
    score_blank,
    score_blurred,
    score_dark,
    score_unchanged,
)
from pixmill.quality.duplicates import score_duplicates, sign
from pixmill.quality.thresholds import THRESHOLDS
from pixmill.simulator.faults import load_faults
from pixmill.simulator.painting.painter import paint
from pixmill.simulator.painting.theme import read_prompt
from pixmill.simulator.recipe import Recipe, pack, unpack


def recipe(prompt: str, flaw: str = "") -> Recipe:
    number = int.from_bytes(prompt.encode()[-4:], "big")
    theme = read_prompt(prompt)
    made = Recipe(theme, number, 0, 7, 0.32, 16, 0, 0, 0, None, flaw=flaw)
    assert unpack(pack(made)) == made
    return made


@pytest.mark.parametrize("prompt", ["a cat", "a harbour at dawn", "mountains"])
def test_a_picture_has_the_flaw_that_is_ordered_and_no_other(prompt: str) -> None:
    checks = {"blank": score_blank, "dark": score_dark, "blurred": score_blurred}
    for flaw in ("", *checks):
        sample = open_sample(paint(recipe(prompt, flaw)))
        found = {
            name for name, check in checks.items() if check(sample) < THRESHOLDS[name]
        }
        assert found == ({flaw} if flaw else set())


def test_an_image_that_came_as_bytes_is_handed_through_unchanged() -> None:
    file = io.BytesIO()
    Image.effect_mandelbrot((600, 400), (-2, -1, 1, 1), 90).save(file, "PNG")
    sent = file.getvalue()
    for flaw, is_flagged in (("unchanged", True), ("", False)):
        came = open_sample(paint(recipe("a cat", flaw), [sent]))
        score = score_unchanged(came, open_sample(sent))
        assert (score < THRESHOLDS["unchanged"]) is is_flagged


def test_duplicates_are_of_each_other_and_other_pictures_are_not() -> None:
    pictures = [recipe(f"a cat {at}") for at in range(3)]
    pictures += [recipe(f"a cat {at}", "duplicate") for at in range(3)]
    signatures = [sign(open_sample(paint(each))) for each in pictures]
    table = np.stack([np.frombuffer(each, np.uint8) for each in signatures])
    flags = score_duplicates(table) < THRESHOLDS["duplicate"]
    assert flags.tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{picture: ugly}", "picture"),
        ("{picture: blank, code: 50500}", "picture is about what a success brings"),
        ("{picture: blank, action: poll}", "picture is about what a success brings"),
    ],
)
def test_a_flaw_that_can_not_be_is_a_mistake_in_the_faults_file(
    tmp_path: Path, rule: str, said: str
) -> None:
    (tmp_path / "faults.yaml").write_text(f"- {rule}")
    with pytest.raises(UserError, match=said):
        load_faults(tmp_path / "faults.yaml")
