"""Scores of a run's images: columns of its dataset, kept once, whatever a scorer does."""

import logging
from pathlib import Path
from typing import Any

import pytest

from pixmill.quality import worker_process
from pixmill.quality.worker_process import WorkerProcess
from tests.conftest import Project, Simulated, simulator
from tests.pixmill.run_checks import ledger, run_and_check, simulator_charges

FAULTS = """
- {prompt: pet 1, picture: blank}
- {prompt: pet 2, picture: dark}
- {prompt: pet 3, picture: duplicate}
- {prompt: pet 4, picture: duplicate}
"""

SCORERS = """
import os, sys, time

def width(image, job):
    print("this is not JSON")
    sys.stdout.flush()
    os.write(1, b"nor is this")
    return image.width + job["row_number"] / 100

def colors(image, job):
    red, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    return {"red": red, "green": green}

def picky(image, job):
    row = job["row_number"]
    if row == 1:
        raise ValueError("no pets\\nof this kind")
    if row == 2:
        return float("nan")
    if row == 3:
        bytearray(2 << 30)
    if row == 4:
        time.sleep(3600)
    if row == 5:
        os.abort()
    return 0.5

def together(images, jobs):
    return [len(images) for _ in images]
together.batch = 4
"""


@pytest.fixture
def flawed(tmp_path: Path) -> Any:
    faults = tmp_path / "faults.yaml"
    faults.write_text(FAULTS)
    with simulator(tmp_path, "--faults", str(faults)) as simulated:
        yield simulated


def run(project: Project, simulated: Simulated) -> list[dict[str, Any]]:
    return run_and_check(project.path, simulator_charges(simulated)).rows


def kept(project: Project) -> list[Any]:
    return ledger(project.path, "SELECT * FROM scores ORDER BY 1, 2, 3, 4")


def test_checks_become_columns_with_flags(project: Project, flawed: Simulated) -> None:
    project.write_rows(project.rows(6))
    project.write_config(
        quality={"checks": ["blank", "dark", "duplicate", "unchanged"]}
    )
    project.use_simulator(flawed)
    rows = run(project, flawed)
    assert list(rows[0])[-8:] == [
        "score_blank",
        "flag_blank",
        "score_dark",
        "flag_dark",
        "score_duplicate",
        "flag_duplicate",
        "score_unchanged",
        "flag_unchanged",
    ]
    flags = {
        name: [row["row_number"] for row in rows if row[f"flag_{name}"]]
        for name in ("blank", "dark", "duplicate")
    }
    assert flags == {"blank": [2], "dark": [3], "duplicate": [4, 5]}
    # Without an input image at hand there is nothing to compare.
    assert {row["score_unchanged"] for row in rows} == {None}
    assert {row["flag_unchanged"] for row in rows} == {None}


def test_without_quality_there_is_no_column_and_no_score(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    rows = run(project, simulated)
    assert not [name for name in rows[0] if name.startswith(("score_", "flag_"))]
    assert kept(project) == []


def test_what_was_scored_is_never_scored_again(
    project: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_rows(project.rows(4))
    (project.folder / "mine.py").write_text(SCORERS)
    quality = {
        "checks": ["blank"],
        "scorers": {"width": f"{project.folder}/mine.py:width"},
    }
    project.write_config(quality=quality)
    project.use_simulator(simulated)
    rows = run(project, simulated)
    before = kept(project)
    assert len(before) == 8
    asked: list[Any] = []
    ask = WorkerProcess.ask

    def count(self: WorkerProcess, pictures: Any) -> Any:
        asked.extend(pictures)
        return ask(self, pictures)

    monkeypatch.setattr(WorkerProcess, "ask", count)
    assert run(project, simulated) == [row | {"cached": True} for row in rows]
    # Nor for a dataset of another name.
    project.write_config(name="others")
    run(project, simulated)
    assert (asked, kept(project)) == ([], before)
    # A changed scorer scores anew, and nothing else does.
    (project.folder / "mine.py").write_text(SCORERS + "\n# changed\n")
    run(project, simulated)
    assert len(asked) == 4
    assert len(kept(project)) == 12


def test_a_scorer_may_give_several_scores_or_take_lists(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(6))
    mine = project.folder / "mine.py"
    mine.write_text(SCORERS)
    names = ("colors", "together", "width")
    project.write_config(
        quality={"scorers": {name: f"{mine}:{name}" for name in names}}
    )
    project.use_simulator(simulated)
    rows = run(project, simulated)
    assert list(rows[0])[-4:] == [
        "score_colors_green",
        "score_colors_red",
        "score_together",
        "score_width",
    ]
    assert [row["score_width"] for row in rows] == [
        64 + row["row_number"] / 100 for row in rows
    ]
    assert all(0 <= row["score_colors_red"] <= 255 for row in rows)
    assert all(1 <= row["score_together"] <= 4 for row in rows)


def test_whatever_a_scorer_does_costs_nothing_but_its_own_score(
    project: Project,
    simulated: Simulated,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(worker_process, "ANSWER_SECONDS", 3.0)
    project.write_rows(project.rows(7))
    mine = project.folder / "mine.py"
    mine.write_text(SCORERS)
    project.write_config(
        quality={"scorers": {"picky": f"{mine}:picky", "width": f"{mine}:width"}}
    )
    project.use_simulator(simulated)
    with caplog.at_level(logging.WARNING):
        rows = run(project, simulated)
    assert [row["score_picky"] for row in rows] == [None] * 5 + [0.5, 0.5]
    assert None not in [row["score_width"] for row in rows]
    reasons = {
        reason
        for (reason,) in ledger(
            project.path, "SELECT reason FROM scores WHERE value IS NULL"
        )
    }
    assert reasons == {
        "it raised ValueError: no pets",
        "it returned nan",
        "it raised MemoryError",
        "it gave no answer in time",
        "its process ended with -6",
    }
    assert all(reason in caplog.text for reason in reasons)


def test_a_scorer_that_can_not_be_loaded_is_asked_again_by_the_next_run(
    project: Project, simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    project.write_rows(project.rows(3))
    (project.folder / "mine.py").write_text("import a_model_that_is_not_here")
    project.write_config(
        quality={"scorers": {"mine": f"{project.folder}/mine.py:mine"}}
    )
    project.use_simulator(simulated)
    with caplog.at_level(logging.WARNING):
        rows = run(project, simulated)
    assert [row["score_mine"] for row in rows] == [None] * 3
    assert "No module named 'a_model_that_is_not_here'" in caplog.text
    assert kept(project) == []


def test_a_scorer_that_is_not_there_is_named_before_anything_is_paid(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(1))
    project.use_simulator(simulated)
    for place, said in (
        ("nowhere.py:mine", "quality.scorers.mine: nowhere.py can't be read"),
        ("no_such_module:mine", "there is no module 'no_such_module'"),
        ("installed", "no installed package offers the scorer 'installed'"),
    ):
        project.write_config(quality={"scorers": {"mine": place}})
        with pytest.raises(Exception, match=said):
            run(project, simulated)
    assert simulated.bill.calls == 0
