"""`pixmill.run` and `pixmill.plan`, as a notebook calls them."""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pixmill
from pixmill.errors import ConfigError, TableError
from tests.conftest import ROOT, Project, run_config

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


def test_image_files_of_a_frame_are_relative_to_the_working_directory(
    tmp_path: Path,
) -> None:
    shutil.copytree(ROOT / "data" / "pets", tmp_path / "pets")
    table = pd.read_csv(ROOT / "data" / "pets.csv").head(2)
    how = {"name": "pets", "limits": {"qps": 1000}}
    columns = {"image_file": "photo", "prompt": "text"}
    results = pixmill.run(table, input={"columns": columns}, **how)
    assert results.summary["calls"] == 2
    assert [Path(path).parent for path in results.df.input_path] == [
        tmp_path / "pets"
    ] * 2

    # As in a file beside the images, and stored as well.
    table.to_csv("pets.csv", index=False)
    kept = pixmill.run("pets.csv", input={"columns": columns, "images": "keep"}, **how)
    assert kept.summary["calls"] == 0
    assert all("/images/" in path for path in kept.df.input_path)
    # From another folder they are found by the one that is set.
    (tmp_path / "elsewhere").mkdir()
    os.chdir("elsewhere")
    source = {"columns": columns, "image_folder": ".."}
    assert pixmill.plan(table, input=source, store="../out", **how).to_pay == 0
