"""One row for every type that Parquet can hold: what validates is published, exported, loaded and shown."""

import csv
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pixmill
from pixmill.arrow_types import conform, plain_type
from pixmill.conditions import parse
from pixmill.config.loading import load_config
from pixmill.datasets.export import Exported, Format, export
from pixmill.tables import as_json, as_text
from tests.conftest import Project, run_config
from tests.pixmill.datasets.column_types import COLUMNS
from tests.pixmill.datasets.report.page_text import about, column

TYPES = pytest.mark.parametrize("name", COLUMNS)
UNKNOWN_TO_DATASETS = ["map"]
"""The library refuses any Parquet file with such a column, the input's own as well."""

LOAD = """
import json, sys
import datasets
loaded = datasets.load_dataset(sys.argv[1], split="train", **json.loads(sys.argv[2]))
rows = loaded.with_format("arrow") if sys.argv[1] == "parquet" else loaded
print(json.dumps({"rows": len(list(rows)), "columns": loaded.column_names}))
"""


class Made(NamedTuple):
    """What a run made of a table with all columns, and all that was exported of it."""

    config: str
    report: dict[str, Any]
    exports: dict[str, Path]
    exported: dict[str, Exported]

    @property
    def dataset(self) -> pa.Table:
        return pq.read_table(self.report["dataset"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    project = Project(tmp_path_factory.mktemp("types"))
    photos = [f"https://images.example.com/{at}.jpg" for at in range(4)]
    photos[2] = ""
    own = {"id": ["a", "b", "c", "d"], "photo": photos, "text": ["a barn"] * 4}
    pq.write_table(pa.table({**own, **COLUMNS}), project.folder / "pets.parquet")
    path = str(project.folder / "pets.parquet")
    config = project.write_config(
        input={"path": path, "row_key": ["id"], "max_invalid": 1}
    )
    report = run_config(config)
    kinds: list[Format] = ["csv", "jsonl", "webdataset", "imagefolder", "parquet"]
    exports = {kind: project.folder / f"out-{kind}" for kind in kinds}
    exported = {
        kind: export(load_config(config), kind, exports[kind]) for kind in kinds
    }
    return Made(config, report, exports, exported)


def strict(text: str) -> Any:
    """JSON as RFC 8259 has it, without the `NaN` that Python's own reader takes."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_a_table_of_all_types_runs_and_its_invalid_row_is_told(made: Made) -> None:
    """G26."""
    assert (made.report["succeeded"], made.report["invalid"]) == (3, 1)
    assert made.report["calls"] == 3


@TYPES
def test_a_column_is_published_with_its_values(made: Made, name: str) -> None:
    """G26."""
    given = conform(COLUMNS[name], plain_type(COLUMNS[name].type))
    assert as_json(made.dataset[name]) == as_json(given)


@TYPES
def test_a_column_reads_the_same_everywhere(made: Made, name: str) -> None:
    """G26: in CSV, JSON lines and the record of invalid rows."""
    texts = as_text(COLUMNS[name], encoded=True).to_pylist()
    with made.exports["csv"].open(newline="") as file:
        cells = [row[name] for row in csv.DictReader(file)]
    assert [cell.removeprefix("'") for cell in cells] == [text or "" for text in texts]
    lines = made.exports["jsonl"].read_text().splitlines()
    assert [strict(line)[name] for line in lines] == as_json(COLUMNS[name])
    (invalid,) = pq.read_table(
        Path(made.report["dataset"]).with_name("invalid.parquet")
    ).to_pylist()
    assert strict(invalid["values"])[name] == as_text(COLUMNS[name])[2].as_py()


@TYPES
def test_a_condition_finds_a_value_by_its_text(made: Made, name: str) -> None:
    """G26: numbers by their number, but for infinities, which have none."""
    texts = as_text(made.dataset[name]).to_pylist()
    for at, text in enumerate(texts):
        if text and text not in ("inf", "-inf") and not {'"', "\\"} & {*text}:
            chosen = parse(f'{name} == "{text}"').mask(
                {name: made.dataset[name]}, len(texts)
            )
            assert chosen[at]


@TYPES
def test_a_column_is_in_the_samples_or_its_absence_is_said(
    made: Made, name: str
) -> None:
    """G26."""
    (shard,) = made.exports["webdataset"].iterdir()
    with tarfile.open(shard) as files:
        members = [files.extractfile(of) for of in files if of.name.endswith(".json")]
        samples = [strict(of.read().decode()) for of in members if of]
    metadata = pq.read_table(made.exports["imagefolder"] / "train" / "metadata.parquet")
    for kind in ("webdataset", "imagefolder"):
        assert (name in made.exported[kind].columns_left_out) == (
            name not in samples[0]
        )
    if name in samples[0]:
        given = as_json(COLUMNS[name])
        assert [of[name] for of in samples] == [given[0], given[1], given[3]]
        texts = as_text(COLUMNS[name]).to_pylist()
        assert as_text(metadata[name]).to_pylist() == [texts[0], texts[1], texts[3]]


@TYPES
def test_a_column_is_shown_in_the_report(made: Made, name: str) -> None:
    """G26: but for bytes, which say nothing to a reader."""
    page = Path(made.report["report"])
    shown = about(page)["own"]
    holds_bytes = "binary" in str(COLUMNS[name].type).replace("fixed_size_binary", "")
    assert (name in shown) != holds_bytes
    if not holds_bytes:
        texts = [
            text and text.replace("\r\n", "\n")
            for text in as_text(COLUMNS[name]).to_pylist()
        ]
        found = [
            text and text.replace("\r\n", "\n")
            for text in column(page, "own", shown.index(name))
        ]
        assert found == texts


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in cast"
)  # pandas prints half floats
def test_a_frame_of_all_types_loads_and_can_be_printed(made: Made) -> None:
    """G26."""
    frame = pixmill.load_results(made.config)
    assert {*COLUMNS} <= {*frame.columns}
    for name in COLUMNS:
        assert len(repr(frame[name])) > 0
        assert len(frame[name]) == 4
    assert pd.isna(frame["timestamp_forever"][3])
    assert frame["timestamp_forever"][1] == "10000-01-01T04:59:59Z"
    assert made.dataset.schema.field("timestamp_ns_no_zone").type == pa.timestamp(
        "ns", "UTC"
    )


def loaded(kind: str, cache: Path, **arguments: Any) -> dict[str, Any]:
    offline = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", LOAD, kind, json.dumps(arguments)],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)  # type: ignore[no-any-return]


def test_hugging_face_datasets_reads_the_dataset(made: Made, tmp_path: Path) -> None:
    """G26."""
    known = made.dataset.drop_columns(UNKNOWN_TO_DATASETS)
    pq.write_table(known, tmp_path / "known.parquet")
    found = loaded("parquet", tmp_path, data_files=str(tmp_path / "known.parquet"))
    assert found == {"rows": 4, "columns": known.schema.names}


def test_hugging_face_datasets_reads_every_sample_of_an_image_folder(
    made: Made, tmp_path: Path
) -> None:
    """G26: row by row, as Python's objects."""
    found = loaded("imagefolder", tmp_path, data_dir=str(made.exports["imagefolder"]))
    assert found["rows"] == 3
    left_out = {*made.exported["imagefolder"].columns_left_out}
    assert {*COLUMNS} - left_out <= {*found["columns"]}
