"""Sweeps from config to dataset: every row meets every point and replicate, and growth pays for itself only."""

import json
import random
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.errors import ConfigError, TableError
from pixmill.planning.planner import make_plan
from tests.conftest import Project, Simulated, results, run_config

STRENGTH = "controlnet_args.0.strength"


@pytest.fixture
def swept(project: Project, simulated: Simulated) -> Project:
    """Twenty rows on a simulator's gateway, no images fetched."""
    project.use_simulator(simulated)
    project.write_rows(project.rows(20))
    project.write_config(
        output={"images": "url"}, limits={"qps": 5000, "concurrency": 16}
    )
    return project


def grid(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"groups": [{"grid": group} for group in groups], **more}


def run(
    project: Project, **changes: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    report = run_config(project.write_config(**changes))
    return report, results(report)


def test_a_sweep_pays_for_every_job_once_and_growth_pays_for_itself_only(
    swept: Project, simulated: Simulated
) -> None:
    axes: dict[str, Any] = {"scale": [2, 3, 4], STRENGTH: [0.2, 0.4]}
    report, rows = run(swept, sweep=grid(axes), seed={"replicates": 2})
    assert (
        report["jobs"],
        report["succeeded"],
        report["calls"],
        simulated.bill.calls,
    ) == (
        240,
        240,
        240,
        240,
    )
    assert len({row["job_key"] for row in rows}) == 240
    assert Counter(row["param_scale"] for row in rows) == dict.fromkeys([2, 3, 4], 80)
    assert Counter(
        row["param_controlnet_args_0_strength"] for row in rows
    ) == dict.fromkeys([0.2, 0.4], 120)

    report, _ = run(swept, sweep=grid({**axes, "scale": [2, 3, 4, 5]}))
    assert (report["jobs"], report["calls"], simulated.bill.calls) == (320, 80, 320)
    report, _ = run(swept, sweep=grid({**axes, "scale": [3, 4, 5]}))
    assert (report["jobs"], report["calls"]) == (240, 0)
    report, _ = run(
        swept, seed={"replicates": 3}, sweep=grid({"scale": [5]}, {STRENGTH: [0.2]})
    )
    assert (report["jobs"], report["calls"]) == (60, 20)


def test_rows_come_in_input_order_then_points_then_replicates(swept: Project) -> None:
    _, rows = run(
        swept,
        sweep=grid({"scale": [2, 3]}),
        seed={"replicates": 2},
        input={"row_key": ["id"]},
        limits={"concurrency": 4},
    )
    placed = [
        (row["row_number"], row["row_key"], row["param_scale"], row["replicate"])
        for row in rows
    ]
    expected = [
        (at + 1, f"r{at}", scale, number)
        for at in range(20)
        for scale in (2, 3)
        for number in (0, 1)
    ]
    assert placed == expected
    assert {row["point_id"] for row in rows if row["param_scale"] == 3} == {"base"}, (
        "3 is the default"
    )


def test_the_points_of_a_row_share_its_seed_and_replicates_do_not(
    swept: Project,
) -> None:
    _, rows = run(swept, sweep=grid({"scale": [2, 4]}), seed={"replicates": 2})
    by_row: dict[tuple[int, int], set[int]] = {}
    for row in rows:
        by_row.setdefault((row["row_number"], row["replicate"]), set()).add(row["seed"])
    assert all(len(seeds) == 1 for seeds in by_row.values())
    assert len(set.union(*by_row.values())) == 40


def test_per_job_gives_every_point_a_seed_of_its_own(swept: Project) -> None:
    _, rows = run(swept, sweep=grid({"scale": [2, 4]}), seed={"policy": "per_job"})
    assert len({row["seed"] for row in rows}) == len(rows) == 40


def test_fixed_seeds_count_up_with_replicates(swept: Project) -> None:
    _, rows = run(swept, seed={"policy": "fixed", "base": 2**31 - 2, "replicates": 3})
    assert [row["seed"] for row in rows[:3]] == [2**31 - 2, 2**31 - 1, 0]


def test_a_variable_of_the_template_is_an_axis(swept: Project) -> None:
    styles = [
        {"label": "ink", "value": "in black ink"},
        {"label": "oil", "value": "in oil"},
    ]
    _, rows = run(
        swept, request={"prompt": "{text}, {style}"}, sweep=grid({"style": styles})
    )
    assert [row["prompt"] for row in rows[:2]] == [
        "a pet 0, in black ink",
        "a pet 0, in oil",
    ]
    assert [row["param_style"] for row in rows[:2]] == ["in black ink", "in oil"]


def test_conditions_may_read_columns_of_the_row(swept: Project) -> None:
    sweep = grid(
        {"scale": [2, 3, 4]},
        exclude=["scale == 4 and id == 'r3'"],
        only=["scale < 4 or id != 'r5'"],
    )
    report, rows = run(swept, sweep=sweep)
    left_out = {("r3", 4), ("r5", 4)}
    assert report["jobs"] == len(rows) == 58
    assert not left_out & {(row["id"], row["param_scale"]) for row in rows}


def test_where_selects_rows_and_keeps_their_numbers(
    swept: Project, simulated: Simulated
) -> None:
    report, rows = run(swept, input={"where": "id in ['r2', 'r17']"})
    assert (report["rows"], report["jobs"], simulated.bill.calls) == (2, 2, 2)
    assert [row["row_number"] for row in rows] == [3, 18]


def test_an_invalid_row_is_one_job_of_no_point(swept: Project) -> None:
    rows = swept.rows(4)
    rows[1]["photo"] = "nowhere"
    swept.write_rows(rows)
    report, published = run(
        swept,
        sweep=grid({"scale": [2, 4]}),
        seed={"replicates": 2},
        input={"max_invalid": 1},
    )
    assert (report["rows"], report["jobs"], report["invalid"], report["succeeded"]) == (
        4,
        13,
        1,
        12,
    )
    (bad,) = [row for row in published if row["status"] == "invalid"]
    assert (
        bad["row_number"],
        bad["point_id"],
        bad["replicate"],
        bad["param_scale"],
    ) == (
        2,
        None,
        None,
        None,
    )
    plan = make_plan(load_config(swept.path), None).summary()
    assert (
        plan["rows"],
        plan["invalid"],
        plan["points"],
        plan["jobs"],
        plan["distinct"],
    ) == (
        4,
        1,
        2,
        13,
        12,
    )


def test_a_row_is_invalid_as_a_whole_where_one_of_its_points_would_be(
    swept: Project,
) -> None:
    long = "x" * 3995
    swept.write_rows(
        [
            {**row, "text": long if at == 1 else row["text"]}
            for at, row in enumerate(swept.rows(3))
        ]
    )
    report, _ = run(
        swept,
        request={"prompt": "{text} {style}"},
        sweep=grid({"style": ["a", "longer"]}),
        input={"max_invalid": 1},
    )
    assert (report["jobs"], report["invalid"], report["calls"]) == (5, 1, 4)


def test_contradicting_rows_of_a_sweep_are_invalid_and_equal_ones_are_paid_once(
    swept: Project,
) -> None:
    rows = swept.rows(3)
    rows += [{**rows[0]}, {**rows[1], "text": "something else"}]
    swept.write_rows(rows)
    report, published = run(
        swept,
        sweep=grid({"scale": [2, 4]}),
        input={"row_key": ["id"], "max_invalid": 1},
    )
    assert (report["jobs"], report["invalid"], report["calls"]) == (3 * 2 + 2, 2, 4)
    assert [row["row_number"] for row in published if row["status"] == "invalid"] == [
        2,
        5,
    ]


def test_a_shuffled_table_pays_for_nothing(
    swept: Project, simulated: Simulated
) -> None:
    run(swept, sweep=grid({"scale": [2, 4]}))
    rows = swept.rows(20)
    random.Random(3).shuffle(rows)
    swept.write_rows(rows)
    report, _ = run(swept)
    assert (report["cached"], report["calls"], simulated.bill.calls) == (40, 0, 40)


def test_a_limit_pays_in_the_order_of_rows_and_points(swept: Project) -> None:
    swept.write_config(sweep=grid({"scale": [2, 4]}))
    report = run_config(swept.path, limit=3)
    paid = [
        (row["row_number"], row["param_scale"])
        for row in results(report)
        if row["status"] == "succeeded"
    ]
    assert paid == [(1, 2), (1, 4), (2, 2)]


def test_the_schema_says_what_the_columns_mean(swept: Project) -> None:
    values = [{"label": "low", "value": 0.2}, 0.8]
    report, _ = run(swept, sweep=grid({STRENGTH: values}), input={"row_key": ["id"]})
    said = json.loads(pq.read_schema(report["dataset"]).metadata[b"pixmill"])
    assert said["axes"] == [
        {
            "path": STRENGTH,
            "column": "param_controlnet_args_0_strength",
            "values": [{"label": "low", "value": 0.2}, {"label": "0.8", "value": 0.8}],
        }
    ]
    assert said["own"]["status"] == "status"
    assert said["columns"] == {"image_url": "photo", "prompt": "text"}


def test_columns_and_axes_together_make_the_request(swept: Project) -> None:
    swept.write_rows(
        [{**row, "best": f"0.{at + 1}"} for at, row in enumerate(swept.rows(3))]
    )
    _, rows = run(
        swept,
        sweep=grid({"scale": [2, 4]}),
        input={"columns": {STRENGTH: "best", **swept.config["input"]["columns"]}},
    )
    sent = [json.loads(row["params"]) for row in rows]
    assert [(of["scale"], of["controlnet_args"][0]["strength"]) for of in sent] == [
        (2, 0.1), (4, 0.1), (2, 0.2), (4, 0.2), (2, 0.3), (4, 0.3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": grid({"scale": [2, 99]})}, "sweep.groups.0.grid.scale"),
        ({"sweep": grid({"scal": [2]})}, "did you mean"),
        ({"sweep": grid({"scale": [2]}, {"scale": [3]})}, "sweep.groups.1"),
        ({"sweep": grid({"scale": [2]}, exclude=["scale >"])}, "sweep.exclude.0"),
        (
            {"sweep": {"groups": [{"zip": {"scale": [2, 3], "ddim_steps": [16]}}]}},
            "sweep.groups.0.zip",
        ),
        ({"sweep": grid({"scale": [2]}, only=["scale > 5"])}, "sweep"),
        ({"input": {"where": "import os"}}, "input.where"),
        (
            {"sweep": grid({"scale": [2, 3]}), "seed": {"replicates": 60_000}},
            "more than 100,000",
        ),
        (
            {"sweep": grid({"controlnet_args.0.binary_data_index": [0, 1]})},
            "binary_data_index is 1",
        ),
        (
            {"sweep": grid({"scale": [2]}), "input": {"columns": {"scale": "id"}}},
            "is also an axis of the sweep",
        ),
    ],
)
def test_a_mistake_in_a_sweep_is_named_before_any_call(
    swept: Project, changes: dict[str, Any], said: str
) -> None:
    if "columns" in changes.get("input", {}):
        changes["input"]["columns"] |= swept.config["input"]["columns"]
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        load_config(swept.write_config(**changes))


def test_all_mistakes_of_a_sweep_are_named_at_once(swept: Project) -> None:
    sweep = grid({"scale": [99], "nothing": [1], "ddim_steps": {"range": [1, 5, 0]}})
    with pytest.raises(ConfigError) as caught:
        load_config(swept.write_config(sweep=sweep, seed={"policy": "never"}))
    assert all(
        word in str(caught.value)
        for word in ("grid.scale", "grid.nothing", "grid.ddim_steps", "seed.policy")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"sweep": grid({"scale": [2]}, exclude=["scale > 1 and size > 3"])},
            "no column 'size'",
        ),
        ({"input": {"where": "size > 3"}}, "no column 'size'"),
        (
            {"request": {"prompt": "{text} {id}"}, "sweep": grid({"id": ["x"]})},
            "is an axis of the sweep and a column",
        ),
    ],
)
def test_a_condition_that_the_table_can_not_answer_is_named(
    swept: Project, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(TableError, match=said):
        make_plan(load_config(swept.write_config(**changes)), None)
