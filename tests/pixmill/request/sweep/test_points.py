"""Points of a sweep: how many there are, in which order, and ids that stay when the sweep grows."""

import math
from hashlib import sha256
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pixmill.request.canonical_json import canonical_json
from pixmill.request.fingerprint import request_shape
from pixmill.request.model import Request, Sweep
from pixmill.request.sweep import SweepPoints, axis_column, make_points

REQUEST = Request(prompt="{text} {style} {mood}", params={"scale": 5})


def made(
    *groups: dict[str, Any], request: Request = REQUEST, **constraints: Any
) -> SweepPoints:
    return make_points(Sweep.model_validate({"groups": groups, **constraints}), request)


def ids(sweep: SweepPoints) -> list[str]:
    return [point.id for point in sweep.points]


def values(sweep: SweepPoints) -> list[tuple[Any, ...]]:
    return [tuple(point.values.values()) for point in sweep.points]


def ids_by_values(sweep: SweepPoints) -> dict[str, str]:
    """The id of each point by its values, whatever the order of its axes."""
    return {canonical_json(point.values): point.id for point in sweep.points}


AXES: dict[str, st.SearchStrategy[Any]] = {
    "scale": st.integers(2, 60).map(lambda half: half / 2),
    "ddim_steps": st.integers(1, 50),
    "use_rephraser": st.booleans(),
    "use_sr": st.none() | st.booleans(),
    "controlnet_args.0.strength": st.integers(1, 100).map(
        lambda hundredth: hundredth / 100
    ),
    "controlnet_args.0.type": st.sampled_from(["canny", "depth", "pose"]),
    "logo_info.position": st.integers(0, 3),
    "style": st.text("abcäö ", max_size=4) | st.integers(0, 9),
    "mood": st.sampled_from(["calm", "wild", ""]),
    "req_key": st.sampled_from([REQUEST.req_key]),
}
LISTS = {
    path: st.lists(each, min_size=1, max_size=4, unique_by=canonical_json)
    for path, each in AXES.items()
}
GRIDS = st.lists(
    st.sampled_from(sorted(AXES)), min_size=1, max_size=4, unique=True
).flatmap(lambda paths: st.fixed_dictionaries({path: LISTS[path] for path in paths}))


def test_without_groups_there_is_the_plain_request() -> None:
    sweep = made()
    assert sweep.points == (("base", {}, {}),)
    assert sweep.axes == sweep.row_conditions == ()
    assert sweep.params_at(sweep.points[0], {"scale": 3}) == {"scale": 3}


@given(GRIDS)
def test_a_grid_is_the_product_of_its_axes_the_last_one_fastest(
    grid: dict[str, list[Any]],
) -> None:
    sweep = made({"grid": grid})
    assert len(sweep.points) == math.prod(map(len, grid.values()))
    assert len(set(ids(sweep))) == len(sweep.points)
    assert values(sweep) == list(product(*grid.values()))
    assert [axis.path for axis in sweep.axes] == list(grid)
    assert [[value for _, value in axis.values] for axis in sweep.axes] == list(
        grid.values()
    )


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_zip_goes_through_its_axes_in_step(length: int, steps: int) -> None:
    scales = [1 + at / 2 for at in range(length)]
    zipped = {"scale": scales, "ddim_steps": [1 + at % steps for at in range(length)]}
    assert values(made({"zip": zipped})) == list(zip(*zipped.values(), strict=True))


@given(GRIDS)
def test_groups_multiply_the_first_one_slowest(grid: dict[str, list[Any]]) -> None:
    first, *others = grid.items()
    assume(others)
    split = made({"grid": dict([first])}, {"grid": dict(others)})
    assert values(split) == values(made({"grid": grid}))
    assert ids(split) == ids(made({"grid": grid}))


def test_a_list_is_its_points_and_an_axis_left_out_is_at_its_default() -> None:
    sweep = made(
        {
            "list": [
                {},
                {"scale": 4, "ddim_steps": 20},
                {"ddim_steps": 30},
                {"scale": 5.0},
            ]
        }
    )
    assert values(sweep) == [(5, 16), (4, 20), (5, 30)]
    assert ids(sweep)[0] == "base"


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_random_points_stay_when_there_are_more_of_them_and_when_an_axis_comes(
    n: int, more: int, seed: int
) -> None:
    scale, steps = {"uniform": [1, 30]}, {"randint": [1, 50]}
    few = made({"random": {"n": n, "seed": seed, "scale": scale}})
    many = made({"random": {"n": n + more, "seed": seed, "scale": scale}})
    wide = made({"random": {"n": n, "seed": seed, "ddim_steps": steps, "scale": scale}})
    assert ids(many)[: len(few.points)] == ids(few)
    assert [point.values["scale"] for point in wide.points] == [
        point.values["scale"] for point in few.points
    ]


def test_equal_points_are_one() -> None:
    assert values(made({"grid": {"scale": [3, 3.0, 2], "ddim_steps": [16]}})) == [
        (3, 16),
        (2, 16),
    ]
    assert (
        len(made({"random": {"n": 200, "style": ["a", "b"], "mood": ["c"]}}).points)
        == 2
    )


@given(GRIDS, st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_the_order_of_axes_groups_and_values(
    grid: dict[str, list[Any]], random: Any
) -> None:
    shuffled = {
        path: random.sample(each, len(each))
        for path, each in random.sample(list(grid.items()), len(grid))
    }
    again = made(*({"grid": {path: each}} for path, each in shuffled.items()))
    assert ids_by_values(again) == ids_by_values(made({"grid": grid}))


@given(GRIDS, st.data())
def test_ids_stay_when_a_value_or_a_label_or_a_constraint_is_added(
    grid: dict[str, list[Any]], data: Any
) -> None:
    before = made({"grid": grid})
    path = data.draw(st.sampled_from(sorted(grid)))
    grown = made({"grid": {**grid, path: [data.draw(AXES[path]), *grid[path]]}})
    assert ids_by_values(before).items() <= ids_by_values(grown).items()
    labelled = made(
        {
            "grid": {
                **grid,
                path: [
                    {"label": f"no. {at}", "value": one}
                    for at, one in enumerate(grid[path])
                ],
            }
        }
    )
    assert ids(labelled) == ids(before)
    assert labelled.axes[list(grid).index(path)].values[0].label == "no. 0"
    first = before.points[0].values[path]
    kept = made(
        {"grid": grid},
        only=[f"`{path}` {'is' if first is None else '=='} {canonical_json(first)}"],
    )
    assert ids_by_values(kept).items() <= ids_by_values(before).items()
    assert kept.points[0] == before.points[0]


DEFAULTS = {
    "scale": 5,
    "ddim_steps": 16,
    "use_sr": None,
    "controlnet_args.0.strength": 0.6,
    "req_key": REQUEST.req_key,
}


@given(GRIDS, st.sampled_from(sorted(DEFAULTS)))
def test_ids_stay_when_an_axis_is_added_at_its_default(
    grid: dict[str, list[Any]], path: str
) -> None:
    assume(path not in grid)
    assert ids(made({"grid": {**grid, path: [DEFAULTS[path]]}})) == ids(
        made({"grid": grid})
    )


def test_job_keys_stay_when_an_axis_is_added_at_its_default() -> None:
    plain = request_shape(REQUEST)
    for point in (
        sweep := made({"grid": {path: [value] for path, value in DEFAULTS.items()}})
    ).points:
        sent = sweep.request_at(point, REQUEST)
        assert request_shape(sent) == plain


def test_ids_of_released_versions_never_change() -> None:
    """With another id `per_job` seeds change, and everything is paid for again."""
    sweep = made(
        {
            "list": [
                {"style": "ink", "controlnet_args.0.strength": 0.1 + 0.2, "scale": 3.0}
            ]
        }
    )
    text = '{"controlnet_args.0.strength":0.3,"scale":3,"style":"ink"}'
    assert ids(sweep) == [sha256(text.encode()).hexdigest()[:12]] == ["fc4da07dded3"]


def test_what_a_plain_request_sends_is_no_difference() -> None:
    assert ids(
        made(
            {"grid": {"scale": [5], "ddim_steps": [16], "logo_info.add_logo": [False]}}
        )
    ) == ["base"]
    assert ids(made({"grid": {"scale": [3]}})) != ["base"]
    assert ids(made({"grid": {"style": [""]}})) != ["base"]


def test_values_are_typed_by_the_operation() -> None:
    grid = {
        "scale": ["2.5", 4.0],
        "use_rephraser": ["false"],
        "ddim_steps": [20.0],
        "style": ["7", 7],
    }
    assert values(made({"grid": grid}))[:2] == [
        (2.5, False, 20, "7"),
        (2.5, False, 20, 7),
    ]


def test_a_point_says_what_is_sent() -> None:
    sweep = made(
        {
            "grid": {
                "style": ["in ink"],
                "controlnet_args.0.strength": [0.8],
                "use_sr": [True],
                "mood": [0.50],
            }
        }
    )
    (point,) = sweep.points
    assert sweep.variables_at(point) == {"style": "in ink", "mood": "0.5"}
    sent = sweep.request_at(point, REQUEST)
    assert (sent.req_key, sent.prompt) == (REQUEST.req_key, REQUEST.prompt)
    assert sent.params["controlnet_args"] == [
        {"type": "depth", "strength": 0.8, "binary_data_index": 0}
    ]
    assert (sent.params["use_sr"], sent.params["scale"]) == (True, 5)
    assert "style" not in sent.params


def test_texts_go_into_the_prompt_in_one_normal_form() -> None:
    sweep = made({"grid": {"style": ["cafe\u0301", "caf\u00e9"]}})
    assert [sweep.variables_at(point) for point in sweep.points] == [
        {"style": "caf\u00e9"}
    ]


def test_axes_say_their_kind_column_and_labels() -> None:
    grid = {
        "controlnet_args.0.strength": [0.2, {"label": "strong", "value": 0.8}],
        "style": ["ink"],
        "req_key": ["x"],
    }
    strength, style, req_key = made(
        {"grid": grid},
        request=Request(
            prompt="{style}",
            req_key="y",
            params={"controlnet_args": [{"strength": 0.5}]},
        ),
    ).axes
    assert (strength.kind, style.kind, req_key.kind) == ("field", "variable", "req_key")
    assert strength.column == "param_controlnet_args_0_strength"
    assert strength.values == (("0.2", 0.2), ("strong", 0.8))


def test_equal_values_share_the_label_that_one_of_them_has() -> None:
    sweep = made(
        {
            "list": [
                {"style": "ink", "scale": 2},
                {"style": {"label": "Ink", "value": "ink"}, "scale": 3},
            ]
        }
    )
    assert [point.labels["style"] for point in sweep.points] == ["Ink", "Ink"]


def test_an_operation_that_nobody_knows_takes_any_field() -> None:
    request = Request(
        req_key="someone_elses_v1", params={"strength": 0.5, "parts": [{"weight": 1}]}
    )
    sweep = made(
        {
            "grid": {
                "strength": [0.5, 9],
                "parts.0.weight": [2],
                "colour.depth": ["high"],
            }
        },
        request=request,
    )
    sent = sweep.request_at(sweep.points[1], request)
    assert sent.params == {
        "strength": 9,
        "parts": [{"weight": 2}],
        "colour": {"depth": "high"},
    }


def test_constraints_over_axes_remove_points_and_values_of_axes() -> None:
    grid = {"scale": [2, 3, 4], "controlnet_args.0.strength": [0.2, 0.4]}
    sweep = made(
        {"grid": grid},
        exclude=["scale == 3", "scale > 3 and controlnet_args.0.strength > 0.3"],
    )
    assert values(sweep) == [(2, 0.2), (2, 0.4), (4, 0.2)]
    assert [value for _, value in sweep.axes[0].values] == [2, 4]
    both = made(
        {"grid": grid},
        only=["scale > 2", "controlnet_args.0.strength < 0.3"],
        exclude=["scale == 4"],
    )
    assert values(both) == [(3, 0.2)]


def test_constraints_over_columns_wait_for_the_rows() -> None:
    sweep = made(
        {"grid": {"scale": [2, 4]}},
        exclude=["scale > 3 and kind == 'cat'"],
        only=["kind != 'fish'", "scale < 9"],
    )
    assert len(sweep.points) == 2
    assert sweep.columns == {"kind"}
    excluded, only = sweep.row_conditions
    assert (excluded.keep_when, only.keep_when) == (False, True)
    assert (excluded.config_path, only.config_path) == (
        "sweep.exclude.0",
        "sweep.only.0",
    )
    cells = {"kind": pa.array(["cat", "dog"]), **sweep.cells_at(sweep.points[1])}
    assert excluded.condition.mask(cells, 2).tolist() == [True, False]


def test_an_axis_of_mixed_values_is_compared_as_text_with_and_without_rows() -> None:
    group = {"grid": {"style": [1, "ink"]}}
    assert values(made(group, only=["style == 'ink'"])) == [("ink",)]
    sweep = made(group)
    assert [sweep.cells_at(point) for point in sweep.points] == [
        {"style": "1"},
        {"style": "ink"},
    ]


@pytest.mark.parametrize(
    ("mixed", "expected"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([1, None], [1, None]),
        ([True, 1], ["true", "1"]),
        (["a", 0.5], ["a", "0.5"]),
        ([2**63], [str(2**63)]),
    ],
)
def test_the_column_of_an_axis_has_one_type(
    mixed: list[Any], expected: list[Any]
) -> None:
    assert axis_column(mixed).to_pylist() == expected


def test_a_hundred_thousand_points_are_no_matter() -> None:
    ranges = {
        "scale": {"linspace": [1, 30, 100]},
        "sr_scale": {"linspace": [1, 30, 100]},
        "style": list("abcdefghij"),
    }
    sweep = made({"grid": ranges}, exclude=["scale == 1 and style in ['a', 'b']"])
    assert len(sweep.points) == 100_000 - 200
