"""Real tables, whole, through the real command line: every row accounted for and every payment explained."""

import csv
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Project, Simulated, results, simulator
from tests.real_command import Command, job_keys_by_bill_key, run_arguments

pytestmark = pytest.mark.slow

RealData = Callable[[str], Path]


@pytest.fixture(scope="module")
def pixmill(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("prefect"))


class Laion(Project):
    """A thousand image URLs and captions from the web, and what they cost on a simulator."""

    def __init__(self, folder: Path, table: pa.Table, simulated: Simulated) -> None:
        super().__init__(folder)
        self.simulated = simulated
        self.use_simulator(simulated)
        self.write_config(
            input={
                "path": str(folder / "laion.parquet"),
                "columns": {"image_url": "URL", "prompt": "TEXT"},
            },
            limits={"qps": 1000, "concurrency": 16},
            output={"images": "url"},
        )
        self.write(table)

    def write(self, table: pa.Table) -> None:
        pq.write_table(table, self.folder / "laion.parquet")


@pytest.fixture(scope="module")
def table(real_data: RealData) -> pa.Table:
    return pq.read_table(real_data("laion-1000.parquet"))


@pytest.fixture(scope="module")
def laion(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> Iterator[Laion]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXMILL_API_KEY", "unused")
        folder = tmp_path_factory.mktemp("laion")
        with simulator(folder) as simulated:
            yield Laion(folder, table, simulated)


@pytest.fixture(scope="module")
def first(laion: Laion, pixmill: Command) -> dict[str, Any]:
    """The report of the run that pays for the whole table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXMILL_API_KEY", "test-key-0001")
        ended = pixmill(*run_arguments(laion.path))
    assert ended.exit_code in (0, 3), ended.stderr
    return ended.report


def test_a_thousand_rows_are_all_accounted_for_and_each_job_is_paid_once(
    laion: Laion, first: dict[str, Any], table: pa.Table
) -> None:
    rows = results(first)
    distinct = {row["job_key"] for row in rows if row["job_key"]}
    bill = laion.simulated.bill
    assert first["rows"] == first["jobs"] == len(rows) == table.num_rows == 1000
    assert first["succeeded"] + first["invalid"] == 1000
    assert first["exit_code"] == (3 if first["invalid"] else 0)
    assert (
        len(distinct)
        == first["calls"]
        == bill.calls
        == bill.charged
        == len(set(bill.keys))
    )
    assert set(job_keys_by_bill_key(laion.path)) == set(bill.keys)
    published = pq.read_table(first["dataset"])
    assert published.select(table.schema.names).cast(table.schema).equals(table)


def test_a_second_run_pays_nothing(
    laion: Laion, first: dict[str, Any], pixmill: Command
) -> None:
    before = laion.simulated.bill.calls
    again = pixmill(*run_arguments(laion.path))
    assert (again.exit_code, again.report["calls"], laion.simulated.bill.calls) == (
        0,
        0,
        before,
    )
    assert again.report["succeeded"] == again.report["cached"] == first["succeeded"]


def test_a_shuffled_table_pays_nothing(
    laion: Laion, first: dict[str, Any], table: pa.Table, pixmill: Command
) -> None:
    """G3: identity is content, not position."""
    before = {row["job_key"]: row["request_id"] for row in results(first)}
    order = random.Random(3).sample(range(1000), 1000)
    laion.write(table.take(order))
    shuffled = pixmill(*run_arguments(laion.path))
    laion.write(table)
    assert (shuffled.exit_code, shuffled.report["calls"]) == (0, 0)
    rows = results(shuffled.report)
    assert [row["URL"] for row in rows] == table["URL"].take(order).to_pylist()
    assert {row["job_key"]: row["request_id"] for row in rows} == before


def test_three_edited_prompts_pay_for_three(
    laion: Laion, first: dict[str, Any], table: pa.Table, pixmill: Command
) -> None:
    """G3: what changed is new, what stayed is not paid for again."""
    before = laion.simulated.bill.calls
    valid = [at for at, row in enumerate(results(first)) if row["job_key"]]
    captions = table["TEXT"].to_pylist()
    for at in (valid[0], valid[500], valid[-1]):
        captions[at] += ", at night"
    laion.write(
        table.set_column(
            table.schema.get_field_index("TEXT"), "TEXT", pa.array(captions)
        )
    )
    edited = pixmill(*run_arguments(laion.path))
    laion.write(table)
    assert (edited.exit_code, edited.report["calls"]) == (0, 3)
    assert laion.simulated.bill.calls == before + 3
    assert edited.report["succeeded"] == first["succeeded"]


def test_the_parti_prompts_are_planned_and_validated_without_a_payment(
    project: Project, real_data: RealData, pixmill: Command
) -> None:
    """Prompts with quotes, several languages and odd lengths; an image column is added, as they have none."""
    with real_data("parti-prompts.tsv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    project.write_rows(
        [
            {
                **dict(zip(header, row, strict=True)),
                "photo": f"https://images.example.com/{at}.jpg",
            }
            for at, row in enumerate(rows)
        ]
    )
    project.write_config(input={"columns": {"image_url": "photo", "prompt": "Prompt"}})
    validated, planned = (
        pixmill("validate", project.path, "--json"),
        pixmill("plan", project.path, "--json"),
    )
    distinct = len({row[header.index("Prompt")] for row in rows})
    assert (
        validated.exit_code,
        validated.report["rows"],
        validated.report["invalid"],
    ) == (
        0,
        len(rows),
        0,
    )
    assert planned.exit_code == 0
    assert (
        planned.report["rows"]
        == planned.report["pending"]
        == planned.report["distinct"]
        == len(rows)
    )
    assert len(rows) > 1600
    assert distinct <= len(rows)
    assert not (project.folder / "out").exists()
