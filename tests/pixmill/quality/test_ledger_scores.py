"""What scorers said of images, looked up one by one or read at once."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.scores import Score, Scorer
from pixmill.quality import ledger_scores
from pixmill.quality.ledger_scores import LedgerScores

SHARP = Scorer("sharp", "1")
IMAGES = [letter * 64 for letter in "abcd"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Of the images a to d, c could not be scored, and d was not."""
    opened = open_ledger(tmp_path / "ledger.db")
    assert opened
    one, other, failed, _ = IMAGES
    opened.record_scores(
        [
            Score(one, *SHARP, "left", 0.1),
            Score(one, *SHARP, "right", 0.2),
            Score(other, *SHARP, "right", 0.3),
            Score(failed, *SHARP, reason="it raised ValueError"),
            Score(one, "sharp", "2", "right", 0.9),
        ]
    )
    yield opened
    opened.close()


@pytest.mark.parametrize("look_ups", [0, 100])
@pytest.mark.parametrize(
    ("part", "values"),
    [("left", [0.1, None, None, None, None]), ("right", [0.2, 0.3, None, None, None])],
)
def test_a_value_is_found_by_image_and_part(
    ledger: Ledger,
    look_ups: int,
    part: str,
    values: list[float | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_scores, "LOOK_UPS", look_ups)
    scores = LedgerScores(ledger, SHARP, part=part)
    wanted = pa.array([*IMAGES, None])
    found = scores.find(wanted, pa.nulls(5, pa.string()))
    assert found.values.to_pylist() == values


@pytest.mark.parametrize("look_ups", [0, 100])
def test_an_image_that_could_not_be_scored_counts_as_one_that_was_asked_about(
    ledger: Ledger, look_ups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_scores, "LOOK_UPS", look_ups)
    scores = LedgerScores(ledger, SHARP)
    found = scores.find(pa.array([*IMAGES, None]), pa.nulls(5, pa.string()))
    assert found.is_asked.to_pylist() == [True, True, True, False, False]


@pytest.mark.parametrize("look_ups", [0, 100])
def test_a_score_about_an_input_image_is_found_by_both(
    ledger: Ledger, look_ups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_scores, "LOOK_UPS", look_ups)
    one, other, source, another = IMAGES
    ledger.record_scores(
        [
            Score(one, "unchanged", "1", source, 0.5),
            Score(one, "unchanged", "1", another, 0.6),
            Score(other, "unchanged", "1", source, 0.7),
        ]
    )
    scores = LedgerScores(ledger, Scorer("unchanged", "1"), by_input=True)
    images = pa.array([one, one, other, other, one, None])
    inputs = pa.array([another, source, source, another, None, source])
    found = scores.find(images, inputs)
    assert found.values.to_pylist() == [0.6, 0.5, 0.7, None, None, None]
    assert found.is_asked.to_pylist() == [True, True, True, False, False, False]


def test_where_there_is_nothing_to_find_the_ledger_is_not_asked(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Ledger, "read", lambda *about: asked.append(about))
    scores = LedgerScores(ledger, Scorer("unchanged", "1"), by_input=True)
    found = scores.find(pa.array(IMAGES), pa.nulls(4, pa.string()))
    assert found.values.to_pylist() == [None] * 4
    assert found.is_asked.to_pylist() == [False] * 4
    assert asked == []
