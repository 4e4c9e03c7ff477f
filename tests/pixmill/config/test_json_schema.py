"""The JSON schema by which editors check a config: it takes what pixmill takes, and refuses what a typo makes."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pixmill.cli.starters import STARTER
from pixmill.config.json_schema import SCHEMA_FILE, config_schema
from pixmill.config.yaml_reader import read_yaml
from tests.conftest import ROOT

SCHEMA = config_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
TEMPLATE = ROOT / "pixmill" / "cli" / "templates" / STARTER[0]
CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), TEMPLATE]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_names_the_schema_and_meets_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
    assert text.startswith(first)
    assert list(VALIDATOR.iter_errors(read_yaml(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "extends: base.yaml",
        "{extends: base.yaml, input: {columns: {prompt: text}}}",
        "{name: a, input: {path: b}, sweep: {scale: [2, 3], only: [scale > 2]}}",
        "{name: a, input: {path: b}, sweep: {scale: {linspace: [1, 2, 3]}}}",
        "{name: a, input: {path: b}, limits: {qps: '${QPS:-2}', concurrency: auto}}",
        "{name: a, input: {path: b}, retry: {codes: {'50500': failed}}}",
        "{name: a, input: {path: b}, budget: {max_cost: 2.5, prices: [{price: 0.2}]}}",
        "{name: a, input: {path: b}, in_doubt: '${HOLD}', ledger: null}",
    ],
)
def test_what_a_config_may_say_meets_the_schema(text: str) -> None:
    assert list(VALIDATOR.iter_errors(read_yaml(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "{input: {path: b}}",
        "{name: a, input: {path: b, colums: {}}}",
        "{name: a, input: {path: b}, limits: {qps: fast}}",
        "{name: a, input: {path: b}, limits: {qps: 0}}",
        "{name: a, input: {path: b}, seed: {policy: per_rwo}}",
        "{name: a, input: {path: b}, output: {images: no}}",
        "{name: a, input: {path: b}, sweep: {scale: 3}}",
        "{name: a, input: {path: b}, budget: {max_cost: -1}}",
        "{name: a/b, input: {path: b}}",
    ],
)
def test_a_mistake_does_not_meet_the_schema(text: str) -> None:
    assert list(VALIDATOR.iter_errors(read_yaml(text))) != []


def test_keys_are_described_where_their_meaning_is_written_down() -> None:
    described: dict[str, Any] = SCHEMA["$defs"]["Limits"]["properties"]
    assert described["qps"]["description"] == "Calls per second."
    assert SCHEMA["$defs"]["Seed"]["properties"]["base"]["default"] == 7
    assert "extends" in SCHEMA["properties"]
