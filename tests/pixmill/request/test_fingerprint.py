"""Job keys and seeds: what makes two requests the same, for ever."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.planning.jobs import Job
from pixmill.request.canonical_json import canonical_json, json_text
from pixmill.request.fingerprint import (
    RequestShape,
    request_shape,
    row_seeds,
    url_list,
    without_params,
)
from pixmill.request.model import Request
from pixmill.request.operations import OPERATIONS
from tests.golden.regenerate import (
    CASES,
    OPERATION_PARAMS,
    key_of,
    operation_cases,
    operation_key,
    seed_of,
)

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((FOLDER / "keys.json").read_text(encoding="utf-8"))
OPERATION_GOLDEN = json.loads(
    (FOLDER / "operation_keys.json").read_text(encoding="utf-8")
)
REQ_KEY = "high_aes_scheduler_svr_controlnet_v2.0"
URL = url_list(["https://images.example.com/cat.jpg"])


def shape(**params: Any) -> RequestShape:
    return request_shape(Request(req_key=REQ_KEY, params=params))


def key(prompt: str = "a cat", seed: int = 1, image: str = URL, **params: Any) -> str:
    return shape(**params).job_key(image, json_text(prompt), seed)


@pytest.mark.parametrize(
    ("case", "golden"), list(zip(CASES, GOLDEN, strict=True)), ids=lambda _: ""
)
def test_keys_and_seeds_of_released_versions_never_change(
    case: dict[str, Any], golden: dict[str, Any]
) -> None:
    """C13: with another key everything would be paid for again."""
    assert {"key": key_of(case), "seed": seed_of(case)} == golden


@pytest.mark.parametrize(
    ("case", "golden"),
    list(zip(operation_cases(), OPERATION_GOLDEN, strict=True)),
    ids=lambda case: case["req_key"],
)
def test_keys_of_every_operation_never_change(
    case: dict[str, Any], golden: dict[str, Any]
) -> None:
    """C13."""
    found = {"req_key": case["req_key"], "key": operation_key(case)}
    assert found == golden


def test_every_operation_has_pinned_keys() -> None:
    assert {REQ_KEY, *OPERATION_PARAMS} == set(OPERATIONS)


def test_numbers_that_are_equal_make_equal_keys() -> None:
    assert key(scale=3) == key(scale=3.0)
    control = {"type": "depth", "binary_data_index": 0}
    assert key(controlnet_args=[{**control, "strength": 0.6}]) == key(
        controlnet_args=[{**control, "strength": 0.6000000000000001}]
    )


def test_a_parameter_at_its_default_makes_the_same_key_as_none() -> None:
    assert (
        key(scale=3, ddim_steps=16, use_rephraser=True, logo_info={"add_logo": False})
        == key()
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a dog"},
        {"seed": 2},
        {"image": url_list(["https://images.example.com/dog.jpg"])},
        {"scale": 3.1},
        {"ddim_steps": 17},
        {"use_rephraser": False},
        {"model_version": "other"},
        {"controlnet_args": [{"type": "canny", "strength": 0.6}]},
        {"controlnet_args": [{"type": "depth", "strength": 0.7}]},
        {"logo_info": {"add_logo": True}},
        {"use_sr": False},
    ],
    ids=str,
)
def test_whatever_changes_the_image_changes_the_key(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


def test_how_the_answer_is_delivered_is_not_in_the_key() -> None:
    assert key(return_url=False) == key(return_url=True)


def test_what_is_sent_is_what_was_hashed() -> None:
    """The wire carries the very numbers and texts of the key."""
    job = Job(
        "key",
        1,
        "",
        "",
        REQ_KEY,
        shape(scale=3.0).head(URL, json_text('a "quoted" 猫')),
        7,
    )
    body = json.loads(job.payload())
    assert body["scale"] == 3
    assert isinstance(body["scale"], int)
    assert body["prompt"] == 'a "quoted" 猫'
    assert body["seed"] == 7
    assert body["image_urls"] == ["https://images.example.com/cat.jpg"]
    assert body["req_key"] == REQ_KEY
    assert body["controlnet_args"] == [
        {"type": "depth", "strength": 0.6, "binary_data_index": 0}
    ]


def test_ignored_query_parameters_are_dropped_and_nothing_else() -> None:
    url = "https://images.example.com/a.jpg?X-Sig=abc&w=512&X-Date=1"
    assert (
        without_params(url, frozenset({"X-Sig", "X-Date"}))
        == "https://images.example.com/a.jpg?w=512"
    )
    assert without_params(url, frozenset({"other"})) == url


@given(st.integers(0, 2**31 - 1), st.text(), st.text(), st.integers(0, 50))
def test_a_seed_is_a_number_that_the_provider_takes(
    base: int, image: str, prompt: str, replicate: int
) -> None:
    try:
        (image + prompt).encode()
    except UnicodeEncodeError:  # lone surrogates are invalid rows and get no seed
        return
    (seed,) = row_seeds(base, [image], [prompt], replicate)
    assert 0 <= seed < 2**31
    assert [seed] == row_seeds(base, [image], [prompt], replicate)


def test_equal_rows_share_a_seed_and_replicates_do_not() -> None:
    first, again, other = row_seeds(7, [URL, URL, URL], ["a cat", "a cat", "a dog"], 0)
    assert first == again != other
    assert row_seeds(7, [URL], ["a cat"], 1) != [first]
    assert row_seeds(8, [URL], ["a cat"], 0) != [first]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
        ),
    )
)
def test_canonical_json_is_stable_under_reading_back(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
