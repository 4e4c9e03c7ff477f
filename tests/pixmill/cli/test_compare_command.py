"""`pixmill compare` as people and programs use it."""

from pathlib import Path

import pytest

from tests.pixmill.datasets.published import Shelf
from tests.real_command import Command


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An earlier version and the current one: a row more, another scale, one job that failed."""
    shelf = Shelf(tmp_path)
    before = [shelf.job(at, file_name=shelf.image(at), cost=0.2) for at in range(5)]
    after = [
        shelf.job(at, file_name=shelf.image(9 + at), cost=0.2, params='{"scale":4}')
        for at in range(6)
    ]
    after[1] |= {"status": "failed", "file_name": None, "cost": None}
    shelf.publish(before, version="20261001T000000Z")
    shelf.publish(after)
    return shelf


def test_the_headline_comes_first_and_the_tables_follow(
    shelf: Shelf, pixmill: Command
) -> None:
    shown = pixmill("compare", f"{shelf.path}@2026-10", shelf.path)
    assert (shown.exit_code, shown.stdout) == (0, "")
    lines = shown.stderr.splitlines()
    assert (
        lines[0]
        == "A and B have 5 images each at the same cost per usable image; 1 job differs in outcome."
    )
    assert "1 row added: r5" in lines
    cells = [line.split() for line in lines]
    assert ["rows", "5", "6", "+1"] in cells
    assert ["failed", "0", "1", "+1"] in cells
    assert ["request.params.scale", "3", "4"] in cells
    assert ["succeeded", "4", "1"] in cells
    assert "images: 0 are the same file, 4 differ" in lines
    assert "\x1b" not in shown.stderr, "colours are for terminals"


def test_a_program_gets_all_of_it_on_one_line(shelf: Shelf, pixmill: Command) -> None:
    shown = pixmill(
        "compare", "pets@2026-10", "pets", "--store", str(shelf.store), "--json"
    )
    assert shown.stdout.count("\n") == 1
    said = shown.report
    assert said["headline"] == shown.stderr.splitlines()[0]
    assert (
        said["rows"]["added"],
        said["jobs"]["changed_outcomes"],
        said["images"]["compared"],
    ) == (1, 1, 4)
    assert said["a"]["dataset"].endswith("history/20261001T000000Z.parquet")


def test_text_of_the_table_can_t_move_the_cursor(
    tmp_path: Path, pixmill: Command
) -> None:
    shelf = Shelf(tmp_path)
    evil = "\x1b[2J\x1b]0;title\x07[bold]x[/bold]"
    shelf.publish([shelf.job(0)], version="20261001T000000Z")
    shelf.publish([shelf.job(1, row_key=evil, params='{"scale":"\\u001b[2J"}')])
    shown = pixmill("compare", f"{shelf.path}@2026-10", shelf.path)
    assert "\x1b" not in shown.stderr
    assert "\x07" not in shown.stderr
    assert "[bold]x[/bold]" in shown.stderr


def test_what_is_not_there_exits_2_and_says_what_is(
    shelf: Shelf, pixmill: Command
) -> None:
    shown = pixmill("compare", "pest", "pets", "--store", str(shelf.store), "--json")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "did you mean `pets`" in shown.stderr
    assert "Traceback" not in shown.stderr
