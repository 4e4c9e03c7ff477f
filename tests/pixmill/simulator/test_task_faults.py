"""Faults of submit and poll: answers that get lost, tasks that are forgotten, fail or never end, and restarts."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.pixmill.simulator.conftest import POLL, SUBMIT, Running, Start
from tests.real_command import wait_until

REQ_KEY = "jimeng_t2i_v31"


def text_to_image(**changes: Any) -> dict[str, Any]:
    return {"req_key": REQ_KEY, "prompt": "a lake at dawn", "seed": 7, **changes}


def faulty(
    start: Start, folder: Path, *rules: dict[str, Any], **settings: Any
) -> Running:
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(list(rules)), "utf-8")
    return start(faults=str(path), **settings)


def statuses(simulator: Running, task_id: str, polls: int) -> list[Any]:
    """What each of several polls says: the status of the task, or a code."""
    said = []
    for _ in range(polls):
        answer = simulator.poll(REQ_KEY, task_id)
        data = answer["data"]
        said.append(data["status"] if data else answer["code"])
    return said


@pytest.mark.parametrize("at", ["start", "headers", "middle"])
def test_a_submit_whose_answer_is_lost_has_started_its_task(
    start: Start, tmp_path: Path, at: str
) -> None:
    rule = {"action": "submit", "times": 1, "wire": "reset", "at": at}
    simulator = faulty(start, tmp_path, rule)

    with pytest.raises(requests.RequestException):
        simulator.call(text_to_image(), query=SUBMIT)

    wait_until(lambda: len(simulator.lines()) == 1, "the end of the task")
    (line,) = simulator.lines()
    assert (line["charged"], line["images"], line["fault"]) == (True, 1, 0)
    assert simulator.poll(REQ_KEY, line["task_id"])["data"]["status"] == "done"


def test_a_submit_that_breaks_off_can_have_started_nothing(
    start: Start, tmp_path: Path
) -> None:
    simulator = faulty(
        start, tmp_path, {"action": "submit", "status": 502, "broken": "html"}
    )

    assert simulator.call(text_to_image(), query=SUBMIT).status_code == 502
    (line,) = simulator.lines()
    assert (line["charged"], line["task_id"]) == (False, None)


@pytest.mark.parametrize(
    ("fate", "said", "charged", "images"),
    [
        ("not_found", "not_found", True, 1),
        ("expired", "expired", False, 0),
        ("failed", "failed", False, 0),
        ("canceled", "canceled", False, 0),
        ("over_max_retries", "over_max_retries", False, 0),
        ("empty", "done", True, 0),
    ],
)
def test_a_task_ends_in_another_way_than_with_its_pictures(
    start: Start, tmp_path: Path, fate: str, said: str, charged: bool, images: int
) -> None:
    simulator = faulty(start, tmp_path, {"action": "submit", "task": fate})
    task_id = simulator.submit(text_to_image())

    answer = simulator.poll(REQ_KEY, task_id)
    assert answer["code"] == 10000
    assert answer["data"] == {
        "binary_data_base64": None,
        "image_urls": None,
        "status": said,
    }
    (line,) = simulator.lines()
    assert (line["code"], line["charged"], line["images"]) == (10000, charged, images)


@pytest.mark.parametrize(
    "code", [50215, 50400, 50413, 50500, 50501, 50511, 50519, 50520, 59999]
)
def test_a_task_that_fails_says_so_by_the_code_of_its_poll(
    start: Start, tmp_path: Path, code: int
) -> None:
    simulator = faulty(start, tmp_path, {"action": "submit", "task": code})
    task_id = simulator.submit(text_to_image())

    asked = {"req_key": REQ_KEY, "task_id": task_id}
    response = simulator.call(asked, query=POLL)
    assert response.status_code >= 400
    assert (response.json()["code"], response.json()["data"]) == (code, None)
    (line,) = simulator.lines()
    assert (line["code"], line["charged"], line["images"]) == (code, False, 0)


def test_an_endless_task_keeps_its_place_and_is_never_billed(
    start: Start, tmp_path: Path
) -> None:
    rule = {"action": "submit", "times": 1, "task": "endless"}
    simulator = faulty(start, tmp_path, rule, concurrency=1)
    task_id = simulator.submit(text_to_image())

    assert statuses(simulator, task_id, 3) == ["generating"] * 3
    assert simulator.call(text_to_image(), query=SUBMIT).json()["code"] == 50430
    assert [line["code"] for line in simulator.lines()] == [50430]


def test_what_a_failure_costs_can_be_said(start: Start, tmp_path: Path) -> None:
    rules = [
        {"action": "submit", "calls": 1, "task": 50500, "charged": True},
        {"action": "submit", "calls": 2, "task": "not_found", "charged": False},
    ]
    simulator = faulty(start, tmp_path, *rules)
    for seed in range(2):
        simulator.poll(REQ_KEY, simulator.submit(text_to_image(seed=seed)))

    assert [line["charged"] for line in simulator.lines()] == [True, False]


def test_a_poll_meets_the_rules_about_polls_and_its_task_lives_on(
    start: Start, tmp_path: Path
) -> None:
    """Throttled, forgotten for a while, still generating: then the task is there."""
    rules = [
        {"action": "poll", "calls": "1", "code": 50429},
        {"action": "poll", "calls": "2", "code": 50430, "headers": {"Retry-After": 1}},
        {"action": "poll", "calls": "3-4", "task": "not_found"},
        {"action": "poll", "calls": "5", "task": "endless"},
        {"action": "poll", "calls": "6", "task": 50500},
        {"action": "poll", "calls": "7", "status": 503, "broken": "html"},
    ]
    simulator = faulty(start, tmp_path, *rules)
    task_id = simulator.submit(text_to_image())

    assert statuses(simulator, task_id, 6) == [
        50429,
        50430,
        "not_found",
        "not_found",
        "generating",
        50500,
    ]
    asked = {"req_key": REQ_KEY, "task_id": task_id}
    assert simulator.call(asked, query=POLL).status_code == 503
    assert statuses(simulator, task_id, 1) == ["done"]
    assert len(simulator.lines()) == 1


def test_a_poll_can_be_slow_or_break_off(start: Start, tmp_path: Path) -> None:
    rules = [
        {"action": "poll", "calls": "1", "wire": "reset", "at": "middle"},
        {"action": "poll", "calls": "2", "delay": 0.3},
    ]
    simulator = faulty(start, tmp_path, *rules)
    task_id = simulator.submit(text_to_image())
    asked = {"req_key": REQ_KEY, "task_id": task_id}

    with pytest.raises(requests.RequestException):
        simulator.call(asked, query=POLL)
    slow = simulator.call(asked, query=POLL)
    assert slow.elapsed.total_seconds() >= 0.3
    assert slow.json()["data"]["status"] == "done"


def test_rules_without_an_action_meet_no_poll(start: Start, tmp_path: Path) -> None:
    simulator = faulty(start, tmp_path, {"calls": "2-", "code": 50500})
    task_id = simulator.submit(text_to_image())

    assert statuses(simulator, task_id, 5) == ["done"] * 5
    assert simulator.call(text_to_image(), query=SUBMIT).json()["code"] == 50500


def test_polls_know_the_prompt_of_their_task(start: Start, tmp_path: Path) -> None:
    rule = {"action": "poll", "prompt": "dusk", "task": "expired"}
    simulator = faulty(start, tmp_path, rule)
    tasks = [
        simulator.submit(text_to_image(prompt=prompt))
        for prompt in ("a lake at dawn", "a lake at dusk")
    ]

    said = [statuses(simulator, task_id, 2) for task_id in tasks]
    assert said == [["done"] * 2, ["expired"] * 2]


def test_a_share_of_polls_is_drawn_by_what_was_asked_for(
    start: Start, tmp_path: Path
) -> None:
    """Not by the id of the task, which is another one in each rehearsal."""
    rule = {"action": "poll", "share": 0.5, "sticky": True, "task": "expired"}
    rehearsals = []
    for _ in range(2):
        simulator = faulty(start, tmp_path, rule)
        said = []
        for seed in range(12):
            task_id = simulator.submit(text_to_image(seed=seed))
            said += statuses(simulator, task_id, 1)
        rehearsals.append(said)

    assert rehearsals[0] == rehearsals[1]
    assert set(rehearsals[0]) == {"done", "expired"}


def test_the_images_of_a_task_meet_the_fault_of_its_submit(
    start: Start, tmp_path: Path
) -> None:
    rule = {"action": "submit", "image": {"status": 410}}
    simulator = faulty(start, tmp_path, rule)
    task_id = simulator.submit(text_to_image())

    (url,) = simulator.poll(REQ_KEY, task_id)["data"]["image_urls"]
    assert requests.get(url, timeout=30).status_code == 410


def test_a_gateway_with_an_api_of_its_own_answers_without_a_code(
    start: Start, tmp_path: Path, asked: Any
) -> None:
    rules = [
        {"action": action, "broken": "rewritten"}
        for action in ("process", "submit", "poll")
    ]
    simulator = faulty(start, tmp_path, *rules)

    submitted = simulator.call(text_to_image(), query=SUBMIT).json()
    assert submitted["status"] == "queued"
    assert submitted["id"] == submitted["task_id"]
    polled = simulator.poll(REQ_KEY, submitted["task_id"])
    assert polled["object"] == "task"
    processed = simulator.call(asked()).json()
    assert processed["data"][0]["url"].startswith(simulator.url)
    assert not any("code" in said for said in (submitted, polled, processed))
    assert [line["charged"] for line in simulator.lines()] == [True, True]


def test_tasks_outlive_the_simulator_that_started_them(start: Start) -> None:
    """A command that is killed takes its simulator with it; at the provider tasks go on."""
    first = start()
    done = first.submit(text_to_image(seed=1))
    first.poll(REQ_KEY, done)
    first.process.kill()
    first.process.wait(20)
    second = start(latency=0.01)
    working = second.submit(text_to_image(seed=2))
    second.process.terminate()
    second.process.wait(20)
    third = start(concurrency=1)

    for task_id in (done, working):
        (url,) = third.wait_for(REQ_KEY, task_id)["image_urls"]
        assert requests.get(url, timeout=30).status_code == 200
    billed = [line["task_id"] for line in third.lines()]
    assert sorted(billed) == sorted([done, working])


def test_a_task_that_works_keeps_its_place_over_a_restart(start: Start) -> None:
    first = start(latency=3_600)
    task_id = first.submit(text_to_image())
    first.process.terminate()
    first.process.wait(20)
    second = start(concurrency=1)

    assert second.call(text_to_image(seed=8), query=SUBMIT).json()["code"] == 50430
    assert second.poll(REQ_KEY, task_id)["data"]["status"] == "in_queue"


def test_of_two_simulators_with_one_bill_each_has_its_own_tasks(start: Start) -> None:
    first, second = start(), start()
    mine, yours = first.submit(text_to_image()), second.submit(text_to_image())

    assert first.poll(REQ_KEY, mine)["data"]["status"] == "done"
    assert second.poll(REQ_KEY, yours)["data"]["status"] == "done"
    assert second.poll(REQ_KEY, mine)["data"]["status"] == "not_found"
    first.process.terminate()
    first.process.wait(20)
    # The first has left its tasks to the second.
    assert second.poll(REQ_KEY, mine)["data"]["status"] == "done"
    billed = [line["task_id"] for line in second.lines()]
    assert sorted(billed) == sorted([mine, yours])


def test_forgotten_tasks_are_dropped_from_the_file(
    start: Start, tmp_path: Path
) -> None:
    first = start(retention=0.001)
    first.submit(text_to_image())
    journal = tmp_path / "bill.tasks.jsonl"
    assert json.loads(journal.read_text("utf-8"))
    first.process.terminate()
    first.process.wait(20)
    second = start(retention=0.001)
    second.poll(REQ_KEY, "1234567890123456789")

    assert journal.read_text("utf-8") == ""
