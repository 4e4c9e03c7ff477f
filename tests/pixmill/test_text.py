"""Figures as people read them: one form each, whoever prints them."""

from decimal import Decimal

import pytest

from pixmill.text import amount, counted, duration, in_words, money


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"), (1234.5, "1,234.50"), (0.0155, "0.0155"), (2, "2.00"), (0.1 + 0.2, "0.30"), (0.2133333, "0.2133"),
        (0.000012345, "0.0000123"), (Decimal("0.40"), "0.40"), (Decimal("1204.123456"), "1,204.123456"),
        (Decimal(1000), "1,000.00"), (Decimal(0), "0.00"), (-0.4, "-0.40"),
    ],
)  # fmt: skip
def test_amounts_have_two_digits_and_more_only_where_they_count(
    value: float | Decimal, text: str
) -> None:
    assert amount(value) == text


def test_an_amount_is_followed_by_its_currency_where_one_is_known() -> None:
    assert money(1234.5, "CNY") == "1,234.50 CNY"
    assert money(1, None) == "1.00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.24, "240 ms"), (5.94, "5.9 s"), (5, "5 s"), (9.99, "10 s"), (45, "45 s"), (840, "14 min"),
        (11100, "3 h 05 min"), (48 * 3600 + 14400, "2 days 4 h"),
    ],
)  # fmt: skip
def test_durations_are_in_the_unit_that_people_would_use(
    seconds: float, text: str
) -> None:
    assert duration(seconds) == text


def test_counts_and_outcomes_are_words() -> None:
    assert [counted(number, "image") for number in (0, 1, 1200)] == [
        "0 images",
        "1 image",
        "1,200 images",
    ]
    assert in_words("in_doubt") == "in doubt"
