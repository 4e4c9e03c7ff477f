"""Scripted faults: which calls they meet, what they do to the answer, and what is wrong with a bad file."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixmill.errors import UserError
from pixmill.simulator.fault_effects import ImageEffect
from pixmill.simulator.fault_rules import Occasion
from pixmill.simulator.faults import FaultRule, Faults, Limit, Met, load_faults
from tests.pixmill.simulator.conftest import ROOT, Running, Start

Asked = Callable[..., dict[str, Any]]


def faulty(
    start: Start, folder: Path, *rules: dict[str, Any], **settings: Any
) -> Running:
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
    faults = Faults([FaultRule.model_validate({"calls": calls, "code": 50500})])

    assert [call for call in range(1, 6) if faults.match(Occasion(call))] == hit


def test_the_first_rule_that_matches_wins_until_it_is_used_up() -> None:
    rules = [
        {"prompt": "cat", "code": 50412, "times": 2},
        {"calls": "2-9", "code": 50500},
    ]
    faults = Faults(map(FaultRule.model_validate, rules))

    met = [
        faults.match(Occasion(*call))
        for call in ((1, "a cat"), (2, "a dog"), (3, "cats"), (4, "cat"))
    ]
    assert [each and (each.place, each.rule.code) for each in met] == [
        (0, 50412),
        (1, 50500),
        (0, 50412),
        (1, 50500),
    ]
    assert faults.match(Occasion(10, "a cat")) is None


def test_a_span_of_time_counts_from_the_first_call() -> None:
    faults = Faults([FaultRule.model_validate({"between": "30s-1.5m", "status": 503})])

    seconds = (0.0, 29.9, 30.0, 90.0, 90.1)
    assert [
        second for second in seconds if faults.match(Occasion(1, second=second))
    ] == [
        30.0,
        90.0,
    ]


def drawn(rule: dict[str, Any], seed: int, keys: list[str]) -> list[tuple[str, int]]:
    """Which calls for `keys`, in this order, are drawn: key, and how often it had been asked for."""
    faults = Faults([FaultRule.model_validate({"code": 50500, **rule})], seed=seed)
    asked: Counter[str] = Counter()
    found = []
    for number, key in enumerate(keys, 1):
        if faults.match(Occasion(number, key=key)):
            found.append((key, asked[key]))
        asked[key] += 1
    return sorted(found)


def test_a_share_is_drawn_alike_in_whatever_order_calls_arrive() -> None:
    keys = [f"key {number % 2000}" for number in range(4000)]
    found = drawn({"share": 0.05}, 7, keys)

    assert 140 <= len(found) <= 260
    assert found == drawn({"share": 0.05}, 7, keys[::-1])
    assert found != drawn({"share": 0.05}, 8, keys)
    first, again = ({key for key, asked in found if asked == time} for time in (0, 1))
    assert first != again


def test_a_sticky_share_meets_the_same_keys_in_every_call() -> None:
    keys = [f"key {number % 2000}" for number in range(4000)]
    found = drawn({"share": 0.05, "sticky": True}, 7, keys)

    first, again = ([key for key, asked in found if asked == time] for time in (0, 1))
    assert first == again
    assert 60 <= len(first) <= 140


def test_two_rules_draw_by_themselves() -> None:
    rules = [
        FaultRule.model_validate({"share": 0.5, "sticky": True, "code": code})
        for code in (50500, 50501)
    ]
    faults = Faults(rules)

    found = [faults.match(Occasion(1, key=f"{number}")) for number in range(400)]
    met = Counter(each and each.place for each in found)
    assert met[0] > 150
    assert met[1] > 60
    assert met[None] > 60


def test_limits_move_while_calls_are_made(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    """E2, E3: from its third call on the account has a call a minute."""
    path = tmp_path / "faults.yaml"
    path.write_text(
        "{limits: [{calls: '3-5', qps: 0.01}, {calls: 6, concurrency: 3}]}", "utf-8"
    )

    assert codes(start(faults=str(path)), asked, 6) == [
        10000,
        10000,
        10000,
        50429,
        50429,
        10000,
    ]


def test_the_first_limit_that_covers_a_call_holds() -> None:
    """E3: limits by call and by time; between them the server's own."""
    limits = [
        Limit.model_validate(limit)
        for limit in (
            {"calls": "3-5", "qps": 2},
            {"between": "10s-20s", "concurrency": 1},
        )
    ]
    faults = Faults([], limits)

    assert faults.limit(Occasion(1)) is None
    assert faults.limit(Occasion(4, second=15)) == limits[0]
    assert faults.limit(Occasion(6, second=15)) == limits[1]


def test_a_code_comes_with_its_documented_status_and_message(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(
        start, tmp_path, {"calls": "1", "code": 50429, "headers": {"Retry-After": "7"}}
    )

    throttled, fine = simulator.call(asked()), simulator.call(asked())

    assert throttled.status_code == 429
    assert throttled.headers["Retry-After"] == "7"
    assert (
        throttled.json()["message"] == "Request Has Reached API Limit, Please Try Later"
    )
    assert throttled.json()["data"] is None
    assert (fine.status_code, "Retry-After" in fine.headers) == (200, False)


def test_status_and_message_can_be_others_than_documented(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(
        start,
        tmp_path,
        {"code": 50412, "status": 200, "message": "no"},
        {"code": 10000},
    )

    answer = simulator.call(asked())

    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (
        200,
        50412,
        "no",
    )


def test_an_unknown_code_is_passed_on(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(start, tmp_path, {"code": 59999, "status": 418})

    assert (simulator.call(asked()).status_code, simulator.lines()[0]["code"]) == (
        418,
        59999,
    )


def test_a_body_takes_the_place_of_the_documented_shape(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    html = "<html>Gateway Time-out</html>"
    simulator = faulty(
        start,
        tmp_path,
        {"calls": "1", "status": 504, "body": html, "charged": True},
        {"calls": "2", "body": '{"co'},
    )

    late, cut = simulator.call(asked()), simulator.call(asked())

    assert (late.status_code, late.text) == (504, html)
    assert (cut.status_code, cut.text) == (200, '{"co')
    assert [(line["code"], line["charged"]) for line in simulator.lines()] == [
        (None, True),
        (None, False),
    ]


def test_a_bare_status_has_an_empty_body(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(start, tmp_path, {"status": 502})

    assert (simulator.call(asked()).status_code, simulator.call(asked()).content) == (
        502,
        b"",
    )


def test_a_delay_alone_leaves_the_answer_as_it_is(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(
        start, tmp_path, {"calls": "1", "delay": 0.5, "headers": {"X-Slow": "yes"}}
    )

    started = time.monotonic()
    answer = simulator.call(asked())

    assert time.monotonic() - started >= 0.5
    assert (answer.json()["code"], answer.headers["X-Slow"]) == (10000, "yes")


def test_what_is_charged_can_be_said(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(
        start,
        tmp_path,
        {"calls": "1", "code": 50500, "charged": True},
        {"calls": "2", "charged": False},
    )

    assert codes(simulator, asked, 3) == [50500, 10000, 10000]
    assert [line["charged"] for line in simulator.lines()] == [True, False, True]


def test_a_prompt_chooses_its_fault(start: Start, tmp_path: Path, asked: Asked) -> None:
    simulator = faulty(start, tmp_path, {"prompt": "forbidden", "code": 50412})

    assert codes(simulator, asked, 1, prompt="a forbidden word") == [50412]
    assert codes(simulator, asked, 1) == [10000]
    assert simulator.call(b"not json").json()["code"] == 50215


def test_scripted_answers_pass_by_the_limits(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    simulator = faulty(start, tmp_path, {"calls": "1-5", "code": 50501}, qps=1)

    assert codes(simulator, asked, 6) == [50501] * 5 + [10000]


def test_faults_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"calls": "2", "code": 50500}]))

    faults = load_faults(path)
    assert faults.match(Occasion(1)) is None
    assert faults.match(Occasion(2)) == Met(
        0, FaultRule.model_validate({"calls": 2, "code": 50500})
    )


def test_an_empty_file_has_no_rules(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("")

    assert load_faults(path).match(Occasion(1)) is None


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
        ("[{code: insufficient_funds}]", "rule[0].code"),
        ("[{between: '30'}]", "rule[0].between"),
        ("[{between: 9s-3s}]", "rule[0].between"),
        ("[{share: 1.5}]", "rule[0].share"),
        ("[{sticky: true}]", "rule[0]: sticky"),
        ("[{at: body}]", "rule[0]: at"),
        ("[{wire: snap}]", "rule[0].wire"),
        ("[{wire: drip, pace: 0}]", "rule[0].pace"),
        ("[{image: {broken: shattered}}]", "rule[0].image.broken"),
        ("[{image: {status: 403}, wire: reset}]", "rule[0]: image"),
        ("[{action: fetch}]", "rule[0].action"),
        ("[{task: expired}]", "rule[0]: task needs an action"),
        ("[{action: submit, task: lost}]", "rule[0].task"),
        ("[{action: poll, task: expired, code: 50500}]", "rule[0]: task"),
        ("{rules: [{code: x}]}", "rule[0].code"),
        ("{limits: [{qps: 0}]}", "limit[0].qps"),
        ("{rules: [], seed: x}", "the file, seed"),
        ("faults", "the file"),
        ("{code: 50500}", "the file"),
        ("[{code: 50500}, {", "can't be read"),
        (None, "can't be read"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, text: str | None, place: str
) -> None:
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

    assert all(
        place in str(caught.value)
        for place in ("rule[0].code", "rule[1].delay", "rule[1].times")
    )


def test_the_faults_that_the_documentation_shows_can_be_rehearsed(
    tmp_path: Path,
) -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8")
    shown = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    ready = [
        path.read_text("utf-8") for path in (ROOT / "configs" / "faults").glob("*.yaml")
    ]
    for number, text in enumerate([*shown, *ready]):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, "utf-8")
        load_faults(path)

    assert len(shown) >= 5
    assert ready
    keys = {
        *FaultRule.model_fields,
        *Limit.model_fields,
        *ImageEffect.model_fields,
        "seed",
        "rules",
        "limits",
    }
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []
