"""`pixmill.run` and `pixmill.plan`, as a notebook calls them."""

import html
import os
import shutil
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import pixmill
from pixmill import errors
from pixmill.errors import (
    ConfigError,
    PlanWarning,
    RunWarning,
    SpendingRefused,
    TableError,
)
from tests.conftest import ROOT, Project, Simulated, run_config

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


def test_a_run_removes_no_table_that_is_not_its_own(project: Project) -> None:
    frame = pd.DataFrame(project.rows(1))
    folder = project.folder / "out" / "simulated" / "pets" / "input"
    folder.mkdir(parents=True)
    shards = [folder / f"{number}.parquet" for number in range(7)]
    for shard in shards:
        frame.to_parquet(shard)
        os.utime(shard, (0, 0))
    pixmill.run(frame, **SECTIONS)
    assert all(shard.exists() for shard in shards)

    # Without a frame it has no table of its own, whatever those are called.
    given = folder / f"frame-{'0' * 16}.parquet"
    for name in (given, *(folder / f"frame-{'1' * 15}{at}.parquet" for at in range(7))):
        frame.to_parquet(name)
        os.utime(name, (0, 0))
    before = sorted(folder.iterdir())
    pixmill.run(given, **SECTIONS)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("pets.csv", "pets"),
        ("my pets.csv", "my-pets"),
        # Two of them must not replace each other's dataset.
        ("产品.csv", "dataset-aea827"),
        ("pets-猫.csv", "pets-c0b3f9"),
        ("shards/*.csv", "shards"),
        ("shards/part-*.csv", "part"),
        (f"{'long' * 40}.csv", "long" * 25),
    ],
)
def test_the_dataset_of_a_table_is_called_like_it_as_far_as_names_go(
    project: Project, table: str, name: str
) -> None:
    file = project.folder / table.replace("*", "1")
    file.parent.mkdir(exist_ok=True)
    pd.DataFrame(project.rows(1)).to_csv(file, index=False)
    sections = {key: value for key, value in SECTIONS.items() if key != "name"}
    assert pixmill.plan(table, **sections).config.name == name


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
    again = pixmill.run(table, input={"columns": columns}, **how)
    (tmp_path / "elsewhere").mkdir()
    os.chdir("elsewhere")
    assert list(again.df.input_path) == list(results.df.input_path)
    assert Path(again.config_file).is_file()
    source = {"columns": columns, "image_folder": ".."}
    assert pixmill.plan(table, input=source, store="../out", **how).to_pay == 0


def test_the_lines_of_the_readme_run_as_they_are(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "data", tmp_path / "data")
    page = (ROOT / "README.md").read_text().partition("## From a notebook")[2]
    code = page.partition("```python")[2].partition("```")[0]
    names: dict[str, Any] = {}
    # As it is, but for the two calls a second that are the default.
    exec(code.replace("sweep=sweep", "sweep=sweep, limits={'qps': 1000}"), names)
    results = names["results"]
    assert results.summary["calls"] == 4 * 4
    assert "4 rows × 4 points" in repr(pixmill.plan(results.config))
    assert results._repr_html_().count("<img") == 16


def test_a_plan_in_python_says_all_that_the_command_says_and_its_warnings_are_those_of_the_run(
    project: Project,
) -> None:
    frame = pd.DataFrame(project.rows(2))
    how = {**SECTIONS, "request": {"prompt": "{text}, in {style}"}}
    how["sweep"] = {"style": ["ink", "oil"], "exclude": ["style == 'wax'"]}
    shown = pixmill.plan(frame, **how)
    rephraser = "the rephraser is on and rewrites the prompt of each call"
    never = "sweep.exclude.0: style == 'wax'   holds for 0 of 2 points"
    # What notebooks look for, and types know nothing of.
    page = getattr(shown, "_repr_html_")()  # noqa: B009
    for text in (repr(shown), html.unescape(page)):
        assert f"  warning: {rephraser}" in text
        assert f"  warning: {never}" in text
        assert "  axes:\n      style  ink  oil\n  conditions:\n" in text
        assert "  the request of row 1 · r0 · style ink:\n" in text
        assert "run would make 4 calls, of r0, r1" in text
    with pytest.warns(PlanWarning) as warned:
        pixmill.run(frame, **how)
    assert [str(one.message).partition(", so")[0] for one in warned] == [
        never,
        rephraser,
    ]
    assert {one.filename for one in warned} == {__file__}
    # Nothing is left to pay for, and so to be warned of.
    pixmill.run(frame, **how)


def test_a_run_that_pays_needs_a_cap_or_a_yes_and_agreement_to_a_new_ledger(
    project: Project, simulated: Simulated
) -> None:
    project.use_simulator(simulated)
    frame = pd.DataFrame(project.rows(2))
    how = {
        **SECTIONS,
        "provider": project.config["provider"],
        "output": project.config["output"],
    }
    with pytest.raises(SpendingRefused, match="2 calls without a cap") as caught:
        pixmill.run(frame, **how, new_store=True)
    assert "max_calls=N" in caught.value.hint
    assert "yes=True" in caught.value.hint
    for agreed in ({"yes": True}, {"max_calls": 5}):
        with pytest.raises(SpendingRefused, match="no ledger") as caught:
            pixmill.run(frame, **how, **agreed)
        assert "new_store=True" in caught.value.hint
    assert simulated.bill.charged == 0

    # A budget is a stop that the results name, and a warning.
    with pytest.warns(RunWarning, match="max_calls"):
        stopped = pixmill.run(frame, **how, max_calls=1, new_store=True)
    assert (stopped.exit_code, stopped.summary["skipped"]) == (4, 1)
    assert stopped.reason == stopped.summary["reason"]
    assert "1 skipped" in stopped._repr_html_()
    assert pixmill.run(frame, **how, yes=True, limit=1).exit_code == 0
    assert simulated.bill.charged == 2


def test_a_refused_dataset_is_shown_and_said(project: Project) -> None:
    frame = pd.DataFrame(project.rows(2))
    how = {**SECTIONS, "quality": {"gate": ["count(status == 'succeeded') > 2"]}}
    with pytest.warns(RunWarning, match=r"refused by quality\.gate"):
        results = pixmill.run(frame, **how)
    assert results.exit_code == 7
    assert results._repr_html_().count("<img") == 2
    project.folder.joinpath("elsewhere").mkdir()
    os.chdir("elsewhere")
    assert results._repr_html_().count("<img") == 2
    assert pixmill.load_config(results.config_file).quality.gate
    with pytest.raises(errors.UserError, match="no dataset is published"):
        _ = results.df


def test_a_notebook_shows_transparent_pictures_and_the_axes_of_the_sweep_alone(
    project: Project,
) -> None:
    frame = pd.DataFrame(project.rows(1))
    frame["param_note"] = "a column of the table"
    plain = {"params": {"use_rephraser": False}}
    results = pixmill.run(frame, sweep={"scale": [2, 3]}, request=plain, **SECTIONS)
    Image.new("RGBA", (400, 200)).save(results.images[0], "PNG")
    page = results._repr_html_()
    assert "scale 2" in page
    assert "note " not in page
    shown = [part.partition('"')[0] for part in page.split("base64,")[1:]]
    modes = {Image.open(BytesIO(b64decode(one))).mode for one in shown}
    assert modes == {"RGB", "RGBA"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"max_call": 3},
            "max_call: unknown key; did you mean `budget.max_calls`?",
        ),
        ({"nam": "pets"}, "nam: unknown key; did you mean `name`?"),
        ({"limits": {"qps": "many"}}, "limits.qps"),
        ({"overrides": ["limits.qsp=3"]}, "limits.qsp: unknown key"),
        ({"input": {"path": "other.csv"}}, "two tables are given"),
        ({"execution": {"engine": "dask"}}, "execution.engine: dask is for"),
        ({"request": {"prompt": "{txt}"}}, "'txt'"),
        ({"limit": -1}, "limit: -1 is less than 0"),
        ({"max_calls": -1}, "budget.max_calls"),
    ],
    ids=str,
)
def test_a_mistake_is_one_message_with_its_place(
    arguments: dict[str, Any], words: str, project: Project
) -> None:
    frame = pd.DataFrame(project.rows(1))
    with pytest.raises(errors.UserError) as caught:
        pixmill.run(frame, **{**SECTIONS, **arguments})
    assert words in str(caught.value)
    shown = caught.value._render_traceback_()
    assert shown[0] == f"{type(caught.value).__name__}: {caught.value}"
    assert len(shown) == (2 if caught.value.hint else 1)


def test_a_config_may_be_a_path_a_dict_keywords_or_what_was_loaded(
    project: Project,
) -> None:
    project.write_rows(project.rows(2))
    path = project.write_config(seed={"base": 3}, store="out")
    loaded = pixmill.load_config(path)
    forms = (
        pixmill.plan(path),
        pixmill.plan(project.config),
        pixmill.plan(**project.config),
        pixmill.plan(loaded),
        pixmill.plan("pets.csv", config=path),
        pixmill.plan(pd.DataFrame(project.rows(2)), config=loaded),
    )
    keys = [[key for batch in plan.batches() for key in batch.keys] for plan in forms]
    assert keys[0]
    assert keys == keys[:1] * len(forms)
    # Keywords take precedence, key by key, and overrides over them.
    plan = pixmill.plan(path, seed={"replicates": 2}, overrides=["seed.base=4"])
    assert (plan.config.seed.base, plan.config.seed.replicates) == (4, 2)
