"""The progress of a run in a notebook, whose page may be white or dark."""

from pixmill.api.notebook import _COLOURS
from tests.pixmill.datasets.report.test_report_colours import contrast


def test_colours_of_the_progress_are_read_on_white_and_on_a_dark_page() -> None:
    used = [_COLOURS.ansi_colors[number].hex for number in (1, 5)]
    for colour in used:
        # No colour reaches 4.5 on both.
        assert contrast(colour, "#ffffff") > 4.2
        assert contrast(colour, "#111111") > 4.2
