"""What is wrong with a sweep is said before any call, all at once, each with its place in the config."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.errors import ConfigError
from pixmill.request.model import Request, Sweep
from pixmill.request.sweep import make_points, read_sweep

KNOWN = "high_aes_scheduler_svr_controlnet_v2.0"
REQUEST = Request(prompt="{text} {style}")


def mistakes(
    *groups: Any, request: Request = REQUEST, **constraints: Any
) -> list[tuple[str, str]]:
    sweep = Sweep.model_validate({"groups": groups, **constraints})
    return read_sweep(sweep, request).mistakes


@pytest.mark.parametrize(
    ("group", "path", "says"),
    [
        (
            {"grid": {"scale": [2, 31, 40]}},
            "grid.scale",
            "31, 40: must be at most 30",
        ),
        (
            {"grid": {"scale": {"range": [0, 5, 1]}}},
            "grid.scale",
            "0: must be ",
        ),
        (
            {"grid": {"ddim_steps": [1.5]}},
            "grid.ddim_steps",
            "1.5: must be a whole number",
        ),
        (
            {"grid": {"use_rephraser": ["maybe"]}},
            "grid.use_rephraser",
            "must be true or false",
        ),
        ({"grid": {"scale": [None]}}, "grid.scale", "None"),
        (
            {"grid": {"controlnet_args.0.type": ["dept"]}},
            "grid.controlnet_args.0.type",
            "'depth', 'canny' or 'pose'",
        ),
        (
            {"grid": {"controlnet_args.0.strength": [0]}},
            "grid.controlnet_args.0.strength",
            "greater than 0",
        ),
        (
            {"grid": {"opacity": [0.5]}},
            "grid.opacity",
            "did you mean `logo_info.opacity`?",
        ),
        ({"grid": {"scal": [2]}}, "grid.scal", "did you mean `scale`?"),
        ({"grid": {"steps": [2]}}, "grid.steps", "did you mean `ddim_steps`?"),
        ({"grid": {"styl": [2]}}, "grid.styl", "did you mean `style`?"),
        (
            {"grid": {"logo_info.positon": [2]}},
            "grid.logo_info.positon",
            "did you mean `logo_info.position`?",
        ),
        (
            {"grid": {"controlnet_args.1.strength": [1]}},
            "grid.controlnet_args.1.strength",
            "past the end",
        ),
        (
            {"grid": {"controlnet_args.00.strength": [1]}},
            "grid.controlnet_args.00.strength",
            "neither",
        ),
        (
            {"grid": {"controlnet_args": [1]}},
            "grid.controlnet_args",
            "not a single value",
        ),
        ({"grid": {"logo_info": [1]}}, "grid.logo_info", "not a single value"),
        ({"grid": {"seed": [1, 2]}}, "grid.seed", "seed.replicates"),
        ({"grid": {"prompt": ["a"]}}, "grid.prompt", "request.prompt"),
        ({"grid": {"image_urls": ["a"]}}, "grid.image_urls", "the row sets it"),
        (
            {"grid": {"binary_data_base64": ["a"]}},
            "grid.binary_data_base64",
            "the row sets it",
        ),
        ({"grid": {"req_key": ["a b"]}}, "grid.req_key", "'a b'"),
        ({"grid": {1: [2]}}, "grid.1", "name of an axis"),
        ({"grid": {"style": [None]}}, "grid.style", "must be text"),
        ({"grid": {"style": [["a"]]}}, "grid.style", "single text"),
        ({"grid": {"style": [float("inf")]}}, "grid.style", "inf"),
        ({"grid": {"style": ["\ud800"]}}, "grid.style", "surrogates"),
        ({"grid": {"style": []}}, "grid.style", "no values"),
        ({"grid": {"style": "ink"}}, "grid.style", "must be a list"),
        ({"grid": {"scale": {"uniform": [1, 2]}}}, "grid.scale", "`random` groups"),
        ({"grid": {"scale": {"range": [1, 2, 0]}}}, "grid.scale", "step is 0"),
        ({"grid": {}}, "grid", "no axis"),
        ({"grid": [1]}, "grid", "must map axes"),
        (
            {"zip": {"scale": [1, 2], "ddim_steps": [1]}},
            "zip",
            "scale has 2, ddim_steps has 1",
        ),
        (
            {"zip": {"scale": [1, 99], "ddim_steps": [1]}},
            "zip",
            "scale has 2, ddim_steps has 1",
        ),
        ({"list": []}, "list", "no axis"),
        ({"list": [{}]}, "list", "no axis"),
        ({"list": [3]}, "list", "list of points"),
        ({"list": {"scale": [3]}}, "list", "list of points"),
        (
            {"list": [{"scale": 3}, {"scale": 31}]},
            "list.1.scale",
            "31: must be",
        ),
        (
            {"list": [{"scale": 3}, {"scale": 3, "sclae": 1}]},
            "list.1.sclae",
            "did you mean `scale`",
        ),
        (
            {"list": [{"scale": 3}, {"style": "ink"}]},
            "list.0.style",
            "is missing, and has no default",
        ),
        ({"random": {"scale": [1]}}, "random", "n must be a whole number"),
        ({"random": {"n": 0, "scale": [1]}}, "random", "at least 1"),
        ({"random": {"n": 10**7, "scale": [1]}}, "random", "1,000,000 at most"),
        ({"random": {"n": 2, "seed": "x", "scale": [1]}}, "random", "seed must be"),
        ({"random": {"n": 2}}, "random", "no axis"),
        ({"random": {"n": 2, 3: [1, 2]}}, "random.3", "must be the name of an axis"),
        ({"grid": {3: [1, 2]}}, "grid.3", "must be the name of an axis"),
        (
            {"random": {"n": 2, "scale": {"normal": [1, 2]}}},
            "random.scale",
            "unknown kind of values 'normal'",
        ),
        (
            {"random": {"n": 1, "scale": {"uniform": [1, 31]}}},
            "random.scale",
            "31: must be",
        ),
        (
            {"random": {"n": 1, "scale": {"choice": [2, 3, 4, 31]}}},
            "random.scale",
            "31: must be",
        ),
        (
            {"random": {"n": 2, "ddim_steps": {"uniform": [1, 9]}}},
            "random.ddim_steps",
            "whole number",
        ),
    ],
    ids=str,
)
def test_each_mistake_has_its_place(group: Any, path: str, says: str) -> None:
    found = dict(mistakes(group))
    assert says in found[f"sweep.groups.0.{path}"]
    with pytest.raises(ConfigError, match=r"sweep\.groups\.0"):
        make_points(Sweep.model_validate({"groups": [group]}), REQUEST)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ({"gird": {"scale": [1]}}, "did you mean `grid`?"),
        (
            {"grid": {"scale": [1]}, "zip": {"ddim_steps": [1]}},
            "write a group for each kind",
        ),
        ({}, "must be of one kind"),
    ],
)
def test_a_group_has_one_kind(group: Any, says: str) -> None:
    ((path, message),) = mistakes(group)
    assert path == "sweep.groups.0"
    assert says in message


def test_all_mistakes_are_said_at_once() -> None:
    found = mistakes(
        {"grid": {"scale": [31, 0.5, 3], "scal": [2]}},
        {"zip": {"ddim_steps": [99, 2], "use_rephraser": [True]}},
        {"grid": {"scale": [4]}},
        exclude=["scale = 3", "scale > 1"],
        only=["("],
    )
    assert [path for path, _ in found] == [
        "sweep.groups.0.grid.scale",
        "sweep.groups.0.grid.scale",
        "sweep.groups.0.grid.scal",
        "sweep.groups.1.zip.ddim_steps",
        "sweep.groups.1.zip",
        "sweep.groups.2.grid.scale",
        "sweep.exclude.0",
        "sweep.only.0",
    ]
    with pytest.raises(ConfigError) as caught:
        make_points(
            Sweep(groups=({"grid": {"scale": [31], "scal": [2]}},), only=("(",)),
            REQUEST,
        )
    assert str(caught.value).count("sweep.") == 3


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        (
            [{"grid": {"scale": [1]}}, {"zip": {"scale": [2]}}],
            "already swept in sweep.groups.0.grid.scale",
        ),
        (
            [{"grid": {"a_b": [1]}}, {"list": [{"a.b": 1}]}],
            "share the column param_a_b",
        ),
        ([{"grid": {"a": [1]}}, {"grid": {"a.b": [2]}}], "overlaps a"),
        ([{"grid": {"a.b": [1]}}, {"random": {"n": 1, "a": [2]}}], "overlaps a.b"),
    ],
)
def test_two_axes_never_set_the_same(groups: list[Any], says: str) -> None:
    ((path, message),) = mistakes(*groups, request=Request(req_key="someone_elses_v1"))
    assert path.startswith("sweep.groups.1")
    assert says in message


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("c", "not a single value"),
        ("c.1.x", "past the end"),
        ("c.00.x", "0, 1, 2"),
        ("d..e", "dotted path"),
        ("f.g", "leads"),
    ],
)
def test_fields_of_an_unknown_operation_need_a_place(path: str, says: str) -> None:
    request = Request(req_key="someone_elses_v1", params={"c": [{"x": 1}], "f": 1})
    ((_, message),) = mistakes({"grid": {path: [1]}}, request=request)
    assert says in message


def test_a_sweep_over_req_key_is_checked_point_by_point() -> None:
    request = Request(req_key="someone_elses_v1")
    assert not mistakes(
        {"grid": {"req_key": ["a", KNOWN], "scale": [30]}}, request=request
    )
    ((_, message),) = mistakes(
        {"grid": {"req_key": ["a", KNOWN], "scale": [31]}}, request=request
    )
    assert KNOWN in message
    assert "at most 30" in message


@pytest.mark.parametrize(
    ("constraints", "path", "says"),
    [
        ({"exclude": ["scale > 0"]}, "sweep", "no point remains"),
        ({"only": ["scale == 2", "scale == 3"]}, "sweep", "remove all 2"),
        ({"only": ["scale == 'big'"]}, "sweep.only.0", "scale is not text"),
        ({"exclude": ["scale"]}, "sweep.exclude.0", "neither true nor false"),
    ],
)
def test_constraints_that_leave_nothing_or_cannot_hold_are_mistakes(
    constraints: Any, path: str, says: str
) -> None:
    ((found, message),) = mistakes({"grid": {"scale": [2, 3]}}, **constraints)
    assert found == path
    assert says in message


def test_a_sweep_too_large_is_refused_before_it_is_built() -> None:
    thousand = {"linspace": [1, 30, 1000]}
    ((path, _),) = mistakes(
        {"grid": {"scale": thousand}},
        {"grid": {"sr_scale": thousand, "style": ["a", "b"]}},
    )
    assert path == "sweep.groups"
    ((path, _),) = mistakes(
        {"grid": {"scale": thousand, "sr_scale": thousand, "style": ["a", "b"]}}
    )
    assert path == "sweep.groups.0.grid"


def test_wrong_params_are_reported_before_the_sweep() -> None:
    """What an axis may be depends on them."""
    assert (
        mistakes({"grid": {"scal": [1]}}, request=Request(params={"scale": 99})) == []
    )


def test_a_broken_template_is_left_to_the_request() -> None:
    assert mistakes({"grid": {"scale": [1]}}, request=Request(prompt="{text")) == []


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.dates()
)
AXES = ["scale", "style", "req_key", "controlnet_args.0.strength"]
SERIES = ["range", "linspace", "logspace", "uniform", "loguniform", "randint", "choice"]
WORDS = st.sampled_from([*AXES, *SERIES, "n", "seed", "label", "value"])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | SCALARS, inner, max_size=3)
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(["grid", "zip", "list", "random"])


@given(
    st.lists(
        st.dictionaries(
            KINDS, ANYTHING | st.dictionaries(WORDS, ANYTHING, max_size=3), max_size=2
        ),
        max_size=3,
    )
)
def test_whatever_yaml_holds_is_a_sweep_or_a_mistake(groups: list[Any]) -> None:
    sweep = Sweep.model_validate({"groups": groups})
    points, found = read_sweep(sweep, REQUEST)
    assert all(path.startswith("sweep.") and message for path, message in found)
    # One of the two, and never neither.
    assert bool(found) == (points is None)
