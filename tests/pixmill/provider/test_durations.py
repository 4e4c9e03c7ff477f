"""Go durations and Retry-After, in all the forms that providers and their mistakes take."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.provider.durations import (
    MAX_RETRY_AFTER,
    milliseconds,
    retry_after_seconds,
)

NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("512ns", 0.000512),
        ("96.333\u00b5s", 0.096333),
        ("96.333\u03bcs", 0.096333),
        ("96.333us", 0.096333),
        ("861.2ms", 861.2),
        ("508.312154ms", 508.312154),
        ("5.861744206s", 5861.744206),
        ("5.86s", 5860),
        ("1m3.2s", 63_200),
        ("1h0m0.5s", 3_600_500),
        ("-1.5s", -1500),
        ("+2s", 2000),
        (" 2s ", 2000),
        (".5s", 500),
        ("2.s", 2000),
        ("2540400h10m10s", 2540400 * 3.6e6 + 610_000),
    ],
)
def test_every_form_that_go_writes_is_read(text: str, expected: float) -> None:
    assert milliseconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("number", "expected"), [(5861, 5861.0), (12.5, 12.5), (0, 0.0), (-3, -3.0)]
)
def test_a_number_is_milliseconds(number: float, expected: float) -> None:
    assert milliseconds(number) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            " ",
            "s",
            "5",
            "5 s",
            "5x",
            "5s!",
            "1.2.3s",
            "1,5s",
            "--5s",
            "٥s",
            "5S",
            "1s" * 40,
        ),
        *(
            True,
            False,
            math.nan,
            math.inf,
            -math.inf,
            10**400,
            [],
            {},
            ["5s"],
            b"5s",
            object(),
        ),
    ],
)
def test_what_is_no_duration_is_none(value: object) -> None:
    assert milliseconds(value) is None


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"[0-9.hmsunµ+-]*", fullmatch=True),
        st.floats(),
        st.integers(),
    )
)
def test_no_value_raises_and_every_result_is_finite(value: object) -> None:
    result = milliseconds(value)
    assert result is None or math.isfinite(result)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1000000000", MAX_RETRY_AFTER),
        ("9" * 5000, MAX_RETRY_AFTER),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-26 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2026", 30.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
        ("Wed, 21 Oct 2026 09:28:30 +0200", 30.0),
        ("Thu, 22 Oct 2026 07:28:00 GMT", MAX_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 -1400", MAX_RETRY_AFTER),
    ],
)
def test_both_forms_of_retry_after_become_capped_seconds(
    header: str, expected: float
) -> None:
    """D11, D12."""
    assert retry_after_seconds(header, NOW) == expected


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "-5", "1.5", "soon", "٧", "1e3"),
        *(
            "Wed, 21 Oct 2026 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wed, 99 Oct 2026 07:28:00 GMT",
        ),
        *(
            "Wed, 21 Oct 99999 07:28:00 GMT",
            "Wed, 21 Oct 2026 07:28:30 +99999999999999999",
        ),
    ],
)
def test_a_past_date_a_negative_number_and_text_ask_for_nothing(
    header: str | None,
) -> None:
    """D12."""
    assert retry_after_seconds(header, NOW) is None


@given(
    st.one_of(
        st.text(), st.from_regex(r"(Wed, )?[0-9 a-zA-Z:,+-]{0,40}", fullmatch=True)
    )
)
def test_no_retry_after_header_raises(header: str) -> None:
    """D12."""
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
