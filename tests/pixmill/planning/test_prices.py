"""What jobs cost: the first price that applies to each, exact, and what is not known is not 0."""

from decimal import Decimal
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import ConfigError
from pixmill.planning.jobs import JobPrice
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from tests.conftest import Project

SMALL_IS_CHEAP = [
    {
        "req_key": "jimeng_t2i_v31",
        "where": "width * height <= 1048576",
        "price": 0.1,
        "per": "image",
    },
    {"req_key": "jimeng_t2i_v31", "price": 0.2, "per": "image"},
    {"req_key": "jimeng_t2i_v30", "price": 0.0155},
]
SWEEP = {
    "groups": [
        {
            "grid": {
                "req_key": ["jimeng_t2i_v31", "jimeng_t2i_v30"],
                "width": [1024, 2048],
            }
        }
    ]
}


def planned(project: Project, rows: int = 3, **sections: Any) -> Plan:
    """The plan of rows of prompts, without a picture to begin from."""
    project.write_rows([{"id": str(at), "text": f"a cat {at}"} for at in range(rows)])
    request = {"req_key": "jimeng_t2i_v31", "params": {"width": 1024, "height": 1024}}
    columns = {"columns": {"prompt": "text"}}
    path = project.write_config(request=request, input=columns, **sections)
    return make_plan(load_config(path), None)


def test_a_job_has_the_first_price_that_applies_to_it(project: Project) -> None:
    plan = planned(project, sweep=SWEEP, budget={"prices": SMALL_IS_CHEAP})
    prices = {(job.point, job.price and job.price.most) for job in plan.pending_jobs()}
    assert prices == {
        ("req_key jimeng_t2i_v31, width 1024", Decimal("0.1")),
        ("req_key jimeng_t2i_v31, width 2048", Decimal("0.2")),
        ("req_key jimeng_t2i_v30, width 1024", Decimal("0.0155")),
        ("req_key jimeng_t2i_v30, width 2048", Decimal("0.0155")),
    }
    assert plan.most_cost == plan.least_cost == 3 * Decimal("0.331")
    assert plan.summary()["cost"] == {"pending": 0.993, "currency": "CNY"}


def test_a_row_that_sets_a_parameter_has_the_price_of_its_own(project: Project) -> None:
    project.write_rows(
        [{"id": str(at), "text": "a cat", "w": w} for at, w in enumerate("123")]
    )
    sizes = {"1": 1024, "2": 2048, "3": 1024}
    project.write_rows(
        [{"id": at, "text": "a cat", "w": str(sizes[at])} for at in "123"]
    )
    path = project.write_config(
        request={
            "req_key": "jimeng_t2i_v31",
            "params": {"width": 1024, "height": 1024},
        },
        input={"columns": {"prompt": "text", "width": "w"}},
        seed={"policy": "per_job"},
        budget={"prices": SMALL_IS_CHEAP},
    )
    plan = make_plan(load_config(path), None)
    assert [job.price and job.price.most for job in plan.pending_jobs()] == [
        Decimal("0.1"),
        Decimal("0.2"),
    ]
    assert plan.most_cost == Decimal("0.3")


def test_a_price_that_is_not_known_is_not_left_out_of_a_sum(project: Project) -> None:
    """It falls back to `price_per_call`, and without one nobody knows what the run costs."""
    only_small = SMALL_IS_CHEAP[:1]
    unknown = planned(project, sweep=SWEEP, budget={"prices": only_small})
    assert (unknown.most_cost, unknown.summary()["cost"]["pending"]) == (None, None)
    known = planned(
        project, sweep=SWEEP, budget={"prices": only_small, "price_per_call": 1}
    )
    assert known.most_cost == 3 * (Decimal("0.1") + 3)


def test_where_the_model_decides_how_many_images_it_makes_the_plan_says_the_most(
    project: Project,
) -> None:
    """One call of a group may be as dear as fifteen."""
    project.write_rows([{"id": "1", "text": "a cat"}])
    columns = {"columns": {"prompt": "text"}}
    prices = [{"price": 0.2, "per": "image"}]
    for force_single, most in ((True, "0.2"), (False, "3")):
        path = project.write_config(
            request={
                "req_key": "jimeng_t2i_v40",
                "params": {"force_single": force_single},
            },
            input=columns,
            budget={"prices": prices},
        )
        plan = make_plan(load_config(path), None)
        assert (plan.least_cost, plan.most_cost) == (Decimal("0.2"), Decimal(most))


def test_a_price_per_image_is_that_of_the_images_that_came() -> None:
    price = JobPrice(Decimal("0.1"), most_images=4)
    assert [price.of(number) for number in (1, 3, None)] == [
        Decimal("0.1"),
        Decimal("0.3"),
        Decimal("0.4"),
    ]
    per_call = JobPrice(Decimal("0.1"))
    assert [per_call.of(number) for number in (1, 3, None)] == [Decimal("0.1")] * 3


@pytest.mark.parametrize("cap", ["max_cost", "max_cost_per_month"])
def test_a_cap_on_money_needs_a_price_of_everything_that_may_be_sent(
    project: Project, cap: str
) -> None:
    """E15: a call that counts as nothing would pass under any cap."""
    two = SMALL_IS_CHEAP[:2]
    with pytest.raises(ConfigError, match="without `where` for jimeng_t2i_v30"):
        planned(project, sweep=SWEEP, budget={"prices": two, cap: 5})
    with pytest.raises(ConfigError, match="jimeng_t2i_v31"):
        planned(project, budget={"prices": SMALL_IS_CHEAP[:1], cap: 5})
    assert planned(project, sweep=SWEEP, budget={"prices": SMALL_IS_CHEAP, cap: 5})


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ({"price": -1}, "must be at least 0"),
        ({"price": 0.00000000001}, "more than 9 digits after the point"),
        ({"price": 1, "where": "width >"}, "is not a condition"),
        ({"price": 1, "per": "row"}, "call"),
        ({"where": "width > 1"}, "price"),
    ],
    ids=["below 0", "too fine", "no condition", "per what", "no price"],
)
def test_a_price_that_is_none_is_one_clear_mistake(
    project: Project, price: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=r"budget\.prices") as found:
        planned(project, budget={"prices": [price]})
    assert message in str(found.value)


def test_amounts_are_read_as_they_are_written(project: Project) -> None:
    """0.1 + 0.2 is not 0.3 in binary."""
    config = planned(project, budget={"price_per_call": 0.1, "max_cost": 0.3}).config
    assert config.budget.price_per_call == Decimal("0.1")
    assert (config.budget.max_cost or 0) / Decimal("0.1") == 3
    assert "price_per_call: 0.1\n" in config.to_yaml()
