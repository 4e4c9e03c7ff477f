"""The requests whose keys and seeds are pinned, and how `keys.json` beside this file came to be.

python tests/golden/regenerate.py        # only together with a new KEY_VERSION
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

from pixmill.request.canonical_json import json_text
from pixmill.request.fingerprint import (
    file_identity,
    request_shape,
    row_seeds,
    url_list,
)
from pixmill.text import to_nfc

REQ_KEY = "high_aes_scheduler_svr_controlnet_v2.0"
IMAGES = [
    url_list(["https://images.example.com/cat.jpg"]),
    url_list(["https://images.example.com/%E7%8C%AB.jpg?w=512&h=512"]),
    url_list(["https://images.example.com/猫.jpg"]),
    url_list(["https://a.example.com/1.png", "https://b.example.com/2.png"]),
    file_identity(["0" * 64]),
]
PROMPTS = ["a cat", "一只猫, 水彩", 'say "cat"\nthen\tpurr', "cafe\u0301", "🐈" * 40]
PARAMS: list[dict[str, Any]] = [
    {},
    {"scale": 7.5, "ddim_steps": 25},
    {"scale": 3.0, "use_rephraser": False},
    {
        "controlnet_args": [
            {"type": "canny", "strength": 0.6000000000000001, "binary_data_index": 0}
        ]
    },
    {
        "controlnet_args": [
            {"type": "depth", "strength": 1},
            {"type": "pose", "strength": 1e-3},
        ],
        "use_sr": True,
    },
    {"logo_info": {"add_logo": True, "logo_text_content": "©"}, "return_url": False},
    {"sr_seed": 5, "sr_strength": 0.4, "sr_scale": 3.5, "sr_steps": 10},
    {"model_version": "another"},
]
CASES = [
    {"image": image, "prompt": prompt, "params": params, "base": base}
    for (image, prompt, params), base in zip(
        product(IMAGES, PROMPTS, PARAMS), [7, 0, 2**31 - 1] * 67, strict=False
    )
]


def seed_of(case: dict[str, Any]) -> int:
    """The `per_row` seed of a case."""
    return row_seeds(case["base"], [case["image"]], [to_nfc(case["prompt"])], 0)[0]


def key_of(case: dict[str, Any]) -> str:
    """The job key of a case with its own seed."""
    shape = request_shape("CVProcess", REQ_KEY, case["params"])
    return shape.job_key(
        case["image"], json_text(to_nfc(case["prompt"])), seed_of(case)
    )


if __name__ == "__main__":
    pinned = [{"key": key_of(case), "seed": seed_of(case)} for case in CASES]
    Path(__file__).with_name("keys.json").write_text(
        json.dumps(pinned, indent=0) + "\n"
    )
