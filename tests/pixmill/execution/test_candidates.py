"""Candidates: a row asks for pictures until one is good, and nothing that was paid is lost."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.refused_dataset import accept_refused
from pixmill.errors import ConfigError, UserError
from pixmill.execution.picks import PickCounts, record_picks
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from pixmill.execution.retry_selection import select_for_retry
from pixmill.ledger import open_ledger
from pixmill.planning.planner import plan_config
from tests.conftest import (
    Project,
    Simulated,
    pay_for_chunks,
    results,
    run_config,
    simulator,
)
from tests.pixmill.candidates import DRAWN, UNTIL, blank_pictures, summarize
from tests.pixmill.run_checks import (
    CheckedRun,
    faults_file,
    ledger,
    run_and_check,
    simulator_charges,
)

ROWS = 4


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[Simulated]:
    with blank_pictures(tmp_path) as simulated:
        yield simulated


def configure(
    project: Project, simulated: Simulated, rows: int = ROWS, **until: Any
) -> None:
    project.write_rows(project.rows(rows))
    project.use_simulator(simulated)
    project.write_config(
        quality={"checks": ["blank", "dark"], "until": {**UNTIL, **until}}
    )


def run(
    project: Project, simulated: Simulated, *overrides: str, limit: int | None = None
) -> CheckedRun:
    charges = simulator_charges(simulated)
    return run_and_check(project.path, charges, *overrides, limit=limit)


def listed(project: Project) -> list[dict[str, Any]]:
    path = project.folder / "out" / "pets" / "candidates.parquet"
    return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]


def planned(project: Project, *overrides: str) -> dict[str, Any]:
    return plan_config(load_config(project.path, overrides)).summary()


def test_a_row_asks_for_candidates_until_one_is_good(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    done = run(project, blank)
    assert list(done.rows[0])[-2:] == ["accepted", "candidate"]
    assert done.column("candidate") == [0, 1, 0, 0]
    assert done.column("accepted") == [True, True, False, True]
    assert done.column("flag_blank") == [False, False, True, False]
    assert done.column("replicate") == [0] * ROWS
    counts = {"pictures": 4, "accepted": 3, "not_accepted": 1, "drawn": 7}
    assert done.report["candidates"] == counts
    assert (done.report["exit_code"], done.report["calls"]) == (0, 7)
    assert summarize(listed(project)) == DRAWN
    reasons = {each["reason"] for each in listed(project) if not each["accepted"]}
    assert reasons == {"does not meet quality.until.where"}
    kept = {each["row_number"]: each for each in listed(project) if each["kept"]}
    for row in done.rows:
        for name in ("job_key", "seed", "file_name", "score_blank", "status"):
            assert row[name] == kept[row["row_number"]][name]
    # Scored once each, and the next run finds nothing to do.
    scored = ledger(project.path, "SELECT count(*) FROM scores WHERE scorer = 'blank'")
    assert scored == [(7,)]
    again = run(project, blank)
    assert (again.report["calls"], again.column("candidate")) == (0, [0, 1, 0, 0])
    assert planned(project)["candidates"]["most_calls"] == 0


def test_a_higher_number_and_another_condition_pay_only_for_what_is_new(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank, candidates=1)
    one = run(project, blank)
    assert (one.report["calls"], one.column("candidate")) == (4, [0] * ROWS)
    assert one.column("accepted") == [True, False, False, True]

    # The candidates are replicates, paid for by whoever asked first.
    project.write_config(quality={"until": {**UNTIL, "candidates": 3}})
    three = run(project, blank)
    assert (three.report["calls"], three.column("candidate")) == (3, [0, 1, 0, 0])
    replicates = planned(project, "quality.until=null", "seed.replicates=2")
    assert (replicates["cached"], replicates["pending"]) == (6, 2)

    # What is drawn already is judged anew, and all that is accepted now asks for no more.
    where = "quality.until.where=flag_blank or score_dark >= 0"
    anything = run(project, blank, where)
    assert (anything.report["calls"], anything.column("accepted")) == (0, [True] * 4)
    assert anything.column("candidate") == [0] * ROWS
    brightest = run(project, blank, where, "quality.until.keep=dark")
    scores = [
        [each["score_dark"] for each in listed(project) if each["row_number"] == number]
        for number in (1, 2, 3, 4)
    ]
    assert brightest.column("score_dark") == [max(of_row) for of_row in scores]
    assert brightest.column("candidate") != [0] * ROWS
    assert brightest.report["calls"] == 0


def test_caps_hold_for_candidates_and_rows_come_first(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    capped = run(project, blank, "budget.max_calls=5")
    assert (capped.report["exit_code"], capped.report["calls"]) == (4, 5)
    assert capped.column("status") == ["succeeded"] * ROWS
    pilot = run(project, blank, limit=1)
    assert (pilot.report["exit_code"], pilot.report["calls"]) == (0, 1)
    found = planned(project)["candidates"]
    assert found["drawn"] == 6
    assert found["expected_calls"] is not None
    rest = run(project, blank)
    assert (rest.report["exit_code"], rest.report["calls"]) == (0, 1)
    assert rest.column("candidate") == [0, 1, 0, 0]


def test_a_plan_says_what_to_expect_once_some_candidates_are_judged(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    project.write_config(budget={"price_per_call": 0.5})
    before = planned(project)
    assert (before["jobs"], before["distinct"], before["pending"]) == (4, 4, 4)
    assert before["candidates"] == {
        "pictures": 4,
        "accepted": 0,
        "not_accepted": 0,
        "drawn": 0,
        "acceptance": None,
        "expected_calls": None,
        "most_calls": 12,
        "expected_cost": None,
        "most_cost": 6.0,
    }
    run(project, blank, limit=2)
    after = planned(project)
    # One of two is good: rows 3 and 4 take 1.75 calls each, and row 2 has two tries left.
    assert after["candidates"] == {
        "pictures": 4,
        "accepted": 1,
        "not_accepted": 0,
        "drawn": 2,
        "acceptance": 0.5,
        "expected_calls": 5.0,
        "most_calls": 8,
        "expected_cost": 2.5,
        "most_cost": 4.0,
    }
    assert (after["jobs"], after["distinct"], after["pending"]) == (4, 5, 3)
    counts = ("cached", "refused", "failed", "in_doubt", "pending")
    assert after["distinct"] == sum(after[name] for name in counts)


def test_rows_that_are_equal_share_their_candidates(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank, rows=3)
    rows = project.rows(3)
    rows[0] = {**rows[1], "id": "twin"}
    project.write_rows(rows)
    project.write_config(input={"row_key": ["id"]})
    # One call for both of them, with a blank picture, and one for the last row.
    assert run(project, blank, limit=2).report["calls"] == 2
    counts = planned(project)["candidates"]
    assert (counts["pictures"], counts["drawn"]) == (3, 2)
    assert (counts["accepted"], counts["not_accepted"]) == (0, 0)
    # Two further ones of the twins, and two of the last row.
    assert counts["most_calls"] == 4
    done = run(project, blank)
    assert done.report["calls"] == 3
    assert done.column("candidate") == [1, 1, 0]
    assert done.report["candidates"]["accepted"] == 2
    assert done.report["candidates"]["not_accepted"] == 1


def test_what_no_seed_can_change_is_not_asked_for_again(
    project: Project, tmp_path: Path
) -> None:
    faults = faults_file(
        tmp_path,
        # Turned away, drawn and refused, failed, and lost on the way.
        {"prompt": "pet 0", "code": 50412},
        {"prompt": "pet 1", "times": 1, "code": 50511},
        {"prompt": "pet 2", "times": 1, "code": 50520},
        {"prompt": "pet 3", "times": 1, "wire": "reset", "charged": False},
    )
    with simulator(tmp_path, "--faults", str(faults)) as simulated:
        configure(project, simulated)
        project.write_config(retry={"rerolls": 0})
        done = run(project, simulated)
        found = [
            (each["row_number"], each["candidate"], each["status"], each["reason"])
            for each in listed(project)
        ]
        assert found == [
            (1, 0, "refused", "turned away, as another candidate would be"),
            (2, 0, "refused", "brought no picture"),
            (2, 1, "succeeded", None),
            (3, 0, "failed", "brought no picture"),
            (3, 1, "succeeded", None),
            (4, 0, "in_doubt", "not judged yet"),
        ]
        assert done.column("status") == ["refused", *["succeeded"] * 2, "in_doubt"]
        assert done.column("accepted") == [False, True, True, None]
        # Whether it was charged nobody knows, so that another one is a person's to decide.
        settled = run(project, simulated, "in_doubt=retry")
    assert settled.column("accepted") == [False, True, True, True]
    assert settled.report["calls"] == 1


DYING = """
import os

def dies(image, job):
    os.abort()
"""


@pytest.mark.parametrize("column", ["score_dies", "score_dies_sharp"])
def test_a_picture_without_a_verdict_is_no_reason_to_pay_again(
    project: Project, simulated: Simulated, column: str
) -> None:
    configure(project, simulated, rows=5, where=f"{column} > 0")
    scorer = project.folder / "scorer.py"
    scorer.write_text(DYING)
    project.write_config(quality={"scorers": {"dies": f"{scorer}:dies"}})
    done = run(project, simulated)
    # Three deaths in a row are three pictures without a score; nobody is asked about the others.
    assert done.report["calls"] == 5 + 3
    assert done.report["candidates"]["not_accepted"] == 0
    # Which ones depends on which pictures came first.
    accepted = done.column("accepted")
    assert (accepted.count(False), accepted.count(None)) == (3, 2)


SHARP = """
def look(image, job):
    return {"sharp": 1.0, "clean": 1.0}
"""


def test_pictures_that_another_version_of_a_scorer_has_not_seen_yet_are_not_drawn_anew(
    project: Project, simulated: Simulated
) -> None:
    """Of several values nobody knows the names before the first."""
    configure(project, simulated, rows=3, where="score_look_sharp > 0.5")
    scorer = project.folder / "scorer.py"
    scorer.write_text(SHARP)
    project.write_config(quality={"scorers": {"look": f"{scorer}:look"}})
    assert run(project, simulated).report["calls"] == 3
    scorer.write_text(SHARP + "# edited")
    assert planned(project)["pending"] == 0
    again = run(project, simulated)
    assert again.report["calls"] == 0
    assert again.column("accepted") == [True] * 3


def test_a_candidate_that_failed_for_a_moment_is_left_to_the_next_run(
    project: Project, tmp_path: Path
) -> None:
    faults = faults_file(tmp_path, {"prompt": "pet 1", "times": 1, "code": 50500})
    with simulator(tmp_path, "--faults", str(faults)) as simulated:
        configure(project, simulated, rows=2)
        project.write_config(retry={"max_attempts": 1})
        first = run(project, simulated)
        second = run(project, simulated)
    assert (first.report["exit_code"], first.report["calls"]) == (3, 2)
    assert first.column("status") == ["succeeded", "failed"]
    assert (second.report["exit_code"], second.report["calls"]) == (0, 1)
    assert second.column("candidate") == [0, 0]


def test_each_point_of_a_row_has_candidates_of_its_own(
    project: Project, tmp_path: Path
) -> None:
    faults = faults_file(tmp_path, {"prompt": "pet 1", "times": 2, "picture": "blank"})
    with simulator(tmp_path, "--faults", str(faults)) as simulated:
        configure(project, simulated, rows=2)
        project.write_config(sweep={"groups": [{"grid": {"scale": [2, 3]}}]})
        swept = run_config(project.path)
    rows = results(swept)
    assert [row["param_scale"] for row in rows] == [2.0, 3.0] * 2
    assert [row["accepted"] for row in rows] == [True] * 4
    assert (swept["calls"], swept["jobs"]) == (4 + 2, 4)
    counts = {"pictures": 4, "accepted": 4, "not_accepted": 0, "drawn": 6}
    assert swept["candidates"] == counts


def test_tasks_make_candidates_as_calls_do_and_their_lost_pictures_come_back(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    project.write_config(
        input={"columns": {"prompt": "text"}},
        request={"req_key": "jimeng_t2i_v31"},
        limits={"poll_qps": 1000},
    )
    done = run_config(project.path)
    assert [row["candidate"] for row in results(done)] == [0, 1, 0, 0]
    assert done["calls"] == 7
    # Also those of candidates that the dataset does not have.
    store = project.folder / "out"
    for path in store.glob("images/*/*"):
        path.unlink()
    report = repair(load_config(project.path))
    assert report.as_dict()["fetched"] == 7
    again = run_config(project.path)
    assert again["calls"] == 0
    assert [row["candidate"] for row in results(again)] == [0, 1, 0, 0]


POLICIES: dict[str, dict[str, Any]] = {
    "fixed": {"seed": {"policy": "fixed", "base": 70}},
    "column": {
        "seed": {"policy": "column"},
        "input": {
            "columns": {"image_url": "photo", "prompt": "text", "seed": "number"}
        },
    },
}


@pytest.mark.parametrize("policy", POLICIES)
def test_candidates_have_the_seeds_of_replicates_whatever_the_policy(
    project: Project, tmp_path: Path, policy: str
) -> None:
    faults = faults_file(tmp_path, {"prompt": "pet 1", "times": 1, "picture": "blank"})
    with simulator(tmp_path, "--faults", str(faults)) as simulated:
        configure(project, simulated)
        project.write_rows([{**row, "number": "70"} for row in project.rows(2)])
        project.write_config(**POLICIES[policy])
        done = run(project, simulated)
    assert done.column("candidate") == [0, 1]
    assert done.column("seed") == [70, 71]


def test_the_gate_sees_the_kept_candidates(project: Project, blank: Simulated) -> None:
    configure(project, blank)
    project.write_config(
        quality={"gate": ["share(accepted) >= 0.75", "count(flag_blank) <= 1"]}
    )
    done = run(project, blank)
    assert done.report["gate"]["passed"]
    before = listed(project)
    # All candidates of one row that are good are rejected now, and the dataset stays.
    stricter = run(
        project,
        blank,
        "quality.until.where=score_blank > 2",
        "quality.until.candidates=1",
    )
    assert stricter.report["exit_code"] == 7
    assert listed(project) == before
    refused = project.folder / "out" / "pets" / "refused" / "candidates.parquet"
    assert pq.read_table(refused).num_rows == ROWS
    accept_refused(load_config(project.path))
    assert len(listed(project)) == ROWS
    assert not refused.exists()


def test_a_retry_is_about_the_candidates_that_the_dataset_has(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    run(project, blank)
    config = load_config(project.path)
    chosen = select_for_retry(config, ["succeeded"], [], None)
    with prepare(config, retried=chosen) as prepared:
        assert len(prepared.plan.asked) == ROWS
        again = prepared.start()
        pay_for_chunks(again)
        assert again.finish().calls == ROWS


def reject(project: Project, *lines: str) -> PickCounts:
    picks = project.folder / "picks.csv"
    picks.write_text("\n".join(["row_key,point_id,candidate,pick", *lines]))
    config = load_config(project.path)
    with closing(open_ledger(config.ledger_address)) as opened:
        return record_picks(config, opened, str(picks))


def test_a_person_rejects_candidates_and_the_next_ones_are_asked_for(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    project.write_config(input={"row_key": ["id"]})
    run(project, blank)
    # Row r1 has its second candidate, r2 has used up all of its three.
    assert reject(project, "r0,base,0,reject", "r1,base,1,reject", "r3,base,0,") == (
        2,
        0,
    )
    assert planned(project)["pending"] == 2
    second = run(project, blank)
    assert second.report["calls"] == 2
    assert second.column("candidate") == [1, 2, 0, 0]
    assert second.column("accepted") == [True, True, False, True]
    reasons = [each["reason"] for each in listed(project)]
    assert reasons.count("rejected by a person") == 2
    # The same table again rejects nothing new, and what is starred is good again.
    reject(project, "r0,base,0,reject", "r1,base,1,reject")
    assert run(project, blank).report["calls"] == 0
    assert reject(project, "r0,base,0,star") == (0, 1)
    assert run(project, blank).column("candidate") == [0, 2, 0, 0]


def test_what_a_person_rejects_is_not_kept_where_no_candidate_is_good(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank)
    project.write_config(input={"row_key": ["id"]})
    assert run(project, blank).column("candidate") == [0, 1, 0, 0]
    reject(project, "r2,base,0,reject")
    second = run(project, blank)
    assert (second.report["calls"], second.column("candidate")) == (0, [0, 1, 1, 0])


def test_a_pick_that_means_no_candidate_is_refused(
    project: Project, blank: Simulated
) -> None:
    configure(project, blank, candidates=1)
    project.write_config(input={"row_key": ["id"]})
    with pytest.raises(UserError, match=r"there is no .*candidates\.parquet"):
        reject(project, "r0,base,0,reject")
    run(project, blank)
    for line, words in {
        "r0,base,1,reject": "row 1: row 'r0' has no picture of candidate 1",
        "r9,base,0,reject": "row 1: row 'r9' has no picture of candidate 0",
        "r0,base,0,no": "row 1: pick is 'no', not reject or star",
    }.items():
        with pytest.raises(UserError, match=re.escape(words)):
            reject(project, line)
    assert planned(project)["candidates"]["accepted"] == 2


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "replicates": ({"seed": {"replicates": 2}}, "seed.replicates: must be 1"),
    "urls": ({"output": {"images": "url"}}, "output.images: must not be url"),
    "a score that nobody makes": (
        {"quality": {"until": {**UNTIL, "where": "score_blnk > 0.5"}}},
        "quality.until.where: reads 'score_blnk', which is not a score, a flag or `status`",
    ),
    "what depends on the choice": (
        {
            "quality": {
                "checks": ["duplicate"],
                "until": {**UNTIL, "where": "not flag_duplicate"},
            }
        },
        "depends on which candidates the dataset has",
    ),
    "a score to keep by that nobody makes": (
        {"quality": {"until": {**UNTIL, "keep": "sharpness"}}},
        "quality.until.keep: reads 'score_sharpness'",
    ),
    "a condition that can't be read": (
        {"quality": {"until": {**UNTIL, "where": "not"}}},
        "quality.until.where: is not a condition",
    ),
}


@pytest.mark.parametrize(("changes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_what_makes_no_sense_with_candidates_is_a_mistake_of_the_config(
    project: Project, changes: dict[str, Any], words: str
) -> None:
    project.write_config(quality={"checks": ["blank"], "until": UNTIL})
    project.write_config(**changes)
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(project.path)


def test_a_condition_that_can_never_be_calculated_is_found_before_anything_is_paid(
    project: Project, simulated: Simulated
) -> None:
    configure(project, simulated, where="score_blank == 'sharp'")
    with pytest.raises(ConfigError, match=r"quality\.until\.where: .*sharp"):
        run(project, simulated)
    assert simulated.bill.calls == 0


@pytest.mark.slow
def test_four_candidates_make_97_percent_good_where_60_percent_are(
    project: Project, tmp_path: Path
) -> None:
    faults = faults_file(tmp_path, {"share": 0.4, "picture": "blank"})
    with simulator(tmp_path, "--faults", str(faults)) as simulated:
        configure(project, simulated, rows=2_000, candidates=4)
        project.write_config(limits={"concurrency": 32})
        done = run(project, simulated)
        assert run(project, simulated).report["calls"] == 0
    assert 0.964 <= sum(done.column("accepted")) / 2_000 <= 0.984
    assert 1.594 <= done.report["calls"] / 2_000 <= 1.654
