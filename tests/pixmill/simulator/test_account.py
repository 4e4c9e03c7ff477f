"""Limits, latency and the bill of the simulated account."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pixmill.provider.durations import milliseconds
from pixmill.simulator.bill import Entry, ProviderBill
from pixmill.simulator.limits import AccountLimits
from tests.pixmill.simulator.conftest import Start

Asked = Callable[..., dict[str, Any]]


def test_the_bucket_holds_a_second_of_calls_and_refills_at_its_rate() -> None:
    now = 0.0
    limits = AccountLimits(qps=2, concurrency=None, clock=lambda: now)

    assert [limits.enter() for _ in range(3)] == [None, None, 50429]
    now = 0.5
    assert [limits.enter() for _ in range(2)] == [None, 50429]
    now = 60.0
    assert [limits.enter() for _ in range(3)] == [None, None, 50429]


def test_a_rate_below_one_still_lets_a_call_through() -> None:
    now = 0.0
    limits = AccountLimits(qps=0.5, concurrency=None, clock=lambda: now)

    assert [limits.enter(), limits.enter()] == [None, 50429]
    now = 2.0
    assert limits.enter() is None


def test_a_slot_is_free_again_when_its_call_leaves() -> None:
    limits = AccountLimits(qps=None, concurrency=2)

    assert [limits.enter() for _ in range(3)] == [None, None, 50430]
    limits.leave()
    assert [limits.enter() for _ in range(2)] == [None, 50430]


def test_other_limits_hold_at_once_and_calls_in_flight_stay() -> None:
    """E2, E3: a bucket that shrinks loses what it can't hold, one that grows fills at its new rate."""
    now = 0.0
    limits = AccountLimits(qps=10, concurrency=3, clock=lambda: now)

    assert [limits.enter(), limits.enter()] == [None, None]
    limits.change(10, 2)
    assert limits.enter() == 50430
    limits.leave()
    limits.change(1, 2)
    assert [limits.enter(), limits.enter()] == [None, 50429]
    limits.change(4, 5)
    now = 0.5
    assert [limits.enter() for _ in range(3)] == [None, None, 50429]
    limits.change(None, None)
    assert [limits.enter() for _ in range(9)] == [None] * 9


def test_calls_beyond_the_rate_are_throttled_and_not_charged(
    start: Start, asked: Asked
) -> None:
    simulator = start(qps=3)

    answers = [simulator.call(asked(seed=seed)) for seed in range(12)]

    throttled = [answer for answer in answers if answer.status_code == 429]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert throttled
    assert {answer.json()["code"] for answer in throttled} == {50429}
    assert (
        throttled[0].json()["message"]
        == "Request Has Reached API Limit, Please Try Later"
    )
    charges = Counter((line["code"], line["charged"]) for line in simulator.lines())
    assert charges == {
        (10000, True): 12 - len(throttled),
        (50429, False): len(throttled),
    }


def test_calls_beyond_the_concurrency_are_throttled(start: Start, asked: Asked) -> None:
    simulator = start(concurrency=2, latency=1)

    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda seed: simulator.call(asked(seed=seed)), range(6))
        )

    codes = Counter(answer.json()["code"] for answer in answers)
    assert codes == {10000: 2, 50430: 4}
    assert {answer.status_code for answer in answers} == {200, 429}
    assert simulator.call(asked()).json()["code"] == 10000


def test_a_call_takes_its_latency_and_says_so(start: Start, asked: Asked) -> None:
    simulator = start(latency=0.3)

    for answer in (simulator.call(asked(seed=seed)) for seed in range(3)):
        assert 270 <= (milliseconds(answer.json()["time_elapsed"]) or 0) < 5_000
        assert answer.elapsed.total_seconds() >= 0.27


def test_the_bill_has_one_line_per_authenticated_call(
    start: Start, asked: Asked
) -> None:
    simulator = start()

    answers = [
        simulator.call(asked()).json(),
        simulator.call(asked(return_url=False)).json(),
        simulator.call(asked(seed=43)).json(),
        simulator.call(asked(prompt="")).json(),
        simulator.call(b"not json").json(),
    ]
    simulator.call(asked(), key="wrong")
    simulator.signed_call(asked(), secret_key="wrong")

    lines = simulator.lines()
    assert [line["call"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["request_id"] for line in lines] == [
        answer["request_id"] for answer in answers
    ]
    assert [line["code"] for line in lines] == [10000, 10000, 10000, 50200, 50215]
    assert [line["charged"] for line in lines] == [True, True, True, False, False]
    assert {line["req_key"] for line in lines[:4]} == {
        "high_aes_scheduler_svr_controlnet_v2.0"
    }
    assert lines[0]["key"] == lines[1]["key"] != lines[2]["key"]
    assert list(lines[0]) == [
        "time",
        "call",
        "key",
        "req_key",
        "code",
        "charged",
        "request_id",
        "fault",
        "images",
        "task_id",
    ]
    assert [line["images"] for line in lines] == [1, 1, 1, 0, 0]
    assert {line["task_id"] for line in lines} == {None}


def test_the_key_is_the_hash_of_the_canonical_body_without_return_url(
    start: Start, asked: Asked
) -> None:
    simulator = start()
    body = asked(prompt="一只狗")
    simulator.call(body)
    simulator.call(dict(reversed(body.items())))

    body.pop("return_url")
    canonical = json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert {line["key"] for line in simulator.lines()} == {
        hashlib.sha256(canonical.encode()).hexdigest()
    }


def test_the_line_is_on_the_bill_before_the_answer_arrives(
    start: Start, asked: Asked
) -> None:
    simulator = start()

    for count in range(1, 30):
        simulator.call(asked(seed=count))
        assert len(simulator.lines()) == count


def test_a_restart_appends_to_the_bill(start: Start, asked: Asked) -> None:
    first = start()
    first.call(asked())
    first.process.terminate()
    assert first.process.wait(10) == 0
    second = start()
    second.call(asked())

    assert len(second.lines()) == 2


def test_processes_that_share_a_bill_never_mix_their_lines(tmp_path: Path) -> None:
    bills = [ProviderBill(tmp_path / "new" / "bill.jsonl") for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        for call in range(400):
            pool.submit(
                bills[call % 2].write,
                Entry(call, "k" * 64, "r", None, charged=False, request_id="i" * 34),
            )
    for bill in bills:
        bill.close()

    lines = (tmp_path / "new" / "bill.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["call"] for line in lines) == list(range(400))


def test_without_a_bill_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bill = ProviderBill(None)
    bill.write(Entry(1, "k", "r", 10000, charged=True, request_id="i"))
    bill.close()

    assert not list(tmp_path.iterdir())
