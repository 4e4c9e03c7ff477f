"""Reads the answers about asynchronous tasks: what became of a submit, and what a poll says.

A submit is a call like any other: where its answer is lost, it is in doubt. A poll is free to repeat, so that only
what the service itself says about the task counts; everything else means to ask again.

| a poll's answer                                | verdict                      |
|------------------------------------------------|------------------------------|
| success, `done`, with images                   | SUCCEEDED                    |
| success, `done`, without images                | FAILED, charge unknown       |
| success, `in_queue`, `generating`, unknown     | RUNNING                      |
| success, `not_found`                           | IN_DOUBT, `task_not_found`   |
| success, `expired`                             | RETRY, `task_expired`        |
| success, `failed`, `canceled`                  | FAILED, `task_failed`        |
| a service code of moderation or a failure      | as the operation's table has |
| 50500, 50501, where the table retries them     | RETRY: the task is dead      |
| rejected credentials, a wrong `req_key`        | STOP: the task lives on      |
| an object of another API                       | STOP, `not_passed_on`        |
| 50429, 50430, any other fault, no answer       | RUNNING                      |

Source of the states: the pages of Volcengine's asynchronous image operations, such as docs/85621/1756900.
"""

from dataclasses import replace

from pixmill.http.transport import Reply
from pixmill.provider.answer_body import Statement, as_code, as_mapping, one_line
from pixmill.provider.error_codes import (
    SERVICE_CODES,
    CodeTable,
    Verdict,
    is_service_number,
)
from pixmill.provider.responses import (
    Response,
    classify_reply,
    name_without_code,
    with_images,
)

_ENDED_BADLY = frozenset({"failed", "canceled", "cancelled", "over_max_retries"})
"""Status words of tasks that ended without a result. Only client programs know them."""

_PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that say nothing of who answers, only that it may do so later."""

_FOREIGN_FIELDS = ("id", "task_id", "object", "choices")
"""What objects have that other APIs answer with."""


def read_submit(reply: Reply, table: CodeTable) -> Response:
    """Return what `reply` to a submit means under the `table` of an operation."""
    answer, statement = classify_reply(reply, table)
    if answer.verdict is Verdict.SUCCEEDED:
        data = as_mapping(statement.fields.get("data"))
        task_id = as_code(data.get("task_id"))
        # Whether it is charged is known when the task has ended.
        answer = replace(answer, charged="unknown", task_id=task_id)
        if task_id:
            return replace(answer, verdict=Verdict.SUBMITTED)
        return replace(
            answer,
            verdict=Verdict.IN_DOUBT,
            code="no_task_id",
            message="the provider reported success, but no task_id: nobody can ask for the result",
        )
    if _is_of_another_api(statement, reply.status):
        return _not_passed_on(answer)
    return name_without_code(answer, reply)


def read_result(reply: Reply, table: CodeTable, task_id: str) -> Response:
    """Return what `reply` to a poll says of the task `task_id` under the `table` of an operation."""
    answer, statement = classify_reply(reply, table)
    answer = replace(answer, task_id=task_id, provider_ms=None)
    if _is_of_another_api(statement, reply.status):
        return _not_passed_on(answer)
    code = answer.code or ""
    is_of_service = code in table or is_service_number(code, answer.http_status)
    match answer.verdict:
        case Verdict.SUCCEEDED:
            return _read_status(answer, statement)
        case Verdict.FAILED | Verdict.REFUSED if is_of_service:
            return answer
        case Verdict.RETRY if answer.code in SERVICE_CODES:
            return answer
        case Verdict.STOP:
            return name_without_code(answer, reply)
    # The link, the gateway or a limit: nothing of it says that the task has ended.
    return replace(answer, verdict=Verdict.RUNNING)


def _read_status(answer: Response, statement: Statement) -> Response:
    data = as_mapping(statement.fields.get("data"))
    status = one_line(data.get("status"), 64)
    if status == "done":
        finished = with_images(answer, data)
        # Users report such answers; nobody knows whether they are charged.
        no_image = finished.verdict is Verdict.FAILED
        return replace(finished, charged="unknown") if no_image else finished
    if status == "not_found":
        return replace(
            answer,
            verdict=Verdict.IN_DOUBT,
            charged="unknown",
            code="task_not_found",
            message="the provider does not know the task any more: it keeps results for 12 hours",
        )
    if status == "expired":
        return replace(
            answer,
            verdict=Verdict.RETRY,
            charged="unknown",
            code="task_expired",
            message="the provider let the task expire before it was done",
        )
    if status in _ENDED_BADLY:
        return replace(
            answer,
            verdict=Verdict.FAILED,
            charged="unknown",
            code="task_failed",
            message=f"the task ended as {status}",
        )
    return replace(answer, verdict=Verdict.RUNNING, charged="unknown")


def _not_passed_on(answer: Response) -> Response:
    return replace(
        answer,
        verdict=Verdict.STOP,
        code="not_passed_on",
        message="what answers is another API: this gateway does not pass asynchronous "
        "operations on to the service; check provider.base_url and provider.path",
    )


def _is_of_another_api(statement: Statement, status: int) -> bool:
    """Whether a body is an object that this API never answers with, and no fault that passes."""
    # A gateway that is busy or broken for a moment also gives its answer an id.
    if status in _PASSING or status >= 500:
        return False
    fields = statement.fields
    has_code = bool(statement.codes) or statement.is_error
    return not has_code and any(name in fields for name in _FOREIGN_FIELDS)
