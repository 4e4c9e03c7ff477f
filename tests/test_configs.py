"""The configs that teach: each does what it says, at once, and none of them holds a secret."""

import re
import shutil
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest
import yaml

from pixmill.api.functions import plan
from pixmill.config.loading import load_config
from pixmill.datasets.refused_dataset import accept_refused
from pixmill.planning.planner import make_plan
from pixmill.planning.promotion import promote_picks, promote_point
from pixmill.request.model import flatten
from pixmill.request.sweep import make_points
from tests.conftest import ROOT, results, run_config, simulator


def of(path: Path) -> str:
    return path.stem


CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
FREE = [path for path in CONFIGS if load_config(path).simulated]
SWEPT = [path for path in CONFIGS if load_config(path).sweep.groups]
PAID = [path for path in CONFIGS if path not in FREE]
RUN_BELOW = (
    "candidates",
    "checked-nightly",
    "compare-models",
    "control-strength",
    "edit",
    "inpaint",
    "nightly",
    "own-table",
    "seed-study",
    "upscale",
)
"""Those of which a quick test carries out what they are about."""

FAST = ("limits.qps=5000", "limits.concurrency=16")
NO_IMAGES = "output.images=url"
SECRET = re.compile(r"[A-Za-z0-9+=]{20,}|AKLT|\bsk-|Bearer \w{5}")
SECRET_KEYS = re.compile(r"(?<!req_)(?<!row_)key$|secret|password|token", re.IGNORECASE)


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configs name their tables relative to the project."""
    monkeypatch.chdir(ROOT)


def config(name: str) -> str:
    return str(ROOT / "configs" / f"{name}.yaml")


def own_store(folder: Path) -> tuple[str, ...]:
    return (f"store={folder / 'out'}", *FAST)


@pytest.mark.parametrize("path", CONFIGS, ids=of)
def test_a_config_plans_against_its_table(path: Path) -> None:
    found = make_plan(load_config(path), None).summary()
    assert found["invalid"] == 0
    assert found["pending"] == found["distinct"] > 0


@pytest.mark.parametrize("path", CONFIGS, ids=of)
def test_a_config_is_short_and_begins_with_what_to_type(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert 10 <= len(lines) <= 40
    head = "\n".join(line for line in lines[: lines.index("version: 1")])
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"pixmill run configs/{path.name}" in head


def test_every_config_publishes_a_dataset_of_its_own() -> None:
    names = [load_config(path).name for path in CONFIGS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", CONFIGS, ids=of)
def test_no_config_holds_a_secret(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert SECRET.findall(text) == []
    assert [
        name for name in flatten(yaml.safe_load(text)) if SECRET_KEYS.search(name)
    ] == []


def test_a_secret_would_be_found() -> None:
    keys = [
        "provider.api_key",
        "provider.secret_access_key",
        "ledger.password",
        "VOLC_SECRETKEY",
    ]
    assert all(map(SECRET_KEYS.search, keys))
    assert not any(
        map(SECRET_KEYS.search, ["input.row_key.0", "input.row_key", "request.req_key"])
    )
    assert all(
        map(SECRET.search, ["x: c2VjcmV0LWtleS1vZi1tLmUu=", "AKLTabc", "Bearer abcde"])
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if of(path) in RUN_BELOW else [])
        for path in FREE
    ],
    ids=of,
)
def test_a_config_of_the_simulator_runs_and_its_second_run_pays_nothing(
    path: Path, tmp_path: Path
) -> None:
    overrides = own_store(tmp_path)
    if not load_config(path).quality.checks:
        # What looks at pictures needs them.
        overrides += (NO_IMAGES,)
    first = run_config(str(path), *overrides)
    assert first["exit_code"] == 0, first["reason"]
    assert first["succeeded"] == first["jobs"] > 0
    again = run_config(str(path), *overrides)
    assert (again["exit_code"], again["calls"], again["cached"]) == (
        0,
        0,
        first["jobs"],
    )


def test_the_first_run_brings_every_image(tmp_path: Path) -> None:
    report = run_config(config("pets"), *own_store(tmp_path), painted=True)
    assert (report["succeeded"], report["images_missing"]) == (12, 0)
    assert all(
        (tmp_path / "out" / "simulated" / row["file_name"]).stat().st_size
        for row in results(report)
    )


@pytest.mark.parametrize("path", PAID, ids=of)
def test_a_template_for_a_provider_has_caps_and_carries_out_what_it_says(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLC_ACCESSKEY", "made-up-access")
    monkeypatch.setenv("VOLC_SECRETKEY", "made-up-secret")
    assert load_config(path).budget.max_calls == 100
    assert {"provider", "limits", "budget"} <= load_config(path).model_fields_set
    with simulator(tmp_path) as simulated:
        here = (f"provider.base_url={simulated.url}", "output.allow_hosts=[127.0.0.1]")
        report = run_config(str(path), *own_store(tmp_path), *here)
        assert (report["exit_code"], report["succeeded"], report["calls"]) == (
            0,
            12,
            12,
        ), report["reason"]
        assert report["cost"] == pytest.approx(12 * 0.2)
        assert simulated.bill.charged == 12


@pytest.mark.parametrize("path", SWEPT, ids=of)
def test_no_sweep_compares_prompts_that_a_rephraser_rewrites(path: Path) -> None:
    request = load_config(path).request
    made = make_points(load_config(path).sweep, request)
    if any(axis.path == "req_key" for axis in made.axes):
        # Models are compared as they are, with what they make of a prompt.
        return
    assert {
        made.request_at(point, request).params["use_rephraser"] for point in made.points
    } == {False}


def test_control_strength_holds_everything_but_the_control(tmp_path: Path) -> None:
    rows = results(
        run_config(config("control-strength"), *own_store(tmp_path), NO_IMAGES)
    )
    assert len(rows) == 4 * 9
    assert len({(row["row_key"], row["prompt"], row["seed"]) for row in rows}) == 4
    loaded = load_config(
        config("control-strength"), (*own_store(tmp_path), "input.where=null")
    )
    full = tmp_path / "full.yaml"
    full.write_text(promote_point(loaded, rows[3]["point_id"]).to_yaml())
    found = plan(load_config(full)).summary()
    assert (found["jobs"], found["cached"], found["pending"]) == (12, 4, 8)


def test_more_replicates_of_the_seed_study_keep_the_others(tmp_path: Path) -> None:
    overrides = (*own_store(tmp_path), NO_IMAGES)
    assert run_config(config("seed-study"), *overrides)["calls"] == 3 * 2 * 6
    assert (
        run_config(config("seed-study"), *overrides, "seed.replicates=8")["calls"]
        == 3 * 2 * 2
    )


def test_a_night_pays_for_what_is_new(tmp_path: Path) -> None:
    first = run_config(
        config("nightly"),
        *own_store(tmp_path),
        "input.path=data/nightly/2026-10-01.csv",
    )
    second = run_config(config("nightly"), *own_store(tmp_path))
    assert (first["calls"], second["calls"]) == (3, 2)
    assert (second["rows"], second["jobs"], second["succeeded"]) == (6, 6, 6)


def test_a_flawed_night_is_not_published_until_a_person_accepts_it(
    tmp_path: Path,
) -> None:
    path = config("checked-nightly")
    here = own_store(tmp_path)
    # The first night without a look at its pictures, which takes most of the time here.
    unlooked = ("quality.checks=[]", "quality.gate=[]")
    day = "input.path=data/nightly/2026-10-01.csv"
    first = run_config(path, *here, day, *unlooked)
    assert first["exit_code"] == 0
    published = Path(first["dataset"])
    before = published.read_bytes()

    flawed = ROOT / "configs" / "faults" / "flawed-night.yaml"
    with simulator(tmp_path, "--faults", str(flawed)) as bad:
        report = run_config(path, *here, f"provider.base_url={bad.url}")
    assert (report["exit_code"], report["calls"]) == (7, 2)
    assert published.read_bytes() == before
    refused_for = [
        each["condition"] for each in report["gate"]["conditions"] if not each["holds"]
    ]
    assert refused_for == ["share(flag_blank) <= 0.01"]

    accept_refused(load_config(path, here))
    assert len(results(first)) == 6
    again = run_config(path, *here)
    assert (again["exit_code"], again["calls"]) == (0, 0)


def test_rows_with_flawed_pictures_get_others(tmp_path: Path) -> None:
    flawed = ROOT / "configs" / "faults" / "flawed-night.yaml"
    # As the quick pictures of tests are squares of colours, none is blurred on purpose.
    here = (*own_store(tmp_path), "quality.checks=[blank, dark]", "quality.gate=[]")
    until = (
        "quality.until.where=not (flag_blank or flag_dark)",
        "quality.until.keep=dark",
    )
    with simulator(tmp_path, "--faults", str(flawed)) as bad:
        address = f"provider.base_url={bad.url}"
        report = run_config(config("candidates"), *here, *until, address)
    counts = report["candidates"]
    assert report["rows"] == counts["pictures"] == report["succeeded"]
    assert counts["drawn"] == report["calls"] > report["rows"]
    rows = results(report)
    assert sum(row["accepted"] for row in rows) == counts["accepted"] > 0
    assert {row["candidate"] for row in rows} > {0}


def test_a_table_of_ones_own_brings_its_columns_and_only_the_rows_that_are_wanted(
    tmp_path: Path,
) -> None:
    rows = results(run_config(config("own-table"), *own_store(tmp_path), NO_IMAGES))
    assert [row["row_key"] for row in rows] == [
        "LMP-011",
        "CHR-204",
        "KTL-130",
        "BWL-301",
    ]
    assert {"sku", "picture", "title", "material", "stock"} <= rows[0].keys()


def test_models_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    rows = results(
        run_config(config("compare-models"), *own_store(tmp_path), NO_IMAGES)
    )
    by_model = {
        req_key: [(row["row_key"], row["prompt"]) for row in group]
        for req_key, group in groupby(
            sorted(rows, key=itemgetter("req_key", "row_number")),
            itemgetter("req_key"),
        )
    }
    assert len(by_model) == 3
    assert len({tuple(asked) for asked in by_model.values()}) == 1
    assert {row["seed"] is None for row in rows} == {True, False}
    assert {row["task_id"] is None for row in rows} == {True, False}


@pytest.mark.parametrize("name", ["edit", "inpaint", "upscale"])
def test_an_edit_shows_the_picture_before_and_after(name: str, tmp_path: Path) -> None:
    rows = results(run_config(config(name), *own_store(tmp_path)))
    assert rows
    for row in rows:
        assert row["input_image"] != row["file_name"]
        for file in (row["input_image"], row["file_name"]):
            assert (tmp_path / "out" / "simulated" / file).stat().st_size


def test_what_takes_neither_prompt_nor_seed_has_none_in_the_dataset(
    tmp_path: Path,
) -> None:
    rows = results(run_config(config("upscale"), *own_store(tmp_path), NO_IMAGES))
    assert {(row["prompt"], row["seed"]) for row in rows} == {(None, None)}


def test_the_page_about_sweeps_shows_the_config_that_it_names(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    shown, by_hand = (
        yaml.safe_load(block)
        for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    )
    source = yaml.safe_load(
        Path(config("control-strength")).read_text(encoding="utf-8")
    )
    assert (shown["sweep"], shown["request"]) == (source["sweep"], source["request"])
    assert shown["input"]["where"] == source["input"]["where"]
    loaded = load_config(config("control-strength"))
    points = {point.id for point in make_points(loaded.sweep, loaded.request).points}
    assert set(re.findall(r"\b[0-9a-f]{12}\b", page)) <= points
    (picks,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (tmp_path / "picks.csv").write_text(picks, encoding="utf-8")
    shutil.copytree(ROOT / "data" / "pets", tmp_path / "pets")
    promoted = promote_picks(loaded, str(tmp_path / "picks.csv")).config
    assert (promoted.input.columns, list(promoted.input.row_key)) == (
        by_hand["input"]["columns"],
        ["id"],
    )
    found = make_plan(promoted, None).summary()
    assert (found["distinct"], found["invalid"]) == (4, 0)
