"""Scripted faults: which calls they meet, what they do to the answer, and what is wrong with a bad file."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixmill.errors import UserError
from pixmill.simulator.faults import Faults, Rule, load_faults
from tests.pixmill.simulator.conftest import Running, Start

Asked = Callable[..., dict[str, Any]]


def faulty(start: Start, folder: Path, *rules: dict[str, Any], **settings: Any) -> Running:
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(list(rules)), "utf-8")
    return start(faults=str(path), **settings)


def codes(simulator: Running, asked: Asked, calls: int, **changes: Any) -> list[int]:
    return [simulator.call(asked(**changes)).json()["code"] for _ in range(calls)]


@pytest.mark.parametrize(
    ("calls", "hit"),
    [("3", [3]), (3, [3]), ("2-4", [2, 3, 4]), ("4-", [4, 5]), ("1 - 2", [1, 2])],
)
def test_a_rule_names_its_calls_by_number(calls: Any, hit: list[int]) -> None:
    faults = Faults([Rule.model_validate({"calls": calls, "code": 50500})])

    assert [call for call in range(1, 6) if faults.match(call, "")] == hit


def test_the_first_rule_that_matches_wins_until_it_is_used_up() -> None:
    rules = [{"prompt": "cat", "code": 50412, "times": 2}, {"calls": "2-9", "code": 50500}]
    faults = Faults(map(Rule.model_validate, rules))

    met = [faults.match(call, prompt) for call, prompt in ((1, "a cat"), (2, "a dog"), (3, "cats"), (4, "cat"))]
    assert [rule and rule.code for rule in met] == [50412, 50500, 50412, 50500]
    assert faults.match(10, "a cat") is None


def test_a_code_comes_with_its_documented_status_and_message(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"calls": "1", "code": 50429, "headers": {"Retry-After": "7"}})

    throttled, fine = simulator.call(asked()), simulator.call(asked())

    assert throttled.status_code == 429
    assert throttled.headers["Retry-After"] == "7"
    assert throttled.json()["message"] == "Request Has Reached API Limit, Please Try Later"
    assert throttled.json()["data"] is None
    assert (fine.status_code, "Retry-After" in fine.headers) == (200, False)


def test_status_and_message_can_be_others_than_documented(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"code": 50412, "status": 200, "message": "no"}, {"code": 10000})

    answer = simulator.call(asked())

    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (200, 50412, "no")


def test_an_unknown_code_is_passed_on(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"code": 59999, "status": 418})

    assert (simulator.call(asked()).status_code, simulator.lines()[0]["code"]) == (418, 59999)


def test_a_body_takes_the_place_of_the_documented_shape(start: Start, tmp_path: Path, asked: Asked) -> None:
    html = "<html>Gateway Time-out</html>"
    simulator = faulty(
        start, tmp_path, {"calls": "1", "status": 504, "body": html, "charged": True}, {"calls": "2", "body": '{"co'}
    )

    late, cut = simulator.call(asked()), simulator.call(asked())

    assert (late.status_code, late.text) == (504, html)
    assert (cut.status_code, cut.text) == (200, '{"co')
    assert [(line["code"], line["charged"]) for line in simulator.lines()] == [(None, True), (None, False)]


def test_a_bare_status_has_an_empty_body(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"status": 502})

    assert (simulator.call(asked()).status_code, simulator.call(asked()).content) == (502, b"")


def test_a_delay_alone_leaves_the_answer_as_it_is(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"calls": "1", "delay": 0.5, "headers": {"X-Slow": "yes"}})

    started = time.monotonic()
    answer = simulator.call(asked())

    assert time.monotonic() - started >= 0.5
    assert (answer.json()["code"], answer.headers["X-Slow"]) == (10000, "yes")


def test_what_is_charged_can_be_said(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(
        start, tmp_path, {"calls": "1", "code": 50500, "charged": True}, {"calls": "2", "charged": False}
    )

    assert codes(simulator, asked, 3) == [50500, 10000, 10000]
    assert [line["charged"] for line in simulator.lines()] == [True, False, True]


def test_a_prompt_chooses_its_fault(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"prompt": "forbidden", "code": 50412})

    assert codes(simulator, asked, 1, prompt="a forbidden word") == [50412]
    assert codes(simulator, asked, 1) == [10000]
    assert simulator.call(b"not json").json()["code"] == 50215


def test_scripted_answers_pass_by_the_limits(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"calls": "1-5", "code": 50501}, qps=1)

    assert codes(simulator, asked, 6) == [50501] * 5 + [10000]


def test_faults_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"calls": "2", "code": 50500}]))

    faults = load_faults(path)
    assert faults.match(1, "") is None
    assert faults.match(2, "") == Rule.model_validate({"calls": 2, "code": 50500})


def test_an_empty_file_has_no_rules(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("")

    assert load_faults(path).match(1, "") is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[{code: fifty}]", "rule[0].code"),
        ("[{}, {calls: '0'}]", "rule[1].calls"),
        ("[{calls: 5-3}]", "rule[0].calls"),
        ("[{calls: first}]", "rule[0].calls"),
        ("[{delay: -1}]", "rule[0].delay"),
        ("[{times: 0}]", "rule[0].times"),
        ("[{status: 99}]", "rule[0].status"),
        ("[{headers: {Retry-After: [1]}}]", "rule[0].headers.Retry-After"),
        ("[{cod: 50500}]", "rule[0].cod"),
        ("{code: 50500}", "the file"),
        ("[{code: 50500}, {", "can't be read"),
        (None, "can't be read"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str | None, place: str) -> None:
    path = tmp_path / "faults.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(UserError) as caught:
        load_faults(path)

    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("[{code: x}, {delay: y, times: z}]")

    with pytest.raises(UserError) as caught:
        load_faults(path)

    assert all(place in str(caught.value) for place in ("rule[0].code", "rule[1].delay", "rule[1].times"))
