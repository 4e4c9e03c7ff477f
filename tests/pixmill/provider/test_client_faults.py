"""The client against servers that fail: every fault is an answer, and no call becomes a second one."""

import json
import socket

import pytest

from pixmill.provider.error_codes import Verdict
from tests.faulty_server import (
    Behaviour,
    FaultyServer,
    answer,
    drip_body,
    drip_headers,
    endless,
    gzip_bomb,
    hang_up,
    message,
    reset,
    stall,
    truncated,
)
from tests.pixmill.provider.answer_bodies import success
from tests.pixmill.provider.recorded import BODY, REQ_KEY, as_json, opened, provided

pytestmark = pytest.mark.usefixtures("keys")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    """D14: the key and the payment go to the configured address or nowhere."""
    with provided(as_json(success())) as elsewhere:
        answering = as_json({}, status, Location=f"{elsewhere.url}/volcv/v1")
        with provided(answering) as server, opened("gateway", server.url) as client:
            result = client.call(BODY, REQ_KEY)
    assert (result.verdict, result.code) == (Verdict.STOP, f"http_{status}")
    assert (len(server.received), elsewhere.received) == (1, [])


def test_a_refused_connection_was_not_sent() -> None:
    """D7."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with opened("gateway", f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            result = client.call(BODY, REQ_KEY)
    assert (result.verdict, result.code, result.charged) == (
        Verdict.RETRY,
        "not_sent",
        "no",
    )
    assert "127.0.0.1" in (result.message or "")


@pytest.mark.parametrize(
    "behaviour",
    [stall(), stall(message(length=9)), drip_headers(), drip_body()],
    ids=["silence", "half a body", "dripping headers", "dripping body"],
)
def test_a_call_that_is_not_answered_in_time_is_in_doubt(behaviour: Behaviour) -> None:
    """D5, D6."""
    with (
        FaultyServer(behaviour) as server,
        opened("gateway", server.url, seconds=0.3) as client,
    ):
        result = client.call(BODY, REQ_KEY)
    assert (result.verdict, result.code, result.charged) == (
        Verdict.IN_DOUBT,
        "no_answer",
        "unknown",
    )
    assert "within 0.3 s" in (result.message or "")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        reset(),
        reset(message(length=9)),
        hang_up(),
        truncated(b"{}"),
        endless(),
        gzip_bomb(80 * 2**20),
    ],
    ids=[
        "reset",
        "reset in the body",
        "hang-up",
        "cut body",
        "endless body",
        "gzip bomb",
    ],
)
def test_a_call_without_a_complete_answer_is_in_doubt_and_the_next_one_works(
    behaviour: Behaviour,
) -> None:
    """D7, D15: what was sent may have been charged, so it is not sent again here."""
    good = answer(json.dumps(success()).encode())
    with (
        FaultyServer(behaviour, good) as server,
        opened("gateway", server.url) as client,
    ):
        first, second = client.call(BODY, REQ_KEY), client.call(BODY, REQ_KEY)
    assert (first.verdict, first.code, first.charged) == (
        Verdict.IN_DOUBT,
        "no_answer",
        "unknown",
    )
    assert second.verdict is Verdict.SUCCEEDED
    assert len(server.requests) == 2
