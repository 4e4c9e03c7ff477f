"""Tables of any types run whole on the simulator: nothing is paid for that can't be published, exported and loaded."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pixmill
from pixmill.arrow_types import conform, plain_type
from pixmill.config.loading import load_config
from pixmill.datasets.export import Format, export
from pixmill.tables import as_json
from tests.conftest import Project, Simulated, run_config, simulator
from tests.fuzz.amount import EFFORT
from tests.fuzz.random_columns import random_column

ROWS, COLUMNS = 5, 6
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "webdataset", "imagefolder", "parquet")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulator(tmp_path_factory.mktemp("provider")) as running:
        yield running


def kept_by_parquet(column: pa.Array, folder: Path) -> bool:
    """Whether Arrow itself can write such a column to a file and read it again."""
    try:
        pq.write_table(pa.table({"x": column}), folder / "try.parquet")
        with pq.ParquetFile(folder / "try.parquet") as file:
            for batch in file.iter_batches():
                batch.validate(full=True)
    except (pa.ArrowException, OSError):
        return False
    return True


def random_table(seed: int, folder: Path) -> pa.Table:
    """Valid rows and one that is not, with columns of the seed's types."""
    chance = Random(seed)
    photos = [f"https://images.example.com/{seed}/{at}.jpg" for at in range(ROWS)]
    photos[chance.randrange(ROWS)] = "nowhere"
    own = {
        "id": [str(at) for at in range(ROWS)],
        "photo": photos,
        "text": ["a barn"] * ROWS,
    }
    drawn = (random_column(chance, ROWS) for _ in range(COLUMNS))
    return pa.table(
        {
            **own,
            **{
                f"c{at}": of
                for at, of in enumerate(drawn)
                if kept_by_parquet(of, folder)
            },
        }
    )


def run_whole(seed: int, folder: Path, provider: Simulated) -> None:
    """Run a table, and read all that comes out of it."""
    folder.mkdir()
    project = Project(folder)
    table = random_table(seed, folder)
    pq.write_table(table, folder / "pets.parquet")
    project.use_simulator(provider)
    path = str(folder / "pets.parquet")
    config = project.write_config(
        input={"path": path, "row_key": ["id"], "max_invalid": 1}
    )
    report = run_config(config)
    assert (report["succeeded"], report["invalid"]) == (ROWS - 1, 1)
    assert Path(report["report"]).exists()
    for kind in FORMATS:
        assert export(load_config(config), kind, folder / kind).rows in (ROWS, ROWS - 1)
    for line in (folder / "jsonl").read_text().splitlines():
        assert {*table.schema.names} <= {*strict(line)}
    with tarfile.open(next((folder / "webdataset").iterdir())) as files:
        members = [files.extractfile(of) for of in files if of.name.endswith(".json")]
        assert all(strict(of.read().decode()) for of in members if of)
    frame = pixmill.load_results(config)
    assert len(frame) == ROWS
    assert str(frame)


def strict(text: str) -> Any:
    """JSON as RFC 8259 has it."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def run_many(first: int, count: int, folder: Path, provider: Simulated) -> None:
    for seed in range(first, first + count):
        before = provider.bill.calls
        try:
            run_whole(seed, folder / str(seed), provider)
        except Exception as error:
            error.add_note(
                f"seed {seed}: {provider.bill.calls - before} calls were paid for"
            )
            raise


@pytest.mark.parametrize("seed", range(0, 1_000 * EFFORT, 100))
def test_columns_of_any_type_read_the_same_in_their_plain_form(seed: int) -> None:
    """G21, G26: each test draws a hundred columns, and cuts them as batches are cut."""
    for number in range(seed, seed + 100):
        column = random_column(Random(number), ROWS)
        for part in (column, column[1:], column[2:4]):
            plain = conform(part, plain_type(part.type))
            plain.validate(full=True)
            assert as_json(plain) == as_json(part), number


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:overflow encountered in cast"
)  # pandas prints half floats
def test_some_tables_of_random_types_run_whole(
    tmp_path: Path, provider: Simulated
) -> None:
    """G26, G29."""
    run_many(0, 5, tmp_path, provider)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("first", [0, *range(1_000, 1_250 * EFFORT, 50)])
def test_hundreds_of_tables_of_random_types_run_whole(
    first: int, tmp_path: Path, provider: Simulated
) -> None:
    """G26, G29: each test carries 50 tables out, and a failure says the seed of its own."""
    run_many(first, 50, tmp_path, provider)
