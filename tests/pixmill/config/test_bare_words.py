"""Bare words: never is another text sent, and paid for, than was typed."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.errors import ConfigError
from pixmill.planning.planner import make_plan
from tests.conftest import Project, results, run_config

SMALL = """
name: pets
input: {path: pets.csv, columns: {image_url: photo, prompt: text}}
request:
  prompt: "{text}, framed {ratio}, light {light}"
"""

TRUTH = ["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
SURPRISES = [
    "16:9", "4:3", "1:1", "+16:9", "-1:30", "190:20:30", "20:30.15", "1:2.",
    "010", "-010", "0777", "01_0", "00", "2026-10-01", "2026-10-01 10:00:00", "2001-12-14t21:59:43.10-05:00",
]  # fmt: skip
NUMBERS = ["0x1F", "0xab", "0b101", "1_000", "1_000.5", "1__0"]
PLAIN = [
    "y", "n", "Y", "N", "=", "<<", "1e3", "08", "0o17", "a:b", "16:9:", "12-5", "yes!", "nope", "100%", "0XAB",
    "1.2.3", "0x", "0x_", "0b2", "é", "16:99", "007", "00", "null-ish", "08:30", "1:2", "tRue",
]  # fmt: skip
"""Words that YAML reads as their own text."""


def config(folder: Path, text: str, *overrides: str) -> Config:
    (folder / "pets.yaml").write_text(text)
    return load_config(folder / "pets.yaml", overrides)


def mistakes(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(folder, text, *overrides)
    return str(caught.value)


def sweeping(values: str) -> str:
    return f"{SMALL}sweep: {{groups: [{{zip: {{ratio: [{values}], light: [a]}}}}]}}\n"


@pytest.mark.parametrize("word", [*TRUTH, *SURPRISES, *NUMBERS, *PLAIN])
def test_a_bare_word_in_a_prompt_variable_is_what_was_typed(
    tmp_path: Path, word: str
) -> None:
    if word == "16:9:":
        pytest.skip("no scalar inside of brackets")
    for spelled in (word, f"'{word}'", f'"{word}"'):
        point = make_plan_points(config(tmp_path, sweeping(spelled)))[0]
        assert point["ratio"] == word


def make_plan_points(loaded: Config) -> list[dict[str, Any]]:
    from pixmill.request.sweep import make_points

    return [
        dict(point.values) for point in make_points(loaded.sweep, loaded.request).points
    ]


@pytest.mark.parametrize(
    ("place", "section"),
    [
        ("input.columns.prompt", "input: {{path: a.csv, columns: {{image_url: b, prompt: {word}}}}}"),
        ("input.row_key.1", "input: {{path: a.csv, row_key: [id, {word}]}}"),
        ("provider.account", "provider: {{account: {word}}}"),
        ("request.prompt", "request: {{prompt: {word}}}"),
        ("request.params.model_version", "request: {{params: {{model_version: {word}}}}}"),
        ("request.params.logo_info.logo_text_content",
         "request: {{params: {{logo_info: {{logo_text_content: {word}}}}}}}"),
        ("request.params.new", "request: {{req_key: nobody_knows, params: {{new: {word}}}}}"),
        ("request.params.new.0", "request: {{req_key: nobody_knows, params: {{new: [{word}]}}}}"),
        ("sweep.groups.0.grid.scale.0.label",
         "sweep: {{groups: [{{grid: {{scale: [{{label: {word}, value: 2}}]}}}}]}}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("word", ["on", "No", "16:9", "010", "2026-10-01"])
def test_a_text_is_what_was_typed_wherever_it_is(
    tmp_path: Path, place: str, section: str, word: str
) -> None:
    table = "" if section.startswith("input") else "input: {path: a.csv}\n"
    found: Any = config(tmp_path, f"name: a\n{table}{section.format(word=word)}\n")
    found = found.model_dump()
    for part in place.split("."):
        found = found[int(part)] if part.isdecimal() else found[part]
    assert (found, type(found)) == (word, str)


def test_a_key_is_what_was_typed(tmp_path: Path) -> None:
    text = "name: a\ninput: {path: a.csv, columns: {image_url: b, prompt: c}}\n"
    unknown = "request={req_key: nobody_knows, params: {on: 1, 1_000: 2, 007: 3, no: {yes: off}}}"
    params = config(tmp_path, text, unknown).request.params
    assert params == {"on": 1, "1_000": 2, "007": 3, "no": {"yes": "off"}}
    assert {type(key) for key in params} == {str}


@pytest.mark.parametrize(
    ("field", "word"),
    [("scale", "on"), ("use_rephraser", "2026-10-01"), ("ddim_steps", "16:9")],
)
def test_a_text_in_a_field_of_another_type_is_a_mistake(
    tmp_path: Path, field: str, word: str
) -> None:
    text = (
        f"name: a\ninput: {{path: a.csv}}\nrequest: {{params: {{{field}: {word}}}}}\n"
    )
    assert f"request.params.{field}: " in mistakes(tmp_path, text)
    swept = f"name: a\ninput: {{path: a.csv}}\nsweep: {{{field}: [{word}]}}\n"
    assert f"  sweep.{field}: {word!r}: must be " in mistakes(tmp_path, swept)


TRUE = ["true", "True", "yes", "on", "ON"]


@pytest.mark.parametrize("word", TRUE)
def test_a_field_that_is_true_or_false_takes_the_words_of_yaml(
    tmp_path: Path, word: str
) -> None:
    """And the job key is what it was."""
    plain = "name: a\ninput: {path: a.csv}\n"
    of_params = config(
        tmp_path,
        plain,
        f"request.params={{use_rephraser: {word}, logo_info: {{add_logo: {word}}}}}",
    )
    assert of_params.request.params == {
        "use_rephraser": True,
        "logo_info": {"add_logo": True},
    }
    swept = config(
        tmp_path,
        plain,
        f"sweep={{groups: [{{zip: {{use_rephraser: [{word}, off], use_sr: [no, {word}]}}}}]}}",
    )
    assert make_plan_points(swept) == [
        {"use_rephraser": True, "use_sr": False},
        {"use_rephraser": False, "use_sr": True},
    ]  # fmt: skip
    rules = config(
        tmp_path, plain + "retry: {codes: {50511: {charged: no}}}\n"
    ).retry.codes
    assert rules["*"]["50511"].charged == "no"


@pytest.mark.parametrize(
    ("word", "value"), [("1_000", 1000), ("0x3E8", 1000), ("0b11", 3)]
)
def test_a_key_that_is_a_number_takes_the_numbers_of_yaml(
    tmp_path: Path, word: str, value: int
) -> None:
    plain = "name: a\ninput: {path: a.csv}\n"
    assert config(tmp_path, plain, f"budget.max_calls={word}").budget.max_calls == value
    of_nobody = config(
        tmp_path, plain, "request.req_key=nobody_knows", f"request.params.n={word}"
    )
    assert of_nobody.request.params == {"n": value}
    swept = config(tmp_path, plain, "request.req_key=nobody_knows", f"sweep.n=[{word}]")
    assert swept.sweep.groups[0]["grid"] == {"n": [value]}
    read = config(tmp_path, plain, "request.params.ddim_steps=1_6").request.params
    assert repr(read) == "{'ddim_steps': 16}"


def test_words_as_written_reach_the_provider(project: Project) -> None:
    project.write_rows(project.rows(1))
    path = Path(
        project.write_config(request={"prompt": "{text}, {ratio}, light {light}"})
    )
    words = "sweep: {groups: [{zip: {ratio: [16:9, 010], light: [on, no]}}]}\n"
    path.write_text(path.read_text() + words)
    report = run_config(str(path))
    assert [row["prompt"] for row in results(report)] == [
        "a pet 0, 16:9, light on",
        "a pet 0, 010, light no",
    ]
    published = Path(report["dataset"]).with_name("config.yaml")
    assert load_config(published).sweep == load_config(path).sweep


# Templates.


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("{text}", 'a mapping: a template that begins with { must be in quotes, such as "{text}"'),
        ("{a, b}", 'a mapping: a template that begins with { must be in quotes, such as "{name}"'),
        ("[text]", "a list: text that begins with [ must be in quotes"),
        ("7", "the number 7: write it in quotes"),
        ("true", "true: write it in quotes"),
    ],
)  # fmt: skip
def test_a_template_without_quotes_says_what_to_do(
    tmp_path: Path, prompt: str, problem: str
) -> None:
    text = f"name: a\ninput: {{path: a.csv}}\nrequest:\n  prompt: {prompt}\n"
    assert problem in mistakes(tmp_path, text)
    if prompt != "[text]":
        assert problem in mistakes(
            tmp_path, "name: a\ninput: {path: a.csv}\n", f"request.prompt={prompt}"
        )


@pytest.mark.parametrize(
    "prompt",
    [
        "{text}, in oil",
        "[a] b",
        "*bold*",
        "@home",
        "%s",
        "`x`",
        "a: b",
        "&a b: c",
        "!x y",
    ],
)
def test_a_template_that_is_no_yaml_hints_at_quotes(
    tmp_path: Path, prompt: str
) -> None:
    (tmp_path / "pets.yaml").write_text(
        f"name: a\ninput: {{path: a.csv}}\nrequest:\n  prompt: {prompt}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "pets.yaml")
    assert "not valid YAML" in str(caught.value)
    assert "must be in quotes" in caught.value.hint


@pytest.mark.parametrize(
    ("block", "warned"), [("|\n    {text}, in oil\n", True), (">\n    {text}\n", True), ("|-\n    {text}\n", False),
                          ("|+\n    {text}\n\n", True), ('"{text}"\n', False), ('"{text}\\n"\n', True)]
)  # fmt: skip
def test_a_template_that_ends_with_a_line_break_keeps_it_and_says_so(
    tmp_path: Path, block: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is part of what was asked for until now: without it everything would be paid for again."""
    text = f"name: a\ninput: {{path: a.csv}}\nrequest:\n  prompt: {block}"
    with caplog.at_level(logging.WARNING, "pixmill"):
        loaded = config(tmp_path, text)
    assert loaded.request.prompt == yaml.safe_load(text)["request"]["prompt"]
    assert ("line break" in caplog.text) == warned
    assert ("|-" in caplog.text) == warned


def test_job_keys_of_templates_are_what_they_were(project: Project) -> None:
    project.write_rows(project.rows(1))
    sent = []
    for prompt in ("{text}", "{text}\n"):
        loaded = load_config(project.write_config(request={"prompt": prompt}))
        job = next(make_plan(loaded, None).pending_jobs())
        sent.append(json.loads(job.payload())["prompt"])
    assert sent == ["a pet 0", "a pet 0\n"]
