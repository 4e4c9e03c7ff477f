"""A run from table to dataset, without Prefect: real HTTP to the simulator, real files, real SQLite."""

from pathlib import Path

import pytest

from pixmill.errors import PixmillError
from tests.conftest import Project, Simulated, results, run_config, simulator
from tests.pixmill.run_checks import images_blocked


def test_every_row_is_paid_once_and_the_second_run_pays_nothing(
    project: Project, simulated: Simulated
) -> None:
    """I12: an identical second run makes no call and publishes the same table."""
    project.write_rows(project.rows(20))
    project.use_simulator(simulated)
    first = run_config(project.path)
    assert (first["exit_code"], first["succeeded"], first["calls"]) == (0, 20, 20)
    before = results(first)
    second = run_config(project.path)
    assert (
        second["exit_code"],
        second["succeeded"],
        second["cached"],
        second["calls"],
    ) == (
        0,
        20,
        20,
        0,
    )
    assert simulated.bill.charged == 20
    assert [{**row, "cached": True} for row in before] == results(second)
    assert all(
        (project.folder / "out" / row["file_name"]).stat().st_size
        == row["images"][0]["bytes"]
        for row in before
    )


def test_missing_images_of_the_built_in_simulator_are_fetched_without_a_new_call(
    project: Project,
) -> None:
    """More of them than the pool has threads: the simulator has to run until the last one is here."""
    project.write_rows(project.rows(20))
    config = project.write_config()
    first = run_config(config, "output.images=url")
    assert (first["succeeded"], first["images_missing"]) == (20, 0)
    second = run_config(config)
    assert (second["calls"], second["images_missing"], second["exit_code"]) == (0, 0, 0)
    assert all(row["file_name"] for row in results(second))


def test_a_retry_that_the_budget_does_not_cover_stops_the_run_with_4(
    project: Project, tmp_path: Path
) -> None:
    """E15: the key is in the ledger already, so the refusal has to name the budget, not the key."""
    (tmp_path / "faults.yaml").write_text("- {calls: '1-', code: 50500}\n")
    with simulator(tmp_path, "--faults", str(tmp_path / "faults.yaml")) as simulated:
        project.write_rows(project.rows(1))
        project.use_simulator(simulated)
        report = run_config(project.write_config(budget={"max_calls": 2}))
    assert (report["exit_code"], report["calls"], report["skipped"]) == (4, 2, 1)


def test_a_store_that_takes_no_images_stops_paying(
    project: Project, simulated: Simulated
) -> None:
    """B2: what was paid stays, its image is pending, and the rest of the table is not paid for."""
    project.write_rows(project.rows(30))
    project.use_simulator(simulated)
    with (
        images_blocked(project),
        pytest.raises(PixmillError, match="images can't be stored"),
    ):
        run_config(project.path)
    paid = simulated.bill.charged
    assert 0 < paid < 30
    report = run_config(project.path)
    assert (report["succeeded"], report["images_missing"], simulated.bill.charged) == (
        30,
        0,
        30,
    )


def test_an_image_that_stays_missing_is_no_news_of_the_next_run(
    project: Project, tmp_path: Path
) -> None:
    """F1: the first run says so by its exit code; the next one tries again and has nothing new to say."""
    (tmp_path / "faults.yaml").write_text("- {image: {status: 403}}\n")
    with simulator(tmp_path, "--faults", str(tmp_path / "faults.yaml")) as simulated:
        project.write_rows(project.rows(2))
        project.use_simulator(simulated)
        runs = [run_config(project.path) for _ in range(2)]
    assert [
        (run["exit_code"], run["images_missing"], run["calls"]) for run in runs
    ] == [
        (3, 2, 2),
        (0, 2, 0),
    ]
