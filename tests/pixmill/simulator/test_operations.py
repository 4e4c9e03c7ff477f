"""Every operation takes what its page documents, refuses the rest by name, and answers in its form."""

import base64
import io
from typing import Any

import pytest
import requests
from PIL import Image

from pixmill.request.operations import OPERATIONS as REGISTERED
from pixmill.simulator.operations import NO_LIMIT, OPERATIONS, InputRule
from tests.pixmill.simulator.conftest import SUBMIT, Running, make_png

URL = "https://images.example/in.jpg"

REQUESTS: dict[str, dict[str, Any]] = {
    "high_aes_scheduler_svr_controlnet_v2.0": {"prompt": "a", "image_urls": [URL]},
    "jimeng_t2i_v40": {"prompt": "a", "image_urls": [URL] * 10, "scale": 0.5},
    "jimeng_seedream46_cvtob": {"prompt": "a", "image_urls": [URL] * 14, "scale": 50},
    "jimeng_t2i_v31": {"prompt": "a", "width": 1328, "height": 1328},
    "jimeng_t2i_v30": {"prompt": "a", "use_pre_llm": False},
    "jimeng_i2i_v30": {
        "prompt": "a",
        "image_urls": [URL],
        "width": 2016,
        "height": 512,
    },
    "jimeng_image2image_dream_inpaint": {"prompt": "a", "image_urls": [URL, URL]},
    "jimeng_i2i_seed3_tilesr_cvtob": {"image_urls": [URL], "resolution": "8k"},
    "jimeng_high_aes_general_v21_L": {"prompt": "a", "width": 768, "height": 256},
    "high_aes_general_v30l_zt2i": {"prompt": "a", "scale": 2.5},
    "seededit_v3.0": {"prompt": "a", "image_urls": [URL], "scale": 1},
    "byteedit_v2.0": {"prompt": "a", "image_urls": [URL], "negative_prompt": ""},
    "high_aes_general_v20_L": {"prompt": "a", "model_version": "general_v2.0_L"},
    "high_aes_general_v21_L": {"prompt": "a", "llm_seed": -1, "is_only_sr": False},
    "high_aes_ip_v20": {"prompt": "a", "image_urls": [URL], "ref_id_weight": 0.36},
    "lens_nnsr2_pic_common": {"image_urls": [URL], "model_quality": "MQ"},
}
"""A request that each operation accepts."""


def ask(simulator: Running, req_key: str, **changes: Any) -> dict[str, Any]:
    """The answer to the request of an operation: to its submit where it is asynchronous only."""
    body = {"req_key": req_key, **REQUESTS[req_key], **changes}
    sent = {name: value for name, value in body.items() if value is not None}
    if "process" in OPERATIONS[req_key].actions:
        answer: dict[str, Any] = simulator.call(sent).json()
    else:
        answer = simulator.call(sent, query=SUBMIT).json()
    return answer


def pictures(simulator: Running, req_key: str, **changes: Any) -> list[bytes]:
    """All pictures of an answer."""
    answer = ask(simulator, req_key, return_url=True, **changes)
    assert answer["code"] == 10000, answer
    data = answer["data"]
    if "task_id" in data:
        data = simulator.wait_for(req_key, data["task_id"])
    return [requests.get(url, timeout=30).content for url in data["image_urls"]]


def inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_every_registered_operation_is_simulated() -> None:
    assert REGISTERED.keys() == OPERATIONS.keys() == REQUESTS.keys()


@pytest.mark.parametrize("req_key", REGISTERED)
def test_client_and_provider_understand_an_operation_alike(req_key: str) -> None:
    """Their tables were written separately, so that a mistake in one shows."""
    registered, simulated = REGISTERED[req_key], OPERATIONS[req_key]
    action = {"sync": "process", "async": "submit"}
    assert {action[mode] for mode in registered.modes} == simulated.actions
    rule = simulated.images or InputRule(least=0, most=0)
    images = registered.images
    assert (images.least, images.most or 0) == (rule.least, rule.most % NO_LIMIT)
    if simulated.images:
        assert ("bytes" in images.forms) == rule.by_bytes
        assert (images.max_bytes, images.max_ratio) == (rule.max_bytes, rule.max_ratio)
        assert (images.min_side or 1, images.max_side) == rule.sides
    prompt = registered.prompt
    assert (prompt.limit or NO_LIMIT if prompt else None) == simulated.prompt_limit
    seed = registered.seed
    assert (seed.default if seed else None) == simulated.seed


@pytest.mark.parametrize("req_key", OPERATIONS)
def test_an_operation_answers_to_the_actions_that_it_knows(
    simulator: Running, req_key: str
) -> None:
    body = {"req_key": req_key, **REQUESTS[req_key]}
    by_process = simulator.call(body).json()["code"]
    by_submit = simulator.call(body, query=SUBMIT).json()["code"]

    actions = OPERATIONS[req_key].actions
    assert (by_process == 10000) == ("process" in actions)
    assert (by_submit == 10000) == ("submit" in actions)
    assert {by_process, by_submit} <= {10000, 50204}


@pytest.mark.parametrize(
    ("req_key", "changes", "field"),
    [
        ("jimeng_t2i_v40", {"scale": 50}, "scale"),
        ("jimeng_t2i_v40", {"size": 512 * 512}, "size"),
        ("jimeng_t2i_v40", {"force_single": 1}, "force_single"),
        ("jimeng_t2i_v40", {"width": 4096, "height": 4097}, "width * height"),
        (
            "jimeng_t2i_v40",
            {"width": 4000, "height": 1000, "max_ratio": 3},
            "width / height",
        ),
        ("jimeng_t2i_v40", {"prompt": "x" * 801}, "prompt"),
        ("jimeng_seedream46_cvtob", {"scale": 0.5}, "scale"),
        ("jimeng_i2i_v30", {"width": 2017}, "width"),
        ("jimeng_i2i_v30", {"width": None}, "width and height"),
        ("jimeng_image2image_dream_inpaint", {"seed": "x"}, "seed"),
        ("jimeng_i2i_seed3_tilesr_cvtob", {"resolution": "2k"}, "resolution"),
        ("jimeng_i2i_seed3_tilesr_cvtob", {"scale": 101}, "scale"),
        ("jimeng_high_aes_general_v21_L", {"width": 1024}, "width"),
        ("high_aes_general_v30l_zt2i", {"scale": 0.5}, "scale"),
        ("seededit_v3.0", {"scale": 2.5}, "scale"),
        ("byteedit_v2.0", {"negative_prompt": 1}, "negative_prompt"),
        ("high_aes_general_v20_L", {"ddim_steps": 51}, "ddim_steps"),
        ("high_aes_general_v21_L", {"sr_seed": -2}, "sr_seed"),
        ("high_aes_ip_v20", {"ddim_steps": 201}, "ddim_steps"),
        ("lens_nnsr2_pic_common", {"model_quality": "best"}, "model_quality"),
        ("lens_nnsr2_pic_common", {"result_format": 2}, "result_format"),
    ],
)
def test_a_mistake_is_named(
    simulator: Running, req_key: str, changes: dict[str, Any], field: str
) -> None:
    answer = ask(simulator, req_key, **changes)

    assert answer["code"] == 50200
    assert answer["message"].startswith(f"{field} must ")


@pytest.mark.parametrize(
    ("req_key", "changes"),
    [
        ("jimeng_t2i_v40", {"image_urls": [URL] * 11}),
        (
            "jimeng_t2i_v40",
            {"image_urls": None, "binary_data_base64": [inline(make_png())]},
        ),
        ("jimeng_seedream46_cvtob", {"image_urls": [URL] * 15}),
        ("jimeng_i2i_v30", {"image_urls": None}),
        ("jimeng_i2i_v30", {"image_urls": [URL, URL]}),
        ("jimeng_i2i_v30", {"binary_data_base64": [inline(make_png())]}),
        (
            "jimeng_i2i_v30",
            {"image_urls": None, "binary_data_base64": [inline(make_png(64, 20))]},
        ),
        (
            "jimeng_i2i_v30",
            {"image_urls": None, "binary_data_base64": [inline(make_png(kind="GIF"))]},
        ),
        ("jimeng_image2image_dream_inpaint", {"image_urls": [URL]}),
        (
            "lens_nnsr2_pic_common",
            {"image_urls": None, "binary_data_base64": [inline(make_png(255, 300))]},
        ),
    ],
)
def test_wrong_input_images_are_refused_without_a_reason(
    simulator: Running, req_key: str, changes: dict[str, Any]
) -> None:
    answer = ask(simulator, req_key, **changes)

    assert answer["code"] == 50215
    assert answer["message"] == "Input invalid for this service."


def test_bytes_win_over_urls_where_the_documentation_says_so(
    simulator: Running,
) -> None:
    both = {"binary_data_base64": [inline(make_png(256, 256))]}

    assert ask(simulator, "high_aes_ip_v20", **both)["code"] == 10000
    assert ask(simulator, "lens_nnsr2_pic_common", **both)["code"] == 10000
    assert ask(simulator, "seededit_v3.0", **both)["code"] == 50215


@pytest.mark.parametrize(
    ("prompt", "inputs", "count"),
    [
        ("four images of a cat", 0, 4),
        ("a set of 3 pictures", 0, 3),
        ("两张海报", 0, 2),
        ("生成6张图", 0, 6),
        ("99 images", 0, 15),
        ("99 images", 10, 5),
    ],
)
def test_a_group_has_as_many_images_as_the_prompt_says(
    quick_simulator: Running, prompt: str, inputs: int, count: int
) -> None:
    images = [URL] * inputs
    answer = pictures(
        quick_simulator, "jimeng_t2i_v40", prompt=prompt, image_urls=images
    )

    assert len(answer) == len(set(answer)) == count
    assert quick_simulator.lines()[-1]["images"] == count


def test_force_single_makes_one_image_of_any_prompt(simulator: Running) -> None:
    single = pictures(
        simulator, "jimeng_t2i_v40", prompt="four images", force_single=True
    )

    assert len(single) == 1


def test_without_a_number_in_the_prompt_the_request_decides(
    quick_simulator: Running,
) -> None:
    def count(prompt: str) -> int:
        req_key = "jimeng_seedream46_cvtob"
        return len(pictures(quick_simulator, req_key, prompt=prompt, image_urls=None))

    counts = [count(f"a cat {number}") for number in range(12)]
    again = count("a cat 0")

    assert set(counts) == {1, 2, 3, 4}
    assert counts[0] == again


@pytest.mark.parametrize(
    ("req_key", "changes", "kind"),
    [
        ("jimeng_t2i_v31", {}, "JPEG"),
        ("jimeng_t2i_v40", {"force_single": True}, "PNG"),
        ("jimeng_i2i_seed3_tilesr_cvtob", {}, "PNG"),
        ("lens_nnsr2_pic_common", {}, "PNG"),
        ("lens_nnsr2_pic_common", {"result_format": 1}, "JPEG"),
    ],
)
def test_a_picture_has_the_format_of_its_operation(
    simulator: Running, req_key: str, changes: dict[str, Any], kind: str
) -> None:
    (picture,) = pictures(simulator, req_key, **changes)

    assert Image.open(io.BytesIO(picture)).format == kind


def test_jimeng_21_tells_the_seed_that_it_drew(simulator: Running) -> None:
    req_key = "jimeng_high_aes_general_v21_L"

    def told(**changes: Any) -> int:
        answer = ask(simulator, req_key, **changes)
        seed: int = answer["data"]["infer_ctx"]["params"]["seed"]
        return seed

    assert told(seed=7) == 7
    drawn = ask(simulator, req_key, return_url=True, seed=-1)["data"]
    assert told(seed=-1) != told(seed=-1)
    (again,) = pictures(simulator, req_key, seed=drawn["infer_ctx"]["params"]["seed"])
    assert requests.get(drawn["image_urls"][0], timeout=30).content == again


def test_an_inpainting_has_a_seed_of_its_own_by_default(simulator: Running) -> None:
    req_key = "jimeng_image2image_dream_inpaint"

    assert pictures(simulator, req_key) == pictures(simulator, req_key, seed=101)
    assert pictures(simulator, req_key) != pictures(simulator, req_key, seed=-1)


def test_a_key_without_seed_draws_anew_each_time(simulator: Running) -> None:
    req_key = "jimeng_t2i_v40"
    one, other = (
        pictures(simulator, req_key, force_single=True, seed=7) for _ in range(2)
    )

    assert one != other
