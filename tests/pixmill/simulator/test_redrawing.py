"""What becomes of input images that come as bytes: redrawn, repainted under a mask, enlarged."""

import base64
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import requests
from PIL import Image, ImageDraw

from pixmill.simulator.inputs import KeptImages
from tests.pixmill.simulator.conftest import SUBMIT, Running, Start, make_png

INPAINT = "jimeng_image2image_dream_inpaint"
CONTROLNET = "high_aes_scheduler_svr_controlnet_v2.0"


def inline(image: Image.Image | bytes) -> str:
    if isinstance(image, Image.Image):
        file = io.BytesIO()
        image.save(file, "PNG")
        image = file.getvalue()
    return base64.b64encode(image).decode()


def quartered() -> Image.Image:
    """An image of four colours, dark on the left and light on the right."""
    image = Image.new("RGB", (320, 240), (20, 20, 60))
    pen = ImageDraw.Draw(image)
    pen.rectangle((160, 0, 320, 120), fill=(250, 240, 200))
    pen.rectangle((160, 120, 320, 240), fill=(230, 240, 250))
    pen.rectangle((0, 120, 160, 240), fill=(40, 10, 10))
    return image


def masked() -> Image.Image:
    """A mask of the lower right quarter."""
    mask = Image.new("L", (320, 240), 0)
    ImageDraw.Draw(mask).rectangle((160, 120, 320, 240), fill=255)
    return mask


def drawn(
    simulator: Running, req_key: str, *images: Image.Image | bytes, **changes: Any
) -> Image.Image:
    """The picture that a synchronous operation makes of images."""
    body = {
        "req_key": req_key,
        "prompt": "a harbour in winter",
        "seed": 7,
        "binary_data_base64": [inline(image) for image in images],
        "return_url": True,
        **changes,
    }
    return Image.open(io.BytesIO(simulator.picture(body)))


def repainted(simulator: Running, prompt: str, *images: Image.Image) -> Image.Image:
    """The picture that the task of an inpainting makes."""
    body = {
        "req_key": INPAINT,
        "prompt": prompt,
        "binary_data_base64": [inline(image) for image in images],
    }
    (url,) = simulator.wait_for(INPAINT, simulator.submit(body))["image_urls"]
    return Image.open(io.BytesIO(requests.get(url, timeout=30).content))


def light(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image.convert("L").resize((64, 48)), dtype=np.float64)


def likeness(one: Image.Image, other: Image.Image) -> float:
    """How alike the light and dark of two images are, -1 to 1."""
    return float(np.corrcoef(light(one).ravel(), light(other).ravel())[0, 1])


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(light(one) - light(other)).mean())


def test_a_picture_shows_the_image_that_it_was_made_from(simulator: Running) -> None:
    given = quartered()
    made = drawn(simulator, "seededit_v3.0", given)

    assert likeness(given, made) > 0.9
    assert made.width / made.height == pytest.approx(4 / 3, abs=0.01)
    flipped = given.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert likeness(given, drawn(simulator, "seededit_v3.0", flipped)) < -0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a harbour at dusk"},
        {"prompt": "a harbour in winter, poster"},
        {"prompt": "a harbour in winter, watercolor"},
        {"prompt": "a harbour in winter, ink"},
        {"prompt": "a harbour in winter, pixel art"},
        {"seed": 8},
        {"scale": 0.9},
    ],
)
def test_prompt_seed_and_scale_change_what_is_made_of_it(
    simulator: Running, changes: dict[str, Any]
) -> None:
    plain = drawn(simulator, "seededit_v3.0", quartered())
    changed = drawn(simulator, "seededit_v3.0", quartered(), **changes)

    assert difference(plain, changed) > 0.2
    assert likeness(quartered(), changed) > 0.8


def test_a_stronger_control_keeps_more_of_the_image(simulator: Running) -> None:
    alike = []
    for strength in (0.05, 0.5, 1.0):
        control = {"type": "depth", "binary_data_index": 0, "strength": strength}
        made = drawn(simulator, CONTROLNET, quartered(), controlnet_args=[control])
        alike.append(likeness(quartered(), made))

    assert alike == sorted(alike)
    assert alike[-1] > 0.9


def test_a_control_names_its_image(simulator: Running) -> None:
    images = (make_png(), quartered())
    control = {"type": "depth", "binary_data_index": 1, "strength": 1.0}
    made = drawn(simulator, CONTROLNET, *images, controlnet_args=[control])

    assert likeness(quartered(), made) > 0.9


def test_a_mask_shows_what_is_repainted_and_the_rest_stays(simulator: Running) -> None:
    given = quartered()
    made = repainted(simulator, "a boat at dusk", given, masked())

    assert made.size == given.size
    changed = np.abs(light(given) - light(made))
    assert changed[24:, 32:].mean() > 20
    assert changed[:22].max() < 12
    assert changed[:, :30].max() < 12


def test_what_is_erased_is_filled_by_its_surroundings(simulator: Running) -> None:
    given = Image.new("RGB", (320, 240), (90, 160, 90))
    spot = (200, 150, 240, 190)
    ImageDraw.Draw(given).rectangle(spot, fill=(250, 0, 0))
    mask = Image.new("L", given.size, 0)
    ImageDraw.Draw(mask).rectangle((190, 140, 250, 200), fill=255)

    red, green, _ = repainted(simulator, "删除", given, mask).getpixel((220, 170))  # type: ignore[misc]
    assert green > 0.8 * red


def test_an_upscaler_returns_the_image_larger(simulator: Running) -> None:
    given = quartered().resize((400, 300))
    made = drawn(simulator, "lens_nnsr2_pic_common", given, model_quality="HQ")

    assert made.size == (800, 600)
    assert likeness(given, made) > 0.98


def test_a_picture_of_bytes_outlives_the_simulator(start: Start) -> None:
    first = start()
    body = {
        "req_key": "seededit_v3.0",
        "prompt": "snow",
        "seed": 7,
        "binary_data_base64": [inline(quartered())],
        "return_url": True,
    }
    (url,) = first.call(body).json()["data"]["image_urls"]
    picture = requests.get(url, timeout=30).content
    first.process.terminate()
    first.process.wait(20)
    second = start()

    assert requests.get(url.replace(first.url, second.url), timeout=30).content == (
        picture
    )


def test_without_a_bill_the_images_end_with_the_simulator() -> None:
    inputs = KeptImages(None, life=60)
    name = inputs.keep(make_png())
    assert inputs.read(name) == make_png()

    inputs.close()
    assert inputs.read(name) is None


def test_large_images_are_kept_smaller_and_old_ones_are_dropped(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    noise = np.random.default_rng(1).integers(0, 255, (1200, 1800, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    first = KeptImages(bill, life=60)
    large, old = first.keep(file.getvalue()), first.keep(make_png())
    folder = tmp_path / "bill.inputs"
    long_ago = time.time() - 61
    os.utime(folder / old, (long_ago, long_ago))

    second = KeptImages(bill, life=60)
    kept = second.read(large)
    assert kept is not None
    assert Image.open(io.BytesIO(kept)).size == (1024, 683)
    assert second.read(old) is None


def test_the_url_of_a_picture_holds_no_image(simulator: Running) -> None:
    body = {
        "req_key": INPAINT,
        "prompt": "snow",
        "binary_data_base64": [inline(quartered()), inline(masked())],
    }
    answer = simulator.call(body, query=SUBMIT).json()
    data = simulator.wait_for(INPAINT, answer["data"]["task_id"])

    assert len(json.dumps(data)) < 900
