"""The gate: a dataset that does not meet its owner's conditions is not published."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets import refused_dataset as refused_module
from pixmill.datasets.refused_dataset import (
    RefusedDataset,
    accept_refused,
    find_refused,
)
from pixmill.datasets.verification import verify
from pixmill.errors import ConfigError, UserError
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from pixmill.execution.score import score
from pixmill.execution.status import read_status
from tests.conftest import Project, Simulated, results, run_config
from tests.pixmill.datasets.publishing import edit_ledger
from tests.real_command import Command

MOSTLY = "count(status == 'succeeded') >= 0.75 * rows"


@pytest.fixture
def paid(project: Project, simulated: Simulated) -> Project:
    """A project whose four rows are paid for and published, without images and without a gate."""
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    run_config(project.path)
    return project


def published(project: Project) -> Path:
    return project.folder / "out" / "pets" / "dataset.parquet"


def refused(project: Project) -> Path:
    return project.folder / "out" / "pets" / "refused" / "dataset.parquet"


def refuse(project: Project, *conditions: str) -> dict[str, Any]:
    """Run with these conditions, with two rows that failed since."""
    config = load_config(project.write_config(quality={"gate": list(conditions)}))
    rows = results({"dataset": published(project)})
    for row in rows[:2]:
        edit_ledger(
            config,
            "UPDATE jobs SET state = 'failed', error_code = '50500' WHERE job_key = ?",
            row["job_key"],
        )
    return run_config(project.path)


def test_a_dataset_that_meets_all_conditions_is_published_with_their_figures(
    paid: Project,
) -> None:
    paid.write_config(quality={"gate": [MOSTLY, "mean(attempts) <= previous + 1"]})
    report = run_config(paid.path)
    assert (report["exit_code"], report["reason"]) == (0, "finished")
    gate = report["gate"]
    assert (gate["passed"], gate["refused_dataset"]) == (True, None)
    assert [each["holds"] for each in gate["conditions"]] == [True, True]
    assert gate["conditions"][1]["figures"] == {
        "mean(attempts)": 1.0,
        "previous mean(attempts)": 1.0,
    }
    manifest = json.loads((published(paid).parent / "manifest.json").read_text())
    assert manifest["gate"]["conditions"] == gate["conditions"]


def test_a_dataset_that_does_not_leaves_the_published_one_byte_for_byte(
    paid: Project,
) -> None:
    before = {
        path: path.read_bytes()
        for path in published(paid).parent.glob("*")
        if path.is_file()
    }
    report = refuse(paid, MOSTLY, "share(status == 'failed') <= 0.9")
    assert report["exit_code"] == 7
    assert report["reason"] == (
        "refused by quality.gate: 1 of 2 conditions does not hold: "
        "count(status == 'succeeded') >= 0.75 * rows (count(status == 'succeeded') = 2)"
    )
    assert before == {path: path.read_bytes() for path in before}
    assert report["dataset"] == str(published(paid))
    assert report["gate"]["refused_dataset"] == str(refused(paid))
    assert [row["status"] for row in results({"dataset": refused(paid)})] == [
        "failed",
        "failed",
        "succeeded",
        "succeeded",
    ]
    page = Path(report["report"])
    assert page == refused(paid).parent / "report" / "index.html"
    assert page.exists()


def test_a_refused_dataset_is_refused_again_until_it_is_better(paid: Project) -> None:
    assert refuse(paid, MOSTLY)["exit_code"] == 7
    assert run_config(paid.path)["exit_code"] == 7
    edit_ledger(load_config(paid.path), "UPDATE jobs SET state = 'succeeded'")
    report = run_config(paid.path)
    assert (report["exit_code"], report["gate"]["passed"]) == (0, True)
    assert not refused(paid).parent.exists()
    assert (report["calls"], report["cached"]) == (0, 4)


def test_a_person_publishes_what_was_refused_as_it_is_and_it_stays_accepted(
    paid: Project,
) -> None:
    refuse(paid, MOSTLY)
    config = load_config(paid.path)
    as_refused = refused(paid).read_bytes()
    earlier = published(paid).read_bytes()
    found = find_refused(config)
    assert (found.path, found.rows, found.gate.as_dict()["passed"]) == (
        refused(paid),
        4,
        False,
    )
    assert accept_refused(config).path == published(paid)
    assert published(paid).read_bytes() == as_refused
    assert not refused(paid).parent.exists()
    (kept,) = (published(paid).parent / "history").glob("*.parquet")
    assert kept.read_bytes() == earlier
    report = run_config(paid.path)
    assert (report["exit_code"], report["gate"]["passed"]) == (0, True)
    assert [each["accepted"] for each in report["gate"]["conditions"]] == [True]
    with pytest.raises(UserError, match="there is no refused dataset of pets"):
        accept_refused(config)


def test_what_was_accepted_with_other_figures_is_refused(paid: Project) -> None:
    refuse(paid, MOSTLY)
    accept_refused(load_config(paid.path))
    edit_ledger(load_config(paid.path), "UPDATE jobs SET state = 'failed'")
    assert run_config(paid.path)["exit_code"] == 7


def test_the_first_dataset_may_be_refused_as_well(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"}, quality={"gate": ["rows > 3"]})
    with pytest.raises(ConfigError, match="is about no row"):
        load_config(project.path)
    project.write_config(quality={"gate": ["count(prompt is not None) > 3"]})
    report = run_config(project.path)
    assert (report["exit_code"], report["dataset"], report["calls"]) == (7, None, 3)
    assert not published(project).exists()
    assert accept_refused(load_config(project.path)).path == published(project)
    assert len(results({"dataset": published(project)})) == 3


def test_rows_paid_for_with_a_limit_have_to_meet_the_conditions_too(
    project: Project, simulated: Simulated
) -> None:
    """Else a trial would put three pictures in place of a dataset of thousands."""
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"}, quality={"gate": [MOSTLY]})
    assert run_config(project.path, limit=2)["exit_code"] == 7
    assert run_config(project.path)["exit_code"] == 0


def test_a_run_that_was_stopped_keeps_its_own_exit_code(
    paid: Project,
) -> None:
    paid.write_rows(paid.rows(8))
    paid.write_config(quality={"gate": ["count(status == 'succeeded') == rows"]})
    report = run_config(paid.path, "budget.max_calls=2", "limits.concurrency=1")
    assert report["exit_code"] == 4
    assert "refused by quality.gate: 1 of 1 condition does not" in report["reason"]
    assert pq.read_metadata(published(paid)).num_rows == 4
    assert run_config(paid.path)["exit_code"] == 0


@pytest.mark.parametrize(
    ("condition", "mistake"),
    [
        ("share(flag_blnk) < 1", "reads 'flag_blnk', which is not a column"),
        ("mean(latency) < 1", "did you mean `latency_ms`?"),
        ("share(attempts) < 1", "attempts is neither true nor false"),
    ],
)
def test_a_condition_that_could_never_be_checked_is_found_before_anything_is_paid(
    project: Project, simulated: Simulated, condition: str, mistake: str
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(quality={"gate": [condition]})
    with pytest.raises(ConfigError) as raised, prepare(load_config(project.path)):
        pass
    assert mistake in str(raised.value)
    assert simulated.bill.calls == 0


def test_a_condition_may_read_columns_of_the_table(paid: Project) -> None:
    paid.write_config(quality={"gate": ["share(startswith(id, 'nobody')) > 0"]})
    assert run_config(paid.path)["exit_code"] == 7


def test_the_report_lists_each_condition_with_its_figures(paid: Project) -> None:
    page = Path(refuse(paid, MOSTLY, "share(status == 'failed') < 1")["report"])
    text = page.read_text()
    assert "The gate refused this dataset" in text
    assert "share(status == &#39;failed&#39;) = 0.5" in text
    assert text.count("<strong>does not hold</strong>") == 1
    accept_refused(load_config(paid.path))
    accepted = Path(run_config(paid.path)["report"]).read_text()
    assert "Conditions of the gate" in accepted
    assert "<td>accepted</td>" in accepted


def test_status_and_publish_say_what_waits_and_what_to_type(
    paid: Project, pixmill: Command
) -> None:
    refuse(paid, MOSTLY)
    shown = pixmill("status", paid.path, "--json")
    assert "a dataset is not published: refused by quality.gate: 1 of 1" in shown.stderr
    assert f"next: pixmill publish {paid.path}" in shown.stderr
    assert shown.report["gate"]["passed"] is False
    looked_at = pixmill("publish", paid.path, "--json")
    assert (looked_at.exit_code, looked_at.report["rows"]) == (7, 4)
    assert looked_at.report["dataset"] == str(refused(paid))
    accepted = pixmill("publish", paid.path, "--accept", "--json")
    assert (accepted.exit_code, accepted.report["rows"]) == (0, 4), accepted.stderr
    assert accepted.report["dataset"] == str(published(paid))
    assert read_status(load_config(paid.path)).gate is None
    shown = pixmill("status", paid.path)
    assert "accepted by a person after the gate refused it" in shown.stderr


def test_a_repair_and_a_score_end_as_their_dataset_does_also_where_none_was_published(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(quality={"checks": ["dark"], "gate": ["share(flag_dark) > 2"]})
    assert run_config(project.path)["exit_code"] == 7
    config = load_config(project.path)
    died = "replace(output_urls, 'x-expires=', 'x-expires=1')"
    edit_ledger(config, f"UPDATE jobs SET url_expires_at = 1, output_urls = {died}")
    gone = next((project.folder / "out" / "images").glob("*/*"))
    gone.unlink()
    done = repair(config)
    assert (done.exit_code, done.report.dataset) == (7, None)
    assert done.as_dict()["gate"]["refused_dataset"] == str(refused(project))
    assert [row.error_code for row in done.missing] == ["image_lost"]
    assert score(config).exit_code == 7
    assert not published(project).exists()
    assert simulated.bill.calls == 3


def test_of_a_run_and_a_person_who_publish_at_once_one_waits_for_the_other(
    paid: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what was refused and its publication nobody takes it away."""
    refuse(paid, MOSTLY)
    config = load_config(paid.path)
    find = refused_module._find
    has_lock: list[bool] = []

    def look(config: Config) -> RefusedDataset:
        with (config.dataset_folder / ".lock").open() as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            has_lock.append(True)
        return find(config)

    monkeypatch.setattr(refused_module, "_find", look)
    accept_refused(config)
    assert has_lock == [True]
    # What another publication takes away before is not there, in words.
    with pytest.raises(UserError, match="there is no refused dataset"):
        accept_refused(config)


def test_an_acceptance_that_was_killed_halfway_is_completed_by_the_next_one(
    paid: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(paid, MOSTLY)
    config = load_config(paid.path)
    as_refused = refused(paid).read_bytes()
    earlier = published(paid).read_bytes()

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    for last in ("copy_file", "write_file", "forget_refused"):
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
            killed.setattr(refused_module, last, die)
            accept_refused(config)
        assert refused(paid).read_bytes() == as_refused
    assert accept_refused(config).rows == 4
    assert published(paid).read_bytes() == as_refused
    kept = (published(paid).parent / "history").glob("*.parquet")
    assert earlier in [version.read_bytes() for version in kept]
    assert verify(config).exit_code == 0
