"""Candidates that the dataset does not have are verified as its rows are."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.findings import Verified
from pixmill.datasets.verification import verify
from pixmill.execution.repair import repair
from tests.conftest import Project, run_config
from tests.pixmill.candidates import blank_pictures, draw_candidates
from tests.pixmill.damage import edit_ledger, flip


@pytest.fixture
def drawn(project: Project, tmp_path: Path) -> Iterator[Project]:
    """A project of two rows, the second of which has its second candidate."""
    with blank_pictures(tmp_path) as simulated:
        draw_candidates(project, simulated, rows=2)
        yield project


def verified(project: Project) -> Verified:
    return verify(load_config(project.path))


def list_of(project: Project) -> Path:
    return load_config(project.path).dataset_folder / "candidates.parquet"


def other(project: Project) -> dict[str, Any]:
    """Return the one candidate that is not in the dataset."""
    [row] = [
        row for row in pq.read_table(list_of(project)).to_pylist() if not row["kept"]
    ]
    return row  # type: ignore[no-any-return]


def picture_of(project: Project) -> Path:
    return load_config(project.path).store_path / other(project)["file_name"]


def flip_a_page(path: Path) -> None:
    """Change the last byte of the pages of one column."""
    column = pq.read_metadata(path).row_group(0).column(3)
    flip(path, column.data_page_offset + column.total_compressed_size - 1)


def test_the_pictures_of_all_candidates_are_read(drawn: Project) -> None:
    found = verified(drawn)
    assert (found.findings, found.rows, found.images) == ([], 2, 3)
    # Also where the list doesn't say what is kept: as in the report, it counts as not in the dataset.
    table = pq.read_table(list_of(drawn))
    at = table.schema.get_field_index("kept")
    unknown = pa.nulls(table.num_rows, pa.bool_())
    table = table.set_column(at, table.schema.field(at), unknown)
    pq.write_table(table, list_of(drawn), write_page_checksum=True)
    assert verified(drawn).images == 3


@pytest.mark.parametrize(
    ("damage", "problem"), [(Path.unlink, "missing"), (partial(flip, at=40), "damaged")]
)
def test_a_picture_of_a_candidate_that_is_not_what_it_was_is_found_and_fixed(
    drawn: Project, damage: Callable[[Path], None], problem: str
) -> None:
    damage(picture_of(drawn))
    found = verified(drawn)
    [finding] = found.findings
    assert (finding.problem, finding.row_number) == (problem, 2)
    assert finding.file == str(picture_of(drawn))
    assert finding.message.startswith("row 2, candidate 0: ")
    assert found.exit_code == 3
    assert repair(load_config(drawn.path)).as_dict()["fetched"] == 1
    assert verified(drawn).findings == []


def test_a_candidate_that_the_ledger_does_not_know_would_be_paid_again(
    drawn: Project,
) -> None:
    edit_ledger(drawn, "DELETE FROM jobs WHERE job_key = ?", other(drawn)["job_key"])
    [finding] = verified(drawn).findings
    assert (finding.problem, finding.row_number) == ("not_in_ledger", 2)


@pytest.mark.parametrize(
    "damage", [Path.unlink, flip_a_page, lambda path: path.write_text("x")]
)
def test_a_list_of_candidates_that_is_not_there_or_damaged_is_found_and_fixed(
    drawn: Project, damage: Callable[[Path], Any]
) -> None:
    damage(list_of(drawn))
    [finding] = verified(drawn).findings
    assert (finding.problem, finding.file) == ("damaged", str(list_of(drawn)))
    repair(load_config(drawn.path))
    assert verified(drawn).findings == []


def test_a_dataset_without_candidates_needs_no_list_of_them(drawn: Project) -> None:
    drawn.write_config(quality={"checks": ["blank"], "until": None})
    run_config(drawn.path)
    assert verified(drawn).findings == []
    list_of(drawn).write_text("of another dataset")
    assert verified(drawn).findings == []
