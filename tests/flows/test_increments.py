"""The same config night after night, on a table that changes: what is new is paid for, and nothing else."""

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.generate import generate_dataset
from tests.conftest import Project, Simulated, results
from tests.real_command import ledger_rows

pytestmark = pytest.mark.stack


def published(report: dict[str, object]) -> dict[str, str]:
    """The rows of the newest publication, with their prompts."""
    return {row["id"]: row["text"] for row in results(report)}


@pytest.mark.usefixtures("prefect")
def test_a_night_pays_for_new_and_changed_rows_only(
    shop: Project, simulated: Simulated
) -> None:
    """I12: one row goes, one changes, one comes; then nothing changes; then the one that went comes back."""
    first = shop.rows(6)
    generate_dataset(shop.path)
    changed = [
        *(
            {**row, "text": "a tiger"} if row["id"] == "r1" else row
            for row in first[1:]
        ),
        shop.rows(7)[6],
    ]
    nights = []
    for table in (changed, list(reversed(changed)), [*changed, first[0]]):
        shop.write_rows(table)
        nights.append(generate_dataset(shop.path))
    assert [report["calls"] for report in nights] == [2, 0, 0]
    assert [report["cached"] for report in nights] == [4, 6, 7]
    assert all(report["exit_code"] == 0 for report in nights)
    assert simulated.bill.calls == len(set(simulated.bill.keys)) == 8
    assert published(nights[2]) == {
        row["id"]: row["text"] for row in [*changed, first[0]]
    }


@pytest.mark.usefixtures("prefect")
def test_rows_that_are_gone_leave_the_publication_and_stay_in_the_ledger(
    shop: Project,
) -> None:
    """And the version before, which has them, stays in the history."""
    before = generate_dataset(shop.path)
    shop.write_rows(shop.rows(2))
    after = generate_dataset(shop.path)
    assert set(published(after)) == {"r0", "r1"}
    assert after["jobs"] == 2
    assert len(ledger_rows(shop.folder / "out")) == before["jobs"] == 6
    (earlier,) = (shop.folder / "out" / "pets" / "history").glob("*.parquet")
    assert pq.read_table(earlier).num_rows == 6


def test_a_flow_run_without_anything_new_is_completed_all_the_same(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    generate_dataset(shop.path)
    assert generate_dataset(shop.path)["calls"] == 0
    newest = max(prefect.read_flow_runs(), key=lambda run: run.created)
    assert newest.state
    assert newest.state.message
    assert "6 of 6 jobs succeeded, 0 calls" in newest.state.message
