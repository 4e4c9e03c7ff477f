"""`extends`, environment variables and the short form of a sweep: what a config means when part of it is elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.errors import ConfigError

BASE = """
name: base
store: /data/${TEAM}/out
input:
  path: pets.csv
  columns: {image_url: photo, prompt: text}
request: {prompt: "{text}, for ${price}", params: {scale: 3, ddim_steps: 16}}
sweep: {groups: [{grid: {price: ["${TEAM}", 7]}}, {zip: {scale: [2, 3]}}], only: [scale > 1]}
provider: {kind: gateway, base_url: "https://${HOST:-gateway.example.com}"}
limits: {qps: "${QPS:-2}", concurrency: 1_0}
budget: {max_calls: 5, price_per_call: 0.2}
"""


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", "blue")
    for name in ("HOST", "QPS", "UNSET"):
        monkeypatch.delenv(name, raising=False)


def load(folder: Path, text: str, *overrides: str) -> Config:
    (folder / "base.yaml").write_text(BASE)
    (folder / "own.yaml").write_text(text)
    return load_config(folder / "own.yaml", overrides)


def mistakes(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    return str(caught.value)


def test_the_keys_of_another_file_are_the_defaults(tmp_path: Path, team: None) -> None:
    loaded = load(
        tmp_path,
        "extends: base.yaml\nname: own\nlimits: {qps: 7}\nrequest: {params: {scale: 9}}\n",
        "budget.max_calls=3",
    )
    assert (loaded.name, loaded.store) == ("own", "/data/blue/out")
    assert (loaded.limits.qps, loaded.limits.concurrency) == (7, 10)
    assert loaded.request.params == {"scale": 9, "ddim_steps": 16}
    assert (loaded.budget.max_calls, float(loaded.budget.price_per_call or 0)) == (3, 0.2)  # fmt: skip
    assert loaded.provider.base_url == "https://gateway.example.com"
    assert "extends" not in loaded.to_yaml()
    (tmp_path / "resolved.yaml").write_text(loaded.to_yaml())
    assert load_config(tmp_path / "resolved.yaml") == loaded


def test_the_provider_of_a_base_that_names_no_kind_is_the_simulator(
    tmp_path: Path, team: None
) -> None:
    """An address of it is inherited by a config that names it."""
    (tmp_path / "base.yaml").write_text(
        BASE.partition("provider:")[0]
        + "provider: {base_url: 'http://127.0.0.1:8099'}\n"
    )
    for own, expected in (
        ("provider: {kind: simulator}", "http://127.0.0.1:8099"),
        ("provider: {kind: volcengine}", None),
    ):
        (tmp_path / "own.yaml").write_text(f"extends: base.yaml\n{own}\n")
        assert load_config(tmp_path / "own.yaml").provider.base_url == expected


@pytest.mark.parametrize(
    ("own", "section", "expected"),
    [
        ("input: {columns: {image_file: p}}", "input.columns", {"image_file": "p", "prompt": "text"}),
        ("input: {columns: {ddim_steps: s}}", "input.columns",
         {"image_url": "photo", "prompt": "text", "ddim_steps": "s"}),
        ("provider: {kind: simulator}", "provider.base_url", None),
        ("provider: {account: x}", "provider.base_url", "https://gateway.example.com"),
        ("sweep: {ddim_steps: [1]}", "sweep.groups", ({"grid": {"ddim_steps": [1]}},)),
        ("sweep: {ddim_steps: [1]}", "sweep.only", ()),
        ("sweep: {groups: []}", "sweep.groups", ()),
        ("sweep: {only: []}", "sweep.groups",
         ({"grid": {"price": ["${TEAM}", 7]}}, {"zip": {"scale": [2, 3]}})),
        ("sweep: null", "sweep.groups", ()),
    ],
)  # fmt: skip
def test_sections_are_merged_as_they_are_meant(
    tmp_path: Path, team: None, own: str, section: str, expected: Any
) -> None:
    text = f"extends: base.yaml\nrequest: {{prompt: '{{text}}, {{price}}'}}\n{own}\n"
    if "sweep" in own:
        text = text.replace(", {price}", "") if "only: []" not in own else text
    found: Any = load(tmp_path, text)
    for part in section.split("."):
        found = getattr(found, part)
    assert found == expected


def test_files_extend_each_other_in_a_chain_relative_to_each(
    tmp_path: Path, team: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared" / "deep").mkdir(parents=True)
    (tmp_path / "shared" / "base.yaml").write_text(BASE)
    (tmp_path / "shared" / "deep" / "mid.yaml").write_text(
        "extends: ../base.yaml\nname: mid\nlimits: {qps: 3}\nrequest: {prompt: '{text} {price}'}\n"
    )
    monkeypatch.setenv("UNSET", "shared")
    loaded = load(
        tmp_path, "extends: ${UNSET}/deep/mid.yaml\nlimits: {concurrency: 2}\n"
    )
    assert (loaded.name, loaded.limits.qps, loaded.limits.concurrency) == ("mid", 3, 2)
    monkeypatch.chdir(tmp_path / "shared")
    assert load_config("../own.yaml").request == loaded.request


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: none.yaml\n", "none.yaml: No such file or directory"),
        ("extends: own.yaml\n", "own.yaml, which extends"),
        ("extends: ./../{folder}/own.yaml\n", "no file can extend itself"),
        ("extends: round.yaml\n", "round.yaml, which extends"),
        ("extends: [base.yaml]\n", "extends: must be the path of one config"),
        ("extends: null\n", "extends: must be the path of one config"),
        ("extends: ''\n", "extends: is empty"),
        ("extends: https://example.com/a.yaml\n", "extends: https:// is not supported"),
        ("extends: ${UNSET}/a.yaml\n", "the environment variable UNSET is not set"),
        ("extends: broken.yaml\n", "broken.yaml is not valid YAML: line 2"),
        ("extends: list.yaml\n", "list.yaml must be a mapping"),
    ],
)
def test_what_can_not_be_extended_is_named(
    tmp_path: Path, team: None, text: str, said: str
) -> None:
    (tmp_path / "round.yaml").write_text("extends: round2.yaml\n")
    (tmp_path / "round2.yaml").write_text("extends: own.yaml\n")
    (tmp_path / "broken.yaml").write_text("name: [\n")
    (tmp_path / "list.yaml").write_text("- name\n")
    assert said in mistakes(tmp_path, text.replace("{folder}", tmp_path.name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: ${UNSET}/out", "store: contains ${UNSET}, and the environment variable UNSET is not set"),
        ("input: {path: '${UNSET}'}", "input.path: contains ${UNSET}, and the environment"),
        ("provider: {account: '${TEAM-x}'}", "provider.account: contains ${TEAM-x}, which is not ${NAME}"),
        ("provider: {account: '${}'}", "provider.account: contains ${}, which is not ${NAME}"),
        ("provider: {account: '${PIXMILL_API_KEY}'}", "provider.account: contains ${PIXMILL_API_KEY}, and a secret"),
        ("request: {params: {logo_info: {logo_text_content: '${VOLC_SECRETKEY:-x}'}}}",
         "logo_text_content: contains ${VOLC_SECRETKEY:-x}, and a secret"),
        ("ledger: 'postgresql+psycopg://me:${PGPASSWORD}@db/x'", "ledger: contains ${PGPASSWORD}, and a secret"),
    ],
)  # fmt: skip
def test_a_variable_that_can_not_be_filled_in_is_named_with_its_key_and_once(
    tmp_path: Path,
    team: None,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    said: str,
) -> None:
    for name in ("PIXMILL_API_KEY", "VOLC_SECRETKEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "hidden")
    found = mistakes(tmp_path, f"extends: base.yaml\n{text}\n")
    assert said in found
    assert "hidden" not in found
    assert "has 1 mistake" in found


@pytest.mark.parametrize(
    ("override", "variable", "expected"),
    [
        ("limits.qps='${QPS}'", "2.5", 2.5),
        ("limits.concurrency='${QPS}'", "auto", "auto"),
        ("limits.concurrency='${QPS:-3}'", "", 3),
        ("budget.max_calls='${QPS:-null}'", "", None),
        ("store=${QPS}/${TEAM}", "~", "{home}/blue"),
        ("name=v${QPS}", "1_0", "v1_0"),
        ("provider.account='${QPS}'", "007", "007"),
        ("request.params.scale='${QPS}'", "4", 4),
        ("request.params.logo_info.logo_text_content='${QPS}'", "16:9", "16:9"),
        ("request.params.logo_info.logo_text_content='${QPS}'", "12", "12"),
        ("request.params.use_rephraser='${QPS}'", "off", False),
        ("request.prompt='{text} ${price}'", "x", "{text} ${price}"),
        ("input.where='kind == \"${QPS}\"'", "cat", 'kind == "cat"'),
    ],
)
def test_a_variable_is_what_its_text_means_in_the_field(
    tmp_path: Path,
    team: None,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    variable: str,
    expected: Any,
) -> None:
    monkeypatch.setenv("QPS", variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    # The first one, as the base has a variable there.
    found: Any = load(tmp_path, "extends: base.yaml\n", "limits.qps=2", override)
    for part in override.partition("=")[0].split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    if isinstance(expected, str):
        expected = expected.replace("{home}", str(tmp_path))
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("{sclae: [2]}", "sweep.sclae: is neither a request field nor a variable of"),
        ("{groups: [], scale: [2]}", "sweep.scale: unknown key"),
        ("{scale: 2}", "sweep.scale: "),
        ("{scale: [2, 99]}", "sweep.scale: 99: must be"),
        ("{scale: [2], exclude: ['scale >']}", "sweep.exclude.0: "),
    ],
)
def test_a_mistake_in_a_short_sweep_is_named_as_it_is_written(
    tmp_path: Path, team: None, sweep: str, said: str
) -> None:
    text = f"name: own\ninput: {{path: pets.csv}}\nsweep: {sweep}\n"
    assert said in mistakes(tmp_path, text)
    assert "groups.0" not in mistakes(tmp_path, text)


def test_a_short_sweep_is_one_grid(tmp_path: Path, team: None) -> None:
    head = "name: own\ninput: {path: pets.csv}\nsweep: "
    short = "{scale: [2, 3], controlnet_args.0.strength: {linspace: [0.2, 1, 5]}, only: [scale > 2]}"
    grid = short.replace(", only", "}}], only").replace("{scale", "{groups: [{grid: {scale", 1)  # fmt: skip
    args = "request.params.controlnet_args=[{type: depth, strength: 0.6}]"
    written = load(tmp_path, head + short, args)
    assert written == load(tmp_path, head + grid, args)
    assert written.sweep.only == ("scale > 2",)
