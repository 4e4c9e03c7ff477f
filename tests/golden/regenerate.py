"""The requests whose keys and seeds are pinned, and how the JSON files beside this one came to be.

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
from pixmill.request.model import Request
from pixmill.request.registry import operation_of
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


OPERATION_PARAMS: dict[str, list[dict[str, Any]]] = {
    "jimeng_t2i_v40": [
        {},
        {"force_single": False, "size": 1024 * 1024},
        {"width": 2304, "height": 1728, "scale": 0.25},
        {"min_ratio": 0.5, "max_ratio": 2.0},
    ],
    "jimeng_seedream46_cvtob": [{}, {"scale": 80, "width": 3024, "height": 1296}],
    "jimeng_i2i_v30": [{}, {"scale": 0.8, "width": 1024, "height": 1536}],
    "jimeng_t2i_v31": [
        {},
        {"width": 1472, "height": 1104, "use_pre_llm": False},
        {"logo_info": {"add_logo": True}},
        {"aigc_meta": {"producer_id": "p", "propagate_id": "q"}},
    ],
    "jimeng_t2i_v30": [{}, {"width": 2048, "height": 2048}],
    "seededit_v3.0": [{}, {"scale": 0.7}],
    "high_aes_general_v30l_zt2i": [{}, {"scale": 4, "use_pre_llm": True}],
    "jimeng_high_aes_general_v21_L": [{}, {"width": 768, "use_sr": False}],
    "jimeng_image2image_dream_inpaint": [{}],
    "byteedit_v2.0": [{}, {"negative_prompt": "text", "scale": 1}],
    "high_aes_general_v20_L": [
        {},
        {"req_schedule_conf": "general_v20_9B_rephraser", "ddim_steps": 20},
    ],
    "high_aes_general_v21_L": [{}, {"llm_seed": 5, "sr_seed": 6, "is_only_sr": True}],
    "high_aes_ip_v20": [{}, {"ref_ip_weight": 0.5, "desc_pushback": False}],
    "lens_nnsr2_pic_common": [{}, {"model_quality": "HQ", "result_format": 1}],
    "jimeng_i2i_seed3_tilesr_cvtob": [{}, {"resolution": "8k", "scale": 10}],
}
"""Parameters of each registered operation, without those of the first release."""


def operation_cases() -> list[dict[str, Any]]:
    """Return the requests of `OPERATION_PARAMS`: with as few images as may be, and with one."""
    cases = []
    for req_key, given in OPERATION_PARAMS.items():
        operation = operation_of(req_key)
        least = operation.images.least
        counts = {least, max(least, min(1, operation.images.most or 0))}
        for params, count in product(given, sorted(counts)):
            urls = [f"https://images.example.com/{at}.png" for at in range(count)]
            cases.append(
                {
                    "req_key": req_key,
                    "params": params,
                    "image": url_list(urls),
                    "prompt": "一只猫, 水彩" if operation.prompt else "",
                    # A replicate where there is no seed.
                    "number": 7 if operation.seed else 1,
                }
            )
    return cases


def operation_key(case: dict[str, Any]) -> str:
    """The job key of a case of `operation_cases`."""
    shape = request_shape(Request(req_key=case["req_key"], params=case["params"]))
    return shape.job_key(case["image"], json_text(case["prompt"]), case["number"])


def seed_of(case: dict[str, Any]) -> int:
    """The `per_row` seed of a case."""
    return row_seeds(case["base"], [case["image"]], [to_nfc(case["prompt"])], 0)[0]


def key_of(case: dict[str, Any]) -> str:
    """The job key of a case with its own seed."""
    shape = request_shape(Request(req_key=REQ_KEY, params=case["params"]))
    return shape.job_key(
        case["image"], json_text(to_nfc(case["prompt"])), seed_of(case)
    )


if __name__ == "__main__":
    pinned = [{"key": key_of(case), "seed": seed_of(case)} for case in CASES]
    Path(__file__).with_name("keys.json").write_text(
        json.dumps(pinned, indent=0) + "\n"
    )
    by_operation = [
        {"req_key": case["req_key"], "key": operation_key(case)}
        for case in operation_cases()
    ]
    Path(__file__).with_name("operation_keys.json").write_text(
        json.dumps(by_operation, indent=0) + "\n"
    )
