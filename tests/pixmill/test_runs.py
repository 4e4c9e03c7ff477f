"""A run from table to dataset, without Prefect: real HTTP to the simulator, real files, real SQLite."""

from tests.conftest import Simulated, Workshop, carry_out, results


def test_every_row_is_paid_once_and_the_second_run_pays_nothing(workshop: Workshop, simulated: Simulated) -> None:
    """I12: an identical second run makes no call and publishes the same table."""
    workshop.write_rows(workshop.rows(20))
    workshop.use(simulated)
    first = carry_out(workshop.path)
    assert (first["exit_code"], first["succeeded"], first["calls"]) == (0, 20, 20)
    before = results(first)
    second = carry_out(workshop.path)
    assert (second["exit_code"], second["succeeded"], second["cached"], second["calls"]) == (0, 20, 20, 0)
    assert simulated.bill.charged == 20
    assert [{**row, "cached": True} for row in before] == results(second)
    assert all(
        (workshop.folder / "out" / row["file_name"]).stat().st_size == row["images"][0]["bytes"] for row in before
    )
