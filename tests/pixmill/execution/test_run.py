"""A run from table to dataset, without Prefect: real HTTP to the simulator, real files, real SQLite."""

from pathlib import Path

import pytest

from pixmill.errors import PixmillError
from tests.conftest import Simulated, Workshop, carry_out, results, simulator


def test_every_row_is_paid_once_and_the_second_run_pays_nothing(
    workshop: Workshop, simulated: Simulated
) -> None:
    """I12: an identical second run makes no call and publishes the same table."""
    workshop.write_rows(workshop.rows(20))
    workshop.use(simulated)
    first = carry_out(workshop.path)
    assert (first["exit_code"], first["succeeded"], first["calls"]) == (0, 20, 20)
    before = results(first)
    second = carry_out(workshop.path)
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
        (workshop.folder / "out" / row["file_name"]).stat().st_size
        == row["images"][0]["bytes"]
        for row in before
    )


def test_missing_images_of_the_built_in_simulator_are_fetched_without_a_new_call(
    workshop: Workshop,
) -> None:
    """More of them than the pool has threads: the simulator has to run until the last one is here."""
    workshop.write_rows(workshop.rows(20))
    config = workshop.write_config()
    first = carry_out(config, "output.images=url")
    assert (first["succeeded"], first["images_missing"]) == (20, 0)
    second = carry_out(config)
    assert (second["calls"], second["images_missing"], second["exit_code"]) == (0, 0, 0)
    assert all(row["file_name"] for row in results(second))


def test_a_retry_that_the_budget_does_not_cover_stops_the_run_with_4(
    workshop: Workshop, tmp_path: Path
) -> None:
    """E15: the key is in the ledger already, so the refusal has to name the budget, not the key."""
    (tmp_path / "faults.yaml").write_text("- {calls: '1-', code: 50500}\n")
    with simulator(tmp_path, "--faults", str(tmp_path / "faults.yaml")) as simulated:
        workshop.write_rows(workshop.rows(1))
        workshop.use(simulated)
        report = carry_out(workshop.write_config(budget={"max_calls": 2}))
    assert (report["exit_code"], report["calls"], report["skipped"]) == (4, 2, 1)


def test_a_store_that_takes_no_images_stops_paying(
    workshop: Workshop, simulated: Simulated
) -> None:
    """B2: what was paid stays, its image is pending, and the rest of the table is not paid for."""
    workshop.write_rows(workshop.rows(30))
    workshop.use(simulated)
    (workshop.folder / "out").mkdir()
    (workshop.folder / "out" / "images").write_text("a file where the folder should be")
    with pytest.raises(PixmillError, match="images can't be stored"):
        carry_out(workshop.path)
    paid = simulated.bill.charged
    assert 0 < paid < 30
    (workshop.folder / "out" / "images").unlink()
    report = carry_out(workshop.path)
    assert (report["succeeded"], report["images_missing"], simulated.bill.charged) == (
        30,
        0,
        30,
    )


def test_an_image_that_stays_missing_is_no_news_of_the_next_run(
    workshop: Workshop, tmp_path: Path
) -> None:
    """F1: the first run says so by its exit code; the next one tries again and has nothing new to say."""
    (tmp_path / "faults.yaml").write_text("- {image: {status: 403}}\n")
    with simulator(tmp_path, "--faults", str(tmp_path / "faults.yaml")) as simulated:
        workshop.write_rows(workshop.rows(2))
        workshop.use(simulated)
        runs = [carry_out(workshop.path) for _ in range(2)]
    assert [
        (run["exit_code"], run["images_missing"], run["calls"]) for run in runs
    ] == [
        (3, 2, 2),
        (0, 2, 0),
    ]
