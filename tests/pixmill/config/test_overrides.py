"""`--set`: every key can be overridden, also one with dots of its own, and what can't be is said."""

from pathlib import Path
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.errors import ConfigError

TEXT = """
name: pets
input:
  path: pets.csv
  columns: {image_url: photo, prompt: text, "controlnet_args.0.strength": best}
request:
  prompt: "{text}, {style}"
  params: &params
    controlnet_args: [{type: depth, strength: 0.5}, {type: pose, strength: 0.4, binary_data_index: 0}]
sweep:
  groups:
  - grid: {scale: [2, 3], "controlnet_args.1.strength": {linspace: [0.2, 1.0, 5]}}
  - list: [{style: ink}, {style: oil}]
retry: {codes: {50511: {charged: no}, model_v2.0: {50500: failed}}}
"""


def config(folder: Path, *overrides: str, text: str = TEXT) -> Config:
    (folder / "pets.yaml").write_text(text)
    return load_config(folder / "pets.yaml", overrides)


def at(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = (
            value[key]
            if isinstance(value, dict | list | tuple)
            else getattr(value, key)
        )
    return value


ARGUMENTS = ("request", "params", "controlnet_args")
GROUPS = ("sweep", "groups")
CASES: list[tuple[str, tuple[Any, ...], Any]] = [
    ("input.columns={image_url: a, prompt: b}", ("input", "columns"), {"image_url": "a", "prompt": "b"}),
    ("input.columns.prompt=b", ("input", "columns", "prompt"), "b"),
    ("input.columns.image_url=[a, b]", ("input", "columns", "image_url"), ("a", "b")),
    ("input.columns.controlnet_args.0.strength=b", ("input", "columns", "controlnet_args.0.strength"), "b"),
    ('input.columns."controlnet_args.0.strength"=b', ("input", "columns", "controlnet_args.0.strength"), "b"),
    ("input.columns.'ddim_steps'=b", ("input", "columns", "ddim_steps"), "b"),
    ("input.columns.logo_info.opacity=b", ("input", "columns", "logo_info.opacity"), "b"),
    ("input.columns.prompt=on", ("input", "columns", "prompt"), "on"),
    ("name=2026-10-01", ("name",), "2026-10-01"),
    ("request.params.model_version=1_000", ("request", "params", "model_version"), "1_000"),
    ("input.row_key=[id, lang]", ("input", "row_key"), ("id", "lang")),
    ("input.where=a == 'b = c'", ("input", "where"), "a == 'b = c'"),
    ("input.where=null", ("input", "where"), None),
    (" input.path = a=b.csv ", ("input", "path"), "a=b.csv"),
    ("request.prompt='{style}'", ("request", "prompt"), "{style}"),
    ("request.prompt=\"{text}: {style}\"", ("request", "prompt"), "{text}: {style}"),
    ("request.params.controlnet_args.1.strength=1", (*ARGUMENTS, 1, "strength"), 1),
    ("request.params.controlnet_args.0={type: canny, strength: 1}", (*ARGUMENTS, 0, "type"), "canny"),
    ("request.params.logo_info.add_logo=yes", ("request", "params", "logo_info", "add_logo"), True),
    ("stop={window: 3}", ("stop", "window"), 3),
    ("sweep.groups.0.grid.scale=[4]", (*GROUPS, 0, "grid", "scale"), [4]),
    ("sweep.groups.0.grid.controlnet_args.1.strength=[1]", (*GROUPS, 0, "grid", "controlnet_args.1.strength"), [1]),
    ("sweep.groups.0.grid.controlnet_args.1.strength.linspace=[0.1, 1, 2]",
     (*GROUPS, 0, "grid", "controlnet_args.1.strength", "linspace"), [0.1, 1, 2]),
    ("sweep.groups.0.grid.logo_info.opacity=[1]", (*GROUPS, 0, "grid", "logo_info.opacity"), [1]),
    ("sweep.groups.1.list.0.logo_info.opacity=1", (*GROUPS, 1, "list", 0, "logo_info.opacity"), 1),
    ("sweep={scale: [2, 3]}", (*GROUPS, 0, "grid"), {"scale": [2, 3]}),
    ("sweep={controlnet_args.1.strength: {linspace: [0.2, 1, 5]}, only: [scale > 2]}",
     (*GROUPS, 0, "grid", "controlnet_args.1.strength", "linspace"), [0.2, 1, 5]),
    ("sweep=null", ("sweep", "groups"), ()),
    ("retry.codes.50500=failed", ("retry", "codes", "*", "50500", "verdict"), "failed"),
    ("retry.codes.50511.charged=yes", ("retry", "codes", "*", "50511", "charged"), "yes"),
    ("retry.codes.50511.verdict=failed", ("retry", "codes", "*", "50511", "charged"), "no"),
    ("retry.codes.model_v2.0.50500=retry", ("retry", "codes", "model_v2.0", "50500", "verdict"), "retry"),
    ("retry.codes.model_v2.0.50501=retry", ("retry", "codes", "model_v2.0", "50501", "verdict"), "retry"),
    ("retry.codes.new_v1.2.50501=retry", ("retry", "codes", "new_v1.2", "50501", "verdict"), "retry"),
    ("retry.codes.new_v1.2.50501.charged=no", ("retry", "codes", "new_v1.2", "50501", "charged"), "no"),
    ("limits.qps=7.5", ("limits", "qps"), 7.5),
    ("budget={max_calls: 3, max_cost: null, prices: [{price: 0.2}]}", ("budget", "max_calls"), 3),
    ("budget={max_calls: 3}", ("budget", "max_calls"), 3),
    ("ledger=null", ("ledger",), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "keys", "value"), CASES, ids=[case[0] for case in CASES]
)
def test_an_override_replaces_what_stands_at_its_key(
    tmp_path: Path, override: str, keys: tuple[Any, ...], value: Any
) -> None:
    assert at(config(tmp_path, override), *keys) == value


def test_overrides_are_put_in_one_after_the_other(tmp_path: Path) -> None:
    columns = ("input.columns={image_url: a, prompt: b}", "input.columns.ddim_steps=c")
    assert config(tmp_path, *columns).input.field_columns == {"ddim_steps": "c"}
    assert config(tmp_path, *reversed(columns)).input.field_columns == {}


def test_what_an_alias_names_elsewhere_stays_as_it_is(tmp_path: Path) -> None:
    text = """
name: pets
input: {path: a.csv}
request: {req_key: nobody_knows, params: {a: &same {x: 1, y: [1, 2]}, b: *same}}
"""
    changed = config(
        tmp_path, "request.params.a.x=5", "request.params.a.y.0=6", text=text
    )
    assert changed.request.params == {
        "a": {"x": 5, "y": [6, 2]},
        "b": {"x": 1, "y": [1, 2]},
    }


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("limits.qps", "must look like a.b=value"),
        ("=3", "must look like a.b=value"),
        ("limits..qps=3", "must look like a.b=value"),
        ("limits.=3", "must look like a.b=value"),
        (".qps=3", "must look like a.b=value"),
        ('input.columns."a=3', "must look like a.b=value"),
        ("budget.max_cost=", "has no value; write null for none"),
        ("ledger= ", "has no value; write null for none"),
        ("store=", "has no value"),
        ("store=null", "store: is null"),
        ("request.params.controlnet_args.2.strength=1", "past the end of a list"),
        ("request.params.controlnet_args.first=1", "past the end of a list"),
        ("name.first=x", "into a plain value"),
        ("input.where=a: b: c", "not valid YAML; text may need quotes of its own"),
        ("request.prompt={text}", "must be in quotes"),
        ("request.prompt={text}, in oil", "text may need quotes of its own"),
        (
            "input.columns=photo",
            "input.columns: must be a mapping, written {key: value}",
        ),
        ("input.row_key=id", "input.row_key: must be a list, such as [id]"),
        ("sweep.scale=[2]", "sweep.scale: unknown key"),
        ("extends=other.yaml", "extends: unknown key"),
        ("lmits.qps=3", "did you mean `limits`?"),
    ],
)
def test_an_override_that_can_not_be_meant_is_said(
    tmp_path: Path, override: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, override)
    assert problem in str(caught.value)
