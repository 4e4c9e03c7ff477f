"""`pixmill.run` and `pixmill.plan`, as a notebook calls them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pixmill
from pixmill.errors import ConfigError, TableError
from tests.conftest import Project, run_config

SECTIONS: dict[str, Any] = {
    "name": "pets",
    "input": {"row_key": ["id"], "columns": {"image_url": "photo", "prompt": "text"}},
    "limits": {"qps": 1000},
}


def test_a_frame_is_paid_for_once_and_then_found_by_its_csv(project: Project) -> None:
    frame = pd.DataFrame(project.rows(3))
    project.write_rows(project.rows(3))
    config = project.write_config(store="out", **SECTIONS)
    assert pixmill.plan(frame, **SECTIONS).to_pay == 3

    results = pixmill.run(frame, **SECTIONS)

    assert results.exit_code == 0
    assert results.summary["calls"] == 3
    assert [Path(path).is_absolute() for path in results.images] == [True] * 3
    assert list(results.df.row_key) == ["r0", "r1", "r2"]
    assert pixmill.plan(frame, **SECTIONS).to_pay == 0
    # As CSV and YAML, and once more from the config that was published.
    assert run_config(config)["calls"] == 0
    assert run_config("out/simulated/pets/config.yaml")["calls"] == 0
    assert pixmill.run(config).summary["calls"] == 0
    assert pixmill.run(Path(project.folder, "pets.csv"), **SECTIONS).exit_code == 0


def test_what_is_no_table_and_two_configs_are_one_message() -> None:
    with pytest.raises(TableError, match="a int is not a table"):
        pixmill.run(3)
    with pytest.raises(ConfigError, match="two configs"):
        pixmill.run("pets.yaml", config="dogs.yaml")
