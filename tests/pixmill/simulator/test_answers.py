"""The time spans of the answers are written as Go writes them."""

import pytest

from pixmill.simulator.responses import go_duration

MINUTE = 60_000_000_000


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (7, "7ns"),
        (999, "999ns"),
        (1_000, "1µs"),
        (96_333, "96.333µs"),
        (508_312_154, "508.312154ms"),
        (999_999_999, "999.999999ms"),
        (1_000_000_000, "1s"),
        (5_861_744_206, "5.861744206s"),
        (2_050_000_000, "2.05s"),
        (MINUTE, "1m0s"),
        (MINUTE + 3_200_000_000, "1m3.2s"),
        (60 * MINUTE + 500_000_000, "1h0m0.5s"),
    ],
)
def test_a_time_span_is_written_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text
