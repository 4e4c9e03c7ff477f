"""Pictures: what changes them, what does not, and how long their URLs live."""

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import requests
from PIL import Image

from pixmill.simulator.painting.painter import paint
from pixmill.simulator.painting.theme import Theme, read_prompt
from pixmill.simulator.recipe import Mark, Recipe, pack, recipes_of, unpack
from pixmill.simulator.request_checks import Accepted, check_request
from tests.pixmill.simulator.conftest import Running, Start, make_png
from tests.real_command import wait_until

Asked = Callable[..., dict[str, Any]]


def recipe(body: dict[str, Any]) -> Recipe:
    accepted = check_request("process", body)
    assert isinstance(accepted, Accepted)
    return recipes_of(accepted, body["prompt"], "0" * 64)[0]


def pixels(painted: Recipe | bytes) -> npt.NDArray[np.float64]:
    data = paint(painted) if isinstance(painted, Recipe) else painted
    return np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)


def distance(one: Recipe, other: Recipe) -> float:
    return float(np.abs(pixels(one) - pixels(other)).mean())


def steered(strength: float) -> list[dict[str, Any]]:
    return [{"type": "depth", "binary_data_index": 0, "strength": strength}]


def test_a_picture_is_a_jpeg_of_512_by_512(simulator: Running, asked: Asked) -> None:
    url = simulator.call(asked()).json()["data"]["image_urls"][0]

    response = requests.get(url, timeout=30)

    image = Image.open(io.BytesIO(response.content))
    image.load()
    assert response.headers["Content-Type"] == "image/jpeg"
    assert (image.format, image.size, image.mode) == ("JPEG", (512, 512), "RGB")


def test_the_same_request_gives_the_same_bytes(
    simulator: Running, start: Start, asked: Asked
) -> None:
    other_process = start()

    assert (
        simulator.picture(asked())
        == simulator.picture(asked())
        == other_process.picture(asked())
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a cat on a hill at dawn"},
        {"prompt": "a cat on a hill at sunset "},
        {"seed": 43},
        {"scale": 3.5},
        {"ddim_steps": 17},
        {"ddim_steps": 25},
        {"use_rephraser": True},
        {"image_urls": ["https://images.example/other.jpg"]},
        {"controlnet_args": steered(0.61)},
        {
            "controlnet_args": [
                {"type": "canny", "binary_data_index": 0, "strength": 0.6}
            ]
        },
        {
            "controlnet_args": [
                {"type": "pose", "binary_data_index": 0, "strength": 0.6}
            ]
        },
        {"logo_info": {"add_logo": True}},
    ],
)
def test_every_parameter_shows(
    simulator: Running, asked: Asked, changes: dict[str, Any]
) -> None:
    assert simulator.picture(asked(**changes)) != simulator.picture(asked())


def test_a_seed_of_minus_one_is_drawn_anew(simulator: Running, asked: Asked) -> None:
    assert simulator.picture(asked(seed=-1)) != simulator.picture(asked(seed=-1))


def test_an_image_is_known_by_its_content(simulator: Running, asked: Asked) -> None:
    def inline(content: bytes) -> bytes:
        encoded = base64.b64encode(content).decode()
        return simulator.picture(asked(image_urls=None, binary_data_base64=[encoded]))

    assert inline(make_png()) == inline(make_png()) != inline(make_png(width=65))


def test_without_return_url_the_picture_comes_inline(
    simulator: Running, asked: Asked
) -> None:
    for return_url in (False, None):
        data = simulator.call(asked(return_url=return_url)).json()["data"]

        assert data["image_urls"] == []
        assert base64.b64decode(data["binary_data_base64"][0]) == simulator.picture(
            asked()
        )


def test_canny_returns_the_contour_map_as_a_second_image(
    simulator: Running, asked: Asked
) -> None:
    urls = simulator.call(
        asked(
            controlnet_args=[{"type": "canny", "binary_data_index": 0, "strength": 0.6}]
        )
    ).json()["data"]["image_urls"]

    picture, contours = (pixels(requests.get(url, timeout=30).content) for url in urls)
    assert np.ptp(contours, axis=2).max() == 0
    assert (contours < 40).mean() > 0.8
    assert contours.max() > 200
    assert picture.mean() > contours.mean() + 30


def test_strength_leads_from_a_free_composition_to_that_of_the_input_image(
    asked: Asked,
) -> None:
    """At full strength two prompts of one mood share the composition; the weaker the control, the less they do."""
    one, other = (
        recipe(asked(prompt=prompt))
        for prompt in ("dunes at dusk", "dusk over the dunes")
    )
    apart = [
        distance(one._replace(depth=s), other._replace(depth=s))
        for s in (0.05, 0.5, 1.0)
    ]
    path = [
        distance(one._replace(depth=s), one._replace(depth=1.0))
        for s in (0.05, 0.4, 0.7, 0.95)
    ]

    assert apart[0] > apart[2]
    assert path == sorted(path, reverse=True)


def test_another_input_image_is_another_composition_only_under_control(
    asked: Asked,
) -> None:
    one = recipe(asked(image_urls=["https://a.example/1.jpg"]))
    other = recipe(asked(image_urls=["https://a.example/2.jpg"]))

    assert distance(one._replace(depth=1.0), other._replace(depth=1.0)) > 3
    assert distance(one._replace(depth=0.0), other._replace(depth=0.0)) == 0


def test_scale_goes_from_pale_to_burnt(asked: Asked) -> None:
    saturation = [
        float(np.ptp(pixels(recipe(asked(scale=scale))), axis=2).mean())
        for scale in (1, 2, 3, 8, 30)
    ]

    assert saturation == sorted(saturation)
    assert saturation[-1] > 4 * saturation[0]


def test_steps_go_from_blurred_to_fine(asked: Asked) -> None:
    def detail(steps: int) -> float:
        image = pixels(recipe(asked(ddim_steps=steps, prompt="a city at night")))
        return float(np.abs(np.diff(image, axis=1)).mean())

    assert detail(1) < detail(4) < detail(50)


@pytest.mark.parametrize("language", ["English", "中文"])
@pytest.mark.parametrize(
    ("corner", "rows", "columns"), [(0, -60, -60), (1, -60, 0), (2, 0, 0), (3, 0, -60)]
)
def test_the_watermark_stands_in_its_corner(
    asked: Asked, corner: int, rows: int, columns: int, language: str
) -> None:
    plain = recipe(asked())
    change = np.abs(
        pixels(plain) - pixels(plain._replace(mark=Mark(language, corner, 1.0)))
    ).sum(axis=2)

    def quarter(start: int) -> slice:
        return slice(256) if start == 0 else slice(256, None)

    assert change[quarter(rows), quarter(columns)].sum() > 0.9 * change.sum() > 0


def test_a_fainter_watermark_changes_less(asked: Asked) -> None:
    plain = recipe(asked())
    faint, strong = (
        distance(plain, plain._replace(mark=Mark("mine", 0, opacity)))
        for opacity in (0.2, 1.0)
    )

    assert 0 < faint < strong


@pytest.mark.parametrize(
    ("prompt", "theme"),
    [
        ("A cat on a hill at sunset", ("dusk", "hills", "cat", "plain")),
        ("sunset in the forest", ("dusk", "forest", None, "plain")),
        ("two Dogs, watercolor, ocean", ("sea", "sea", "dog", "watercolor")),
        ("雪山,极光", ("aurora", "peaks", None, "plain")),
        ("一只猫坐在海边的日落中,水彩", ("dusk", "sea", "cat", "watercolor")),
        ("category theory", (None, None, None, "plain")),
    ],
)
def test_a_theme_follows_the_words_of_the_prompt(
    prompt: str, theme: tuple[str | None, ...]
) -> None:
    read = read_prompt(prompt)

    assert all(
        wanted is None or wanted == got for wanted, got in zip(theme, read, strict=True)
    )
    assert read.subject != "cat" or "cat" in theme


def test_a_recipe_travels_in_a_url_unchanged(asked: Asked) -> None:
    for sent in (
        recipe(asked()),
        recipe(asked(logo_info={"add_logo": True}))._replace(contour=True),
    ):
        packed = pack(sent)

        assert unpack(packed) == sent
        assert packed.replace("-", "").replace("_", "").isalnum()
        assert len(packed) < 500
    assert isinstance(unpack(pack(recipe(asked()))).theme, Theme)


def test_a_url_dies_when_its_life_ends(start: Start, asked: Asked) -> None:
    simulator = start(url_life=2)
    url = simulator.call(asked()).json()["data"]["image_urls"][0]

    assert requests.get(url, timeout=30).status_code == 200
    expires = int(url.partition("x-expires=")[2].partition("&")[0])
    wait_until(lambda: time.time() >= expires, "its life has ended")
    assert requests.get(url, timeout=30).status_code == 403


def test_a_url_lives_for_a_day_by_default(simulator: Running, asked: Asked) -> None:
    url = simulator.call(asked()).json()["data"]["image_urls"][0]

    life = int(url.partition("x-expires=")[2].partition("&")[0]) - time.time()
    assert 86_390 < life <= 86_400


def test_a_forged_url_is_refused(simulator: Running, asked: Asked) -> None:
    url = simulator.call(asked()).json()["data"]["image_urls"][0]
    later = url.replace("x-expires=1", "x-expires=2")
    other = simulator.call(asked(seed=43)).json()["data"]["image_urls"][0]
    swapped = other.partition("?")[0] + "?" + url.partition("?")[2]

    for forged in (later, swapped, url.partition("?")[0], url[:-4] + "AAA%3D"):
        assert forged != url
        assert requests.get(forged, timeout=30).status_code == 403


def test_a_url_outlives_its_server(start: Start, asked: Asked) -> None:
    """Another process at the same address paints the same picture; here at another, with the address swapped."""
    first, second = start(), start()
    url = first.call(asked()).json()["data"]["image_urls"][0]
    picture = requests.get(url, timeout=30).content

    assert (
        requests.get(url.replace(first.url, second.url), timeout=30).content == picture
    )


def test_a_picture_is_painted_quickly(asked: Asked) -> None:
    """Measured in processor time, with a bound that a busy machine keeps too."""
    paint(recipe(asked()))
    started = time.thread_time()
    for seed in range(5):
        paint(recipe(asked(seed=seed)))

    assert (time.thread_time() - started) / 5 < 0.2
