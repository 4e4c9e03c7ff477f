"""Replies without a code, cut off, of wrong shapes, hostile: none raises, and none that was paid is lost."""

import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.provider.error_codes import Verdict
from pixmill.provider.responses import RAW_BYTES, Response
from tests.pixmill.provider.answer_bodies import (
    URL,
    error,
    gateway_error,
    read,
    success,
)

HTML = b"<html><head><title>504 Gateway Time-out</title></head></html>"


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (500, Verdict.IN_DOUBT, "http_500"),
        (502, Verdict.IN_DOUBT, "http_502"),
        (503, Verdict.IN_DOUBT, "http_503"),
        (504, Verdict.IN_DOUBT, "http_504"),
        (200, Verdict.IN_DOUBT, "broken_answer"),
        (401, Verdict.STOP, "http_401"),
        (403, Verdict.STOP, "http_403"),
        (404, Verdict.STOP, "http_404"),
        (429, Verdict.THROTTLE_RATE, "http_429"),
        (302, Verdict.STOP, "http_302"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [HTML, b"", b"null", b"text", b'"10000"', b"[10000]", b"\xff\xfe\x00", b"10000"],
)
def test_a_body_without_a_code_is_read_by_its_status_and_kept(
    status: int, verdict: Verdict, code: str, body: bytes
) -> None:
    """Edge case 6, D1, D2: a page with 200 is no success."""
    answer = read(body, status)
    assert (answer.verdict, answer.code, answer.raw) == (verdict, code, body)
    assert f"HTTP {status}" in (answer.message or "")


@pytest.mark.parametrize(
    ("body", "foreign"),
    [
        (HTML, True),
        (b'{"created": 17, "data": [{"url": "https://h/1"}]}', True),
        (b'{"code": "success", "data": {"task_id": "7"}}', True),
        (b'{"id": "7", "status": "queued"}', True),
        (b'{"created": 17, "data": [{"ur', False),
        (b"", False),
    ],
)
def test_what_answers_in_the_place_of_this_api_is_named(
    body: bytes, foreign: bool
) -> None:
    """In doubt all the same: nobody knows what it passed on."""
    answer = read(body, 200)
    assert (answer.verdict, answer.code) == (Verdict.IN_DOUBT, "broken_answer")
    message = answer.message or ""
    assert ("not an answer of this API" in message) == foreign
    assert ("not a complete answer" in message) != foreign


def test_a_redirect_says_what_to_check() -> None:
    """D14."""
    assert read(b"", 302, Location="https://elsewhere/").message == (
        "HTTP 302: no code in the body; check provider.base_url and the key"
    )


def test_a_success_cut_at_any_byte_is_in_doubt_and_its_complete_urls_are_saved() -> (
    None
):
    """Edge case 6, D3."""
    body = json.dumps(success(image_urls=[URL, URL + "&n=2"])).encode()
    first_ends, second_ends = body.index(b'", "https'), body.index(b"&n=2") + 4
    for cut in range(len(body)):
        answer = read(body[:cut])
        assert (answer.verdict, answer.code, answer.charged) == (
            Verdict.IN_DOUBT,
            "broken_answer",
            "unknown",
        )
        assert answer.raw == body[:cut]
        assert (
            answer.image_urls
            == (URL, URL + "&n=2")[: (cut > first_ends) + (cut > second_ends)]
        ), cut


def test_saved_urls_are_decoded_as_json_and_only_usable_ones_count() -> None:
    """D3, edge case 8: `\\u0026` is an ampersand."""
    body = rb'{"code":10000,"data":{"image_urls": [ "https:\/\/h/a?b=1\u0026c=2" , "ftp://x", "https://h/\q", "https://h/2"'
    assert read(body).image_urls == ("https://h/a?b=1&c=2", "https://h/2")


@pytest.mark.parametrize("code", [None, "", "success", [], {}, True, [10000]])
def test_a_200_without_a_readable_code_is_in_doubt_and_keeps_its_urls(
    code: object,
) -> None:
    """D4."""
    answer = read({**success(), "code": code})
    assert (answer.verdict, answer.charged, answer.image_urls) == (
        Verdict.IN_DOUBT,
        "unknown",
        (URL,),
    )


@pytest.mark.parametrize("code", [None, "", True, False, [], {}, math.nan, math.inf])
def test_what_is_no_code_leaves_it_to_the_status(code: object) -> None:
    """D4."""
    answer = read({"code": code, "message": "no"}, 400)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "http_400")


@pytest.mark.parametrize("code", [10000, "10000", " 10000 ", 10000.0])
def test_a_code_may_be_text(code: object) -> None:
    """D4."""
    assert read({**success(), "code": code}).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("data", [None, [], [URL], "x", 7, True, math.nan, {}])
def test_a_success_with_data_of_a_wrong_shape_fails_as_paid(data: object) -> None:
    """D4."""
    answer = read({**success(), "data": data})
    assert (answer.verdict, answer.code, answer.charged) == (
        Verdict.FAILED,
        "no_image",
        "yes",
    )


FIELDS = [
    "code",
    "data",
    "message",
    "request_id",
    "time_elapsed",
    "error",
    "ResponseMetadata",
    "Result",
]
NASTY = [
    None,
    True,
    0,
    -1,
    1e308,
    math.nan,
    math.inf,
    "",
    "x\x00\ud800",
    [],
    [[]],
    {},
    {"a": {}},
    10**300,
]


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_wrong_type_raises(field: str, value: object) -> None:
    """D4."""
    for body in (success(), error(50412), gateway_error("AccessDenied")):
        for status in (200, 400, 500):
            assert_storable(read({**body, field: value}, status))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b"[" * 100_000,
        b'{"data":' * 1_200_000,
        b'{"code":10000,"data":' + b"[" * 10_000_000,
        b'{"code":' + b"9" * 5000 + b"}",
        b'{"code":1e999,"data":NaN}',
        b"[" + b"[]," * 3_000_000 + b"[]]",
        b'{"image_urls":[' + b'"https://h",' * 1_000_000,
        b"\xef\xbb\xbf",
    ],
    ids=[
        "lists",
        "short",
        "objects",
        "inside",
        "digits",
        "infinite",
        "wide",
        "urls",
        "bom",
    ],
)
def test_hostile_json_is_in_doubt_within_bounded_memory(body: bytes) -> None:
    """D4: 10 MB of nesting, or of tiny values, neither raises nor fills the memory."""
    tracemalloc.start()
    try:
        answer = read(body)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()
    assert answer.verdict is Verdict.IN_DOUBT
    assert len(answer.image_urls) <= 100
    assert len(answer.raw) <= RAW_BYTES


def test_a_byte_order_mark_and_a_broken_character_do_not_lose_a_paid_picture() -> None:
    """D4."""
    body = json.dumps(success()).encode()
    assert read(b"\xef\xbb\xbf" + body).verdict is Verdict.SUCCEEDED
    assert (
        read(body.replace(b"a cat", b"a \xff\xb5cat")).rephraser_result
        == "a \ufffd\ufffdcat, detailed"
    )


def test_a_rephrased_prompt_keeps_its_lines_but_nothing_that_cannot_be_stored() -> None:
    """D4."""
    assert (
        read(success(rephraser_result="one\ntwo\x00\ud800")).rephraser_result
        == "one\ntwo"
    )
    assert read(success(rephraser_result="")).rephraser_result is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
INNER = [
    "image_urls",
    "binary_data_base64",
    "algorithm_base_resp",
    "Error",
    "Code",
    "CodeN",
    "message",
]
BODIES = st.dictionaries(
    st.sampled_from(FIELDS),
    JSON
    | st.dictionaries(st.sampled_from(INNER), JSON)
    | st.sampled_from([10000, "10000", 50412, 50429]),
)


@given(
    st.binary() | BODIES.map(lambda body: json.dumps(body).encode()),
    st.integers(100, 599),
)
def test_no_body_raises_and_every_text_can_be_stored(body: bytes, status: int) -> None:
    """D4."""
    assert_storable(read(body, status))


def assert_storable(answer: Response) -> None:
    """Every text of an answer fits a database column; success means an image, and is charged."""
    for text in (
        answer.code,
        answer.message,
        answer.request_id,
        answer.rephraser_result,
        *answer.image_urls,
    ):
        assert "\x00" not in (text or "").encode().decode()
    assert answer.code
    assert len(answer.message or "") <= 500
    has_image = bool(answer.image_urls or answer.inline_images)
    assert has_image or answer.verdict is not Verdict.SUCCEEDED
    assert (answer.charged == "yes") == (
        answer.verdict is Verdict.SUCCEEDED or answer.code == "no_image"
    )
