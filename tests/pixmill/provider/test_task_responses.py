"""Answers about asynchronous tasks: what a submit and a poll mean, whatever comes."""

import json
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from pixmill.http.transport import Reply
from pixmill.provider.error_codes import CodeTable, Verdict, code_table
from pixmill.provider.responses import Response
from pixmill.provider.task_responses import read_result, read_submit
from tests.pixmill.provider.answer_bodies import (
    PNG,
    PNG64,
    URL,
    error,
    gateway_error,
    success,
)
from tests.pixmill.provider.recorded import BODY, KEY, RecordingServer, as_json, opened

TASK = "7392616336519610409"
ANY_TABLE = code_table("some_key")


def reply(body: object, status: int = 200) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, CaseInsensitiveDict(), content)


def submit(body: object, status: int = 200) -> Response:
    return read_submit(reply(body, status), ANY_TABLE)


def poll(body: object, status: int = 200, table: CodeTable = ANY_TABLE) -> Response:
    answer = read_result(reply(body, status), table, TASK)
    assert answer.task_id == TASK
    return answer


def accepted(task_id: object = TASK) -> dict[str, Any]:
    """The answer to a submit as documented: without a top `status`."""
    return {
        "code": 10000,
        "data": {"task_id": task_id},
        "message": "Success",
        "request_id": "202511281200",
        "time_elapsed": "104.852295ms",
    }


def state(status: object, **data: Any) -> dict[str, Any]:
    """The answer to a poll as documented."""
    fields = {"binary_data_base64": None, "image_urls": None, "status": status, **data}
    return {**accepted(), "data": fields}


@pytest.mark.parametrize("given", [TASK, int(TASK), f" {TASK} "])
def test_a_submit_that_names_a_task_has_started_it(given: object) -> None:
    answer = submit(accepted(given))
    assert answer.verdict is Verdict.SUBMITTED
    assert answer.task_id == TASK
    assert answer.charged == "unknown", "that is known when the task has ended"
    assert answer.request_id == "202511281200"


@pytest.mark.parametrize("task_id", [None, "", True, [], {}])
def test_a_submit_that_succeeds_without_a_task_is_in_doubt(task_id: object) -> None:
    answer = submit(accepted(task_id))
    assert (answer.verdict, answer.code) == (Verdict.IN_DOUBT, "no_task_id")
    assert answer.charged == "unknown"


@pytest.mark.parametrize(
    ("body", "status", "verdict"),
    [
        (error(50430), 429, Verdict.THROTTLE_CONCURRENCY),
        (error(50429), 429, Verdict.THROTTLE_RATE),
        (error(50412), 400, Verdict.REFUSED),
        (error(50215), 400, Verdict.FAILED),
        (error(50400), 401, Verdict.STOP),
        (gateway_error("InvalidActionOrVersion", 100008), 404, Verdict.STOP),
        (b"<html>404</html>", 404, Verdict.STOP),
        (b"<html>502</html>", 502, Verdict.IN_DOUBT),
        (b'{"code": 10000, "data": {"task_', 200, Verdict.IN_DOUBT),
        (b"", 504, Verdict.IN_DOUBT),
    ],
)
def test_a_submit_that_fails_is_judged_like_any_call(
    body: object, status: int, verdict: Verdict
) -> None:
    answer = submit(body, status)
    assert answer.verdict is verdict
    assert answer.task_id is None
    assert answer.code


@pytest.mark.parametrize(
    "body",
    [
        {"id": "task_1", "task_id": "task_1", "status": "queued"},
        {"id": "x", "object": "chat.completion", "choices": []},
    ],
)
def test_a_gateway_that_answers_with_another_api_is_named_and_ends_the_run(
    body: object,
) -> None:
    answer = submit(body)
    assert (answer.verdict, answer.code) == (Verdict.STOP, "not_passed_on")
    assert "provider.path" in (answer.message or "")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_fault_of_a_gateway_is_no_other_api_though_it_has_an_id(status: int) -> None:
    body = {"id": "req-1", "message": "upstream busy"}
    assert poll(body, status).verdict is Verdict.RUNNING
    assert submit(body, status).verdict is not Verdict.STOP


def test_a_poll_that_another_api_answers_stops_the_run_and_leaves_the_task() -> None:
    """A gateway that takes submits and passes no polls on would be asked for hours."""
    answer = poll({"object": "task", "status": "generating", "progress": 0})
    assert (answer.verdict, answer.code) == (Verdict.STOP, "not_passed_on")
    assert answer.task_id == TASK
    assert "another API" in (answer.message or "")


@pytest.mark.parametrize(
    ("body", "status", "verdict", "code", "charged"),
    [
        (state("in_queue"), 200, Verdict.RUNNING, "10000", "unknown"),
        (state("generating"), 200, Verdict.RUNNING, "10000", "unknown"),
        (state("a new word"), 200, Verdict.RUNNING, "10000", "unknown"),
        (state(None), 200, Verdict.RUNNING, "10000", "unknown"),
        (state("done"), 200, Verdict.FAILED, "no_image", "unknown"),
        (state("not_found"), 200, Verdict.IN_DOUBT, "task_not_found", "unknown"),
        (state("expired"), 200, Verdict.RETRY, "task_expired", "unknown"),
        (state("failed"), 200, Verdict.FAILED, "task_failed", "unknown"),
        (error(50413), 400, Verdict.REFUSED, "50413", "no"),
        (error(50511), 400, Verdict.REFUSED, "50511", "unknown"),
        (error(50215), 400, Verdict.FAILED, "50215", "no"),
        (error(50500), 500, Verdict.RETRY, "50500", "unknown"),
        (error(59999), 400, Verdict.FAILED, "59999", "unknown"),
        (error(50429), 429, Verdict.RUNNING, "50429", "no"),
        (error(50430), 429, Verdict.RUNNING, "50430", "no"),
        (error(50400), 401, Verdict.STOP, "50400", "no"),
    ],
)
def test_a_poll_means_what_the_service_says_of_the_task(
    body: object, status: int, verdict: Verdict, code: str, charged: str
) -> None:
    answer = poll(body, status)
    assert (answer.verdict, answer.code, answer.charged) == (verdict, code, charged)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"<html>", 200),
        (b'{"code": 10000, "data": {"status": "do', 200),
        (b"<html>502</html>", 502),
        (b"", 504),
        (b"", 408),
        (b"", 400),
        (error(400), 400),
        (error("invalid_request"), 400),
        ({"error": {"message": "upstream", "type": "server_error"}}, 500),
        (gateway_error("InternalServiceTimeout"), 504),
        (gateway_error("FlowLimitExceeded", 100018), 429),
    ],
)
def test_what_only_the_link_or_a_gateway_says_about_a_poll_ends_no_task(
    body: object, status: int
) -> None:
    assert poll(body, status).verdict is Verdict.RUNNING


def test_a_finished_task_brings_all_its_images_and_is_charged() -> None:
    urls = [f"{URL}&n={number}" for number in range(4)]
    answer = poll(state("done", image_urls=urls))
    assert answer.verdict is Verdict.SUCCEEDED
    assert answer.image_urls == tuple(urls)
    assert answer.charged == "yes"
    inside = poll(state("done", binary_data_base64=[PNG64, PNG64]))
    assert inside.inline_images == (PNG, PNG)


def test_submit_and_poll_go_out_with_their_own_action_and_options_as_text() -> None:
    options = '{"return_url":true}'
    with (
        RecordingServer(as_json(accepted())) as server,
        opened("gateway", server.url) as client,
    ):
        assert client.submit(BODY, "jimeng_t2i_v31").task_id == TASK
        client.poll("jimeng_t2i_v31", TASK, options)
    started, asked = server.received
    version = "Version=2022-08-31"
    assert started.target == f"/volcv/v1?Action=CVSync2AsyncSubmitTask&{version}"
    assert started.body == BODY
    assert asked.target == f"/volcv/v1?Action=CVSync2AsyncGetResult&{version}"
    assert json.loads(asked.body) == {
        "req_key": "jimeng_t2i_v31",
        "task_id": TASK,
        "req_json": options,
    }
    assert KEY not in str(server.received[0].body)


def test_a_poll_that_gets_no_answer_says_nothing_about_the_task() -> None:
    with RecordingServer(as_json(success())) as server:
        url = server.url
    with opened("gateway", url) as client:
        answer = client.poll("jimeng_t2i_v31", TASK, "{}")
    assert (answer.verdict, answer.task_id) == (Verdict.RUNNING, TASK)


def test_a_poll_with_a_key_that_has_been_replaced_since_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        RecordingServer(as_json(error(50400), 401)) as server,
        opened("gateway", server.url) as client,
    ):
        assert client.poll("k", TASK, "{}").verdict is Verdict.STOP
        monkeypatch.setenv("PIXMILL_API_KEY", "sk-another-0123456789")
        assert client.poll("k", TASK, "{}").verdict is Verdict.RUNNING


def test_a_gateway_of_another_path_is_called_there() -> None:
    from pixmill.config.model import Limits, Provider
    from pixmill.provider.client import open_client

    with RecordingServer(as_json(success())) as server:
        provider = Provider(
            kind="gateway", base_url=server.url, path="/volcark/visual/"
        )
        client = open_client(provider, Limits(), concurrency=1)
        client.call(BODY, "k")
        client.close()
    assert server.received[0].target.startswith("/volcark/visual?Action=CVProcess&")
