"""How an axis spells its values, and draws that stay what they are."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.request.sweep.axes import read_values
from pixmill.request.sweep.random_draws import draw_values


def plain(spec: Any) -> list[Any]:
    return [value for value, _ in read_values(spec)]


def draws(spec: Any, n: int = 50, path: str = "scale", seed: int = 1) -> list[Any]:
    return [value for value, _ in draw_values(spec, path, seed, n)[:n]]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ([2, "a", True, None], [2, "a", True, None]),
        ({"range": [1, 4, 1]}, [1, 2, 3, 4]),
        ({"range": [0.2, 1.0, 0.2]}, [0.2, 0.4, 0.6, 0.8, 1]),
        ({"range": [0, 1, 0.3]}, [0, 0.3, 0.6, 0.9]),
        ({"range": [5, 1, -2]}, [5, 3, 1]),
        ({"range": [3, 3, 1]}, [3]),
        ({"range": ["1e-3", "3e-3", "1e-3"]}, [0.001, 0.002, 0.003]),
        ({"range": [10**15, 10**15 + 2, 1]}, [10**15, 10**15 + 1, 10**15 + 2]),
        ({"linspace": [0.2, 1.0, 5]}, [0.2, 0.4, 0.6, 0.8, 1]),
        ({"linspace": [0, 1, 4]}, [0, 0.333333333333, 0.666666666667, 1]),
        ({"linspace": [7, 9, 1]}, [7]),
        ({"logspace": [0.01, 100, 5]}, [0.01, 0.1, 1, 10, 100]),
        ({"logspace": [1, 8, 4]}, [1, 2, 4, 8]),
    ],
)
def test_series_are_what_they_say(spec: Any, expected: list[Any]) -> None:
    assert plain(spec) == expected
    assert [type(value) for value in plain(spec)] == [type(value) for value in expected]


def test_a_value_may_have_a_label() -> None:
    assert read_values([{"label": "strong", "value": 0.8}, 0.2]) == [
        (0.8, "strong"),
        (0.2, None),
    ]


@given(st.integers(-1000, 1000), st.integers(1, 500), st.integers(1, 40))
def test_a_range_holds_its_end_when_a_step_hits_it(
    first: int, steps: int, tenths: int
) -> None:
    last = first + steps * tenths
    values = plain({"range": [first / 10, last / 10, tenths / 10]})
    assert (len(values), values[0], values[-1]) == (steps + 1, first / 10, last / 10)


@given(
    st.floats(0.001, 1000),
    st.floats(0.001, 1000),
    st.integers(2, 50),
    st.sampled_from(["linspace", "logspace"]),
)
def test_a_series_has_n_values_between_its_ends(
    first: float, last: float, n: int, name: str
) -> None:
    values = plain({name: [first, last, n]})
    assert len(values) == n
    assert values[0] == pytest.approx(first, rel=1e-11)
    assert values[-1] == pytest.approx(last, rel=1e-11)
    assert values == sorted(values, reverse=first > last)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ([], "no values"),
        (3, "must be a list"),
        ("abc", "must be a list"),
        ({}, "one key"),
        ({"range": [1, 2, 3], "linspace": [1, 2, 3]}, "one key"),
        ({"rang": [1, 2, 3]}, "did you mean `range`"),
        ({"range": [1, 2]}, "{range: [a, b, step]}"),
        ({"range": 3}, "{range: [a, b, step]}"),
        ({"range": [1, "x", 1]}, "'x' is not a number"),
        ({"range": [1, True, 1]}, "True is not a number"),
        ({"range": [1, 2, 0]}, "the step is 0"),
        ({"range": [1, 2, -1]}, "never get"),
        ({"range": [1, float("inf"), 1]}, "not a finite number"),
        ({"range": [1, float("nan"), 1]}, "not a finite number"),
        ({"range": [0, 1, 1e-300]}, "1,000,000 at most"),
        ({"linspace": [0, 1, 0]}, "at least 1"),
        ({"linspace": [0, 1, 2.5]}, "whole number"),
        ({"linspace": [0, 1, 10**9]}, "1,000,000 at most"),
        ({"logspace": [0, 1, 3]}, "above 0"),
        ({"uniform": [0, 1]}, "`random` groups"),
        ([{"value": 1}], "label"),
        ([{"label": 1, "value": 1, "more": 1}], "label"),
    ],
)
def test_a_wrong_series_is_refused(spec: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read_values(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"uniform": [2, 1]}, "a below b"),
        ({"uniform": [1, 1]}, "a below b"),
        ({"uniform": [1]}, "{uniform: [a, b]}"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"randint": [0.5, 2]}, "whole numbers"),
        ({"choice": []}, "no values"),
        ({"normal": [0, 1]}, "unknown kind of values"),
        ({"unifrom": [0, 1]}, "did you mean `uniform`"),
        (3, "must be a list"),
    ],
)
def test_a_wrong_distribution_is_refused(spec: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        draw_values(spec, "scale", 1, 3)


def test_draws_never_change() -> None:
    """With other draws a random sweep would be paid for again."""
    assert draws({"uniform": [1, 5]}, 3) == [
        3.84222092854,
        4.70492692287,
        4.28039911828,
    ]
    assert draws({"loguniform": [0.1, 1]}, 3) == [
        0.513517480804,
        0.843784864142,
        0.660845260395,
    ]
    assert draws({"randint": [1, 1000]}, 3) == [553, 967, 55]
    assert draws({"choice": ["a", "b", "c"]}, 6) == ["c", "a", "a", "b", "a", "a"]


DISTRIBUTIONS = st.sampled_from(
    [
        {"uniform": [1, 5]},
        {"loguniform": [0.1, 10]},
        {"randint": [-3, 3]},
        {"choice": ["a", "b", "c"]},
        [1, 2, 3],
        {"linspace": [0, 1, 7]},
    ]
)


@given(DISTRIBUTIONS, st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**9))
def test_more_draws_leave_the_earlier_ones(
    spec: Any, n: int, more: int, seed: int
) -> None:
    assert draws(spec, n + more, seed=seed)[:n] == draws(spec, n, seed=seed)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        ({"uniform": [1, 5]}, 1, 5),
        ({"loguniform": [0.1, 10]}, 0.1, 10),
        ({"randint": [-3, 3]}, -3, 3),
    ],
)
def test_draws_fill_their_bounds(spec: Any, low: float, high: float) -> None:
    found = draws(spec, 2000)
    assert low <= min(found) < low + (high - low) / 100
    assert high - (high - low) / 20 < max(found) <= high
    assert all(isinstance(value, int) for value in found) == ("randint" in spec)


def test_a_loguniform_draw_is_as_often_below_as_above_the_geometric_mean() -> None:
    found = draws({"loguniform": [0.01, 100]}, 2000)
    assert 900 < sum(value < 1 for value in found) < 1100


def test_axes_and_seeds_draw_independently() -> None:
    spec = {"uniform": [0, 1]}
    assert draws(spec) != draws(spec, seed=2)
    assert draws(spec) != draws(spec, path="sr_scale")
    assert len(set(draws(spec))) == 50


def test_all_that_may_be_drawn_is_given_for_checking() -> None:
    """A value that does not fit must not wait for the draw that hits it."""
    assert [
        value
        for value, _ in draw_values({"choice": ["a", "b", "c"]}, "style", 1, 1)[1:]
    ] == [
        "a",
        "b",
        "c",
    ]
    assert [
        value for value, _ in draw_values({"uniform": [1, 50]}, "scale", 1, 1)[1:]
    ] == [1, 50]
