"""Conditions over a whole table: aggregates of its rows, and what they were before."""

import re
from typing import Any

import pyarrow as pa
import pytest

from pixmill.conditions import parse_aggregates

ROWS = 4
COLUMNS = {
    "flag_blank": pa.array([True, False, None, False]),
    "score": pa.array([0.1, 0.2, None, 0.6]),
    "status": pa.array(["succeeded", "succeeded", "succeeded", "failed"]),
    "price": pa.array(["3", "4.5", "", "much"]),
}


@pytest.mark.parametrize(
    ("condition", "holds", "figure"),
    [
        ("share(flag_blank) <= 0.01", False, 1 / 3),
        ("share(flag_blank) <= 0.34", True, 1 / 3),
        ("share(score is None) == 0.25", True, 0.25),
        ("share(not flag_blank or status == 'failed') > 0.6", True, 2 / 3),
        ("count(status == 'succeeded') >= 0.75 * rows", True, 3),
        ("count(status == 'succeeded') > 0.75 * rows", False, 3),
        ("mean(score) >= 0.3", True, 0.3),
        ("median(score) == 0.2", True, 0.2),
        ("0 < min(score) <= 0.1", True, 0.1),
        ("max(score) < 0.6", False, 0.6),
        ("sum(score * 10) > 8.9", True, 9),
        ("mean(price) == 3.75", True, 3.75),
        ("mean(len(status)) < 9", True, 8.25),
    ],
)
def test_a_condition_is_about_all_rows_that_have_a_value(
    condition: str, holds: bool, figure: float
) -> None:
    result = parse_aggregates(condition).check(COLUMNS, ROWS, None)
    assert (result.condition, result.holds, result.problem) == (condition, holds, None)
    assert list(result.figures.values()) == [pytest.approx(figure)]


def test_an_aggregate_without_a_value_meets_no_condition() -> None:
    nothing = {"score": pa.nulls(3)}
    for condition in ("mean(score) < 1", "mean(score) >= 0", "share(score > 1) == 0"):
        result = parse_aggregates(condition).check(nothing, 3, None)
        assert (result.holds, list(result.figures.values())) == (False, [None])


@pytest.mark.parametrize(
    ("before", "holds"),
    [({"mean(score)": 0.34}, True), ({"mean(score)": 0.36}, False), (None, True)],
)
def test_previous_is_the_same_aggregate_before_and_the_first_table_has_none(
    before: dict[str, float | None] | None, holds: bool
) -> None:
    condition = parse_aggregates("mean(score) >= previous - 0.05 and rows == 4")
    result = condition.check(COLUMNS, ROWS, before)
    assert condition.reads_previous
    assert result.holds is holds
    assert result.figures == {
        "mean(score)": pytest.approx(0.3),
        "previous mean(score)": before["mean(score)"] if before else None,
    }


def test_a_first_table_meets_only_the_comparisons_with_one_before() -> None:
    condition = parse_aggregates("mean(score) >= previous and max(score) > 1")
    assert not condition.check(COLUMNS, ROWS, None).holds


def test_what_can_not_be_calculated_is_a_problem_and_does_not_hold() -> None:
    result = parse_aggregates("share(score) > 0").check(COLUMNS, ROWS, None)
    assert not result.holds
    assert "neither true nor false" in str(result.problem)


@pytest.mark.parametrize(
    ("condition", "mistake"),
    [
        ("", "is empty"),
        ("score > 1", "a column has a value in each row"),
        ("mean(score) > 1 and flag_blank", "a column has a value in each row"),
        ("mean(score)", "is neither true nor false"),
        ("not share(flag_blank)", "is neither true nor false"),
        ("mean(mean(score)) > 1", "is not a function of conditions"),
        ("mean(score, 2) > 1", "is used as mean(column)"),
        ("share() > 1", "is used as share(condition)"),
        ("share(1) > 1", "is neither true nor false"),
        ("previous > 1", "`previous` needs one aggregate"),
        ("mean(score) > max(score) - previous", "`previous` needs one aggregate"),
        ("rows > 1", "is about no row"),
        ("average(score) > 1", "is not a function of conditions"),
        ("mean(score) >", "is not a condition"),
    ],
)
def test_a_mistake_says_what_is_wrong_and_where(condition: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=re.escape(mistake)):
        parse_aggregates(condition)


def test_a_condition_names_the_columns_that_it_reads() -> None:
    condition: Any = parse_aggregates(
        "share(flag_blank or len(status) > 3) < 1 and mean(score) > previous"
    )
    assert condition.names == {"flag_blank", "status", "score"}
