"""Columns of every type that a Parquet file can hold, in every place that a config can map a column to.

Each is read, or refused in words: never a traceback, and never another value than the one that stands there.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config_file import load_config
from pixmill.plan import Plan, make_plan
from tests.conftest import Simulated, Workshop, carry_out, results

PLACES: Mapping[str, Mapping[str, Any]] = {
    "prompt": {"columns": {"image_url": "photo", "prompt": "odd"}},
    "list field": {
        "columns": {"image_url": "photo", "prompt": "text", "controlnet_args.0.strength": "odd"}
    },
}
"""By what the column `odd` is mapped to, the section `input`."""


def planned(workshop: Workshop, odd: pa.Array, place: Mapping[str, Any]) -> Plan:
    rows = workshop.rows(len(odd))
    table = pa.Table.from_pylist(rows).append_column("odd", odd)
    pq.write_table(table, workshop.folder / "pets.parquet")
    path = str(workshop.folder / "pets.parquet")
    policy = "column" if "seed" in place["columns"] else "per_row"
    workshop.config["input"] = {}
    workshop.write_config(input={**place, "path": path, "max_invalid": 1}, seed={"policy": policy})
    return make_plan(load_config(workshop.path), None)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_equal_numbers_in_narrower_floats_are_one_job(
    workshop: Workshop, kind: pa.DataType
) -> None:
    values, place = [0.6, 0.25, 0.001], PLACES["list field"]

    def keys(odd: pa.Array) -> list[str | None]:
        return [key for batch in planned(workshop, odd, place).batches() for key in batch.keys]

    assert keys(pa.array(values, kind)) == keys(pa.array(["0.6", "0.25", "0.001"]))


@pytest.mark.parametrize(
    "text",
    [
        pa.array(["a pet"] * 3, pa.string_view()),
        pa.array([b"a pet"] * 3, pa.binary_view()),
        pa.array(["a pet"] * 3, pa.large_string()),
        pa.array(["a pet"] * 3).dictionary_encode(),
    ],
    ids=lambda array: str(array.type).partition("<")[0],
)
def test_text_of_any_type_is_asked_for_and_published(
    workshop: Workshop, simulated: Simulated, text: pa.Array
) -> None:
    planned(workshop, text, PLACES["prompt"])
    workshop.use(simulated)
    report = carry_out(workshop.path)
    assert (report["succeeded"], simulated.bill.charged) == (3, 3)
    assert [row["prompt"] for row in results(report)] == ["a pet"] * 3
