"""What a config asks of an operation that it does not do: one mistake, with its place, before anything is paid."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.errors import ConfigError

PROMPTS = {"prompt": "text"}
EDITS = {"image_url": "photo", "prompt": "text"}
FILES = {"image_file": "photo", "prompt": "text"}


def load(
    folder: Path, req_key: str, columns: dict[str, Any] | None, **sections: Any
) -> Config:
    source: dict[str, Any] = {"path": "pets.csv"}
    if columns is not None:
        source["columns"] = columns
    request = {"req_key": req_key, **sections.pop("request", {})}
    config = {"name": "pets", "input": source, "request": request, **sections}
    path = folder / "pets.yaml"
    path.write_text(yaml.safe_dump(config))
    return load_config(path)


@pytest.mark.parametrize(
    ("req_key", "columns", "sections", "mistake"),
    [
        # Images
        ("jimeng_t2i_v31", EDITS, {}, "input.columns.image_url: jimeng_t2i_v31 makes"),
        ("jimeng_t2i_v30", FILES, {}, "input.columns.image_file: jimeng_t2i_v30 makes"),
        (
            "jimeng_i2i_v30",
            PROMPTS,
            {},
            "input.columns: must map image_url or image_file: jimeng_i2i_v30 takes 1 image",
        ),
        (
            "seededit_v3.0",
            {**EDITS, "image_url": ["photo", "second"]},
            {},
            "names 2 columns, and seededit_v3.0 takes 1 image",
        ),
        (
            "jimeng_image2image_dream_inpaint",
            EDITS,
            {},
            "names 1 column, and jimeng_image2image_dream_inpaint takes the image and its mask",
        ),
        (
            "jimeng_t2i_v40",
            {**EDITS, "image_url": [f"photo{at}" for at in range(11)]},
            {},
            "names 11 columns, and jimeng_t2i_v40 takes 0 to 10 images",
        ),
        ("jimeng_t2i_v40", FILES, {}, "takes images as URLs only; map image_url"),
        # Prompt and seed
        (
            "jimeng_i2i_seed3_tilesr_cvtob",
            EDITS,
            {},
            "input.columns.prompt: jimeng_i2i_seed3_tilesr_cvtob takes no prompt",
        ),
        (
            "lens_nnsr2_pic_common",
            {"image_url": "photo"},
            {"request": {"prompt": "sharper"}},
            "request.prompt: lens_nnsr2_pic_common takes no prompt",
        ),
        (
            "jimeng_t2i_v31",
            {"width": "w", "height": "h"},
            {},
            "input.columns.prompt: is required unless request.prompt is a template",
        ),
        (
            "jimeng_seedream46_cvtob",
            {**PROMPTS, "seed": "s"},
            {"seed": {"policy": "column"}},
            "input.columns.seed: jimeng_seedream46_cvtob takes no seed",
        ),
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"params": {"seed": 7}}},
            "request.params.seed: jimeng_t2i_v40 takes no seed",
        ),
        # Mode
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"mode": "sync"}},
            "request.mode: is sync, but jimeng_t2i_v40 only works asynchronously",
        ),
        (
            "jimeng_high_aes_general_v21_L",
            PROMPTS,
            {"request": {"mode": "async"}},
            "request.mode: is async, but jimeng_high_aes_general_v21_L only works",
        ),
        # Fields
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"params": {"use_pre_llm": True}}},
            "request.params.use_pre_llm: unknown key",
        ),
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"params": {"scale": 50}}},
            "request.params.scale: must be at most 1",
        ),
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"params": {"scale": 0.333}}},
            "request.params.scale: must be a multiple of 0.01",
        ),
        (
            "jimeng_seedream46_cvtob",
            PROMPTS,
            {"request": {"params": {"scale": 0.5}}},
            "request.params.scale: must be a whole number",
        ),
        (
            "jimeng_t2i_v31",
            PROMPTS,
            {"request": {"params": {"width": 1024}}},
            "request.params.height: is missing: jimeng_t2i_v31 takes width and height",
        ),
        (
            "jimeng_t2i_v40",
            {**PROMPTS, "height": "h"},
            {},
            "request.params.width: is missing: jimeng_t2i_v40 takes width and height",
        ),
        (
            "jimeng_t2i_v31",
            PROMPTS,
            {"request": {"params": {"width": 4096, "height": 4096}}},
            "width × height is 16,777,216 (4096 × 4096) and must be 262,144 to 4,194,304",
        ),
        (
            "jimeng_t2i_v31",
            PROMPTS,
            {"request": {"params": {"width": 2048, "height": 512}}},
            "2048 × 512 is 4 times as long as it is short",
        ),
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"params": {"width": 4096, "height": 1024}}},
            "4096 ÷ 1024 is 4, and must be from min_ratio to max_ratio, 0.333 to 3",
        ),
        (
            "jimeng_t2i_v40",
            PROMPTS,
            {"request": {"params": {"min_ratio": 2, "max_ratio": 1}}},
            "min_ratio is 2 and larger than max_ratio, 1",
        ),
        (
            "jimeng_i2i_v30",
            EDITS,
            {"request": {"params": {"width": 2017, "height": 512}}},
            "request.params.width: must be at most 2016",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_config_that_does_not_fit_its_operation_is_one_clear_mistake(
    tmp_path: Path,
    req_key: str,
    columns: dict[str, Any],
    sections: dict[str, Any],
    mistake: str,
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, req_key, columns, **sections)
    assert mistake in str(raised.value)
    # A seed column that is mapped and not to be mapped says so in both places.
    mistakes = "2 mistakes" if "seed" in columns else "1 mistake"
    assert f"has {mistakes}:" in str(raised.value)


@pytest.mark.parametrize(
    ("req_key", "columns", "params"),
    [
        ("jimeng_t2i_v40", PROMPTS, {"width": 6198, "height": 2656}),
        ("jimeng_t2i_v40", {**EDITS, "image_url": ["a", "b", "c"]}, {}),
        ("jimeng_t2i_v40", PROMPTS, {"width": 4096, "height": 1024, "max_ratio": 4}),
        ("jimeng_seedream46_cvtob", PROMPTS, {"scale": 100, "force_single": False}),
        ("jimeng_t2i_v31", PROMPTS, {"width": 3024, "height": 1296}),
        (
            "jimeng_image2image_dream_inpaint",
            {"image_file": ["photo", "mask"], "prompt": "text"},
            {},
        ),
        ("lens_nnsr2_pic_common", {"image_file": "photo"}, {"model_quality": "HQ"}),
        ("jimeng_i2i_seed3_tilesr_cvtob", {"image_url": "photo"}, {}),
        ("jimeng_t2i_v31", {**PROMPTS, "width": "w", "height": "h"}, {}),
        # What nobody registered may be anything.
        ("some_new_key", PROMPTS, {"style": {"any": [1, 2]}}),
        ("some_new_key", {"image_url": "photo"}, {}),
    ],
)
def test_a_config_that_fits_its_operation_loads(
    tmp_path: Path, req_key: str, columns: dict[str, Any], params: dict[str, Any]
) -> None:
    assert load(tmp_path, req_key, columns, request={"params": params})


def test_all_that_does_not_fit_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(
            tmp_path,
            "jimeng_t2i_v31",
            EDITS,
            request={"mode": "sync", "params": {"scale": 3}},
        )
    for path in ("input.columns.image_url", "request.mode", "request.params.scale"):
        assert f"  {path}: " in str(raised.value)


def test_where_no_columns_are_mapped_the_operation_says_which_are_read(
    tmp_path: Path,
) -> None:
    read = {
        req_key: set(load(tmp_path, req_key, None).input.columns)
        for req_key in (
            "jimeng_t2i_v31",
            "lens_nnsr2_pic_common",
            "jimeng_i2i_v30",
            "some_new_key",
        )
    }
    assert read == {
        "jimeng_t2i_v31": {"prompt"},
        "lens_nnsr2_pic_common": {"image_url"},
        "jimeng_i2i_v30": {"image_url", "prompt"},
        "some_new_key": {"image_url", "prompt"},
    }


def swept(folder: Path, *groups: dict[str, Any], **changes: Any) -> Config:
    sweep = {"groups": list(groups)}
    columns = changes.pop("columns", PROMPTS)
    return load(folder, "jimeng_t2i_v31", columns, sweep=sweep, **changes)


def test_a_sweep_over_operations_checks_each_point_by_its_own_schema(
    tmp_path: Path,
) -> None:
    keys = ["jimeng_t2i_v40", "jimeng_seedream46_cvtob"]
    assert swept(tmp_path, {"zip": {"req_key": keys, "scale": [0.25, 80]}})
    with pytest.raises(ConfigError) as raised:
        swept(tmp_path, {"grid": {"req_key": keys, "scale": [0.25]}})
    said = str(raised.value)
    assert "'req_key': 'jimeng_seedream46_cvtob'" in said
    assert "scale: must be a whole number" in said


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        (
            {"request": {"params": {"use_pre_llm": False}}},
            "the point {'req_key': 'jimeng_t2i_v40'} can't be sent with req_key "
            "jimeng_t2i_v40: use_pre_llm: unknown field",
        ),
        (
            {"request": {"params": {"width": 512, "height": 512}}},
            "the point {'req_key': 'jimeng_t2i_v40'} can't be sent: width × height is",
        ),
        (
            {
                "columns": {**PROMPTS, "seed": "s"},
                "seed": {"policy": "column"},
            },
            "input.columns.seed: jimeng_t2i_v40 takes no seed",
        ),
        ({"columns": EDITS}, "input.columns.image_url: jimeng_t2i_v31 makes pictures"),
    ],
)
def test_what_one_operation_of_a_sweep_lacks_names_the_point_or_the_operation(
    tmp_path: Path, changes: dict[str, Any], mistake: str
) -> None:
    keys = ["jimeng_t2i_v31", "jimeng_t2i_v40"]
    with pytest.raises(ConfigError) as raised:
        swept(tmp_path, {"grid": {"req_key": keys}}, **changes)
    assert mistake in str(raised.value)


def test_sizes_of_a_sweep_are_checked_together_at_every_point(tmp_path: Path) -> None:
    sizes = {"zip": {"width": [1328, 4096], "height": [1328, 4096]}}
    with pytest.raises(ConfigError, match=r"'height': 4096, 'width': 4096.*16,777,216"):
        swept(tmp_path, sizes)
    assert swept(tmp_path, {"zip": {"width": [1328, 2048], "height": [1328, 2048]}})


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("strength", "controlnet_args.0.strength"),
        ("steps", "ddim_steps"),
        ("opacity", "logo_info.opacity"),
        ("scal", "scale"),
        ("sr_step", "sr_steps"),
    ],
)
def test_a_field_of_the_request_is_suggested_by_its_last_word_wherever_it_is_named(
    word: str, field: str
) -> None:
    source = {"path": "pets.csv", "columns": {"image_url": "photo", "prompt": "text"}}
    for override in (
        f"request.params.{word}=1",
        f"sweep.{word}=[1]",
        f"input.columns.{word}=x",
    ):
        with pytest.raises(ConfigError) as raised:
            load_config({"name": "pets", "input": source}, [override])
        assert f"did you mean `{field}`?" in str(raised.value), override
