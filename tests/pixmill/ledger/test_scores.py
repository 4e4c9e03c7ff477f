"""Scores are kept by image, scorer and version, in a file and in PostgreSQL, and are in a backup."""

from contextlib import closing
from pathlib import Path

from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.backup import back_up
from pixmill.ledger.scores import (
    Score,
    Scorer,
    find_scored,
    read_parts,
    read_scores,
    read_signatures,
)

SHARP = Scorer("sharp", "1")


def test_an_image_is_known_as_scored_by_one_scorer_of_one_version(
    ledger: Ledger,
) -> None:
    ledger.record_scores([Score("a", *SHARP, value=0.5), Score("b", *SHARP)])
    assert ledger.read(find_scored, SHARP, ["a", "b", "c"]) == {("a", ""), ("b", "")}
    assert ledger.read(find_scored, SHARP, ["c"]) == set()
    assert ledger.read(find_scored, Scorer("sharp", "2"), ["a"]) == set()
    assert ledger.read(find_scored, Scorer("blunt", "1"), ["a"]) == set()


def test_scores_that_two_processes_write_at_once_are_there_once(ledger: Ledger) -> None:
    for value in (0.1, 0.2):
        ledger.record_scores([Score("a", *SHARP, "left", value)])
    ledger.record_scores([Score("a", *SHARP, "right", None, "it raised ValueError")])
    found = ledger.read(read_scores, SHARP).sort_by("part").to_pydict()
    assert found == {
        "sha256": ["a", "a"],
        "part": ["left", "right"],
        "value": [0.2, None],
    }
    assert ledger.read(read_parts, SHARP) == ["left"]


def test_of_a_scorer_that_said_nothing_there_is_an_empty_table(ledger: Ledger) -> None:
    found = ledger.read(read_scores, SHARP)
    assert found.num_rows == 0
    assert found.column_names == ["sha256", "part", "value"]


def test_a_backup_holds_the_scores(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record_scores([Score("a", *SHARP, signature=b"\x00\xff")])
    back_up(ledger, tmp_path / "copy.db")
    with closing(open_ledger(tmp_path / "copy.db", read_only=True)) as copy:
        assert copy.read(read_signatures, SHARP) == {"a": b"\x00\xff"}
