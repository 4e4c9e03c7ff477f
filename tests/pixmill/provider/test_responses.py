"""Replies of every documented kind, and the answers they are read as."""

import base64
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from pixmill.errors import AnswerUnknown, NotSent
from pixmill.provider.error_codes import Verdict
from pixmill.provider.responses import (
    MOST_IMAGES,
    RAW_BYTES,
    Response,
    no_answer,
    not_sent,
)
from tests.pixmill.provider.answer_bodies import (
    PNG,
    PNG64,
    URL,
    error,
    gateway_error,
    read,
    success,
)


def test_the_documented_success_is_read_whole() -> None:
    answer = read(success())
    assert replace(answer, raw=b"") == Response(
        verdict=Verdict.SUCCEEDED,
        charged="yes",
        code="10000",
        message="Success",
        http_status=200,
        request_id="202501132006376AA642D2FBD42465DF60",
        image_urls=(URL,),
        rephraser_result="a cat, detailed",
        provider_ms=pytest.approx(5861.744206),  # type: ignore[arg-type]
    )
    assert json.loads(answer.raw) == success()


@pytest.mark.parametrize("other", [[], None, ...])
def test_images_come_by_url_inline_or_both(other: object) -> None:
    """Edge case 1: the list that is not used is empty, null or absent."""
    assert read(success(binary_data_base64=other)).image_urls == (URL,)
    inline = read(success(image_urls=other, binary_data_base64=[PNG64]))
    assert (inline.verdict, inline.image_urls, inline.inline_images) == (
        Verdict.SUCCEEDED,
        (),
        (PNG,),
    )
    both = read(success(binary_data_base64=[PNG64]))
    assert (both.image_urls, both.inline_images) == ((URL,), (PNG,))


@pytest.mark.parametrize(
    "urls",
    [[], None, ..., {}, "x", 5, [None, 5, {}, ""], ["ftp://x/y"], ["https://a\nb"]],
)
@pytest.mark.parametrize(
    "inline",
    [[], None, ..., [""], ["data:image/png;base64,"], ["!"], ["é"], ["A"], [7]],
)
def test_a_success_without_an_image_fails_as_paid(urls: object, inline: object) -> None:
    """Edge case 2 and E8: it was paid, so it is neither a success nor asked for again."""
    answer = read(success(image_urls=urls, binary_data_base64=inline))
    assert (answer.verdict, answer.code, answer.charged) == (
        Verdict.FAILED,
        "no_image",
        "yes",
    )
    assert answer.image_urls == answer.inline_images == ()


def test_an_algorithm_error_without_an_image_fails_and_says_why() -> None:
    """Edge case 2."""
    algorithm = {"status_code": 201304, "status_message": "ghost\nface"}
    answer = read(success(image_urls=[], algorithm_base_resp=algorithm))
    assert (answer.verdict, answer.code, answer.charged) == (
        Verdict.FAILED,
        "no_image",
        "yes",
    )
    assert (answer.message or "").endswith(
        "sent no image: algorithm error 201304, ghost face"
    )


@pytest.mark.parametrize(
    "algorithm", [..., None, {}, [], {"status_code": 3}, {"status_code": "0"}]
)
def test_the_algorithm_block_changes_nothing_where_there_is_an_image(
    algorithm: object,
) -> None:
    """Edge case 2: it is optional, and a picture is a picture."""
    assert read(success(algorithm_base_resp=algorithm)).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize(
    "extra",
    [
        {"infer_ctx": {}},
        {"infer_ctx": {"params": {"image_urls": ["https://input"]}, "log_id": None}},
        {
            "controlnet_args.canny.strength": 0.5,
            "1905703073": 1905703073,
            "comfyui_cost": [1, {"a": None}],
        },
        {"rephraser_result": None, "llm_result": 7},
    ],
)
def test_unknown_fields_of_any_shape_are_ignored(extra: dict[str, Any]) -> None:
    """Edge case 3."""
    assert read(success(**extra)).image_urls == (URL,)


def test_more_images_than_asked_and_duplicates_are_all_kept_in_order() -> None:
    """Edge case 3 and E9: `canny` also sends its contour map."""
    assert read(success(image_urls=[URL, URL + "2", URL])).image_urls == (
        URL,
        URL + "2",
        URL,
    )


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (400, 50412, Verdict.REFUSED),
        (200, 50412, Verdict.REFUSED),
        (401, 50400, Verdict.STOP),
        (429, 50429, Verdict.THROTTLE_RATE),
        (200, 50429, Verdict.THROTTLE_RATE),
        (429, 50430, Verdict.THROTTLE_CONCURRENCY),
        (200, 50430, Verdict.THROTTLE_CONCURRENCY),
        (500, 50500, Verdict.RETRY),
        (400, 50511, Verdict.REFUSED),
        (400, 50521, Verdict.FAILED),
        (418, 59871, Verdict.FAILED),
    ],
)
def test_a_service_error_is_read_by_its_code(
    status: int, code: int, verdict: Verdict
) -> None:
    """Edge case 4, E1, E2, E4, E5, E6, E7."""
    answer = read(error(code, "Text Risk Not Pass"), status)
    assert (answer.verdict, answer.code, answer.http_status) == (
        verdict,
        str(code),
        status,
    )
    assert (answer.message, answer.request_id) == ("Text Risk Not Pass", "2025")
    assert answer.provider_ms == pytest.approx(0.096333)
    assert answer.image_urls == answer.inline_images == ()


@pytest.mark.parametrize(
    ("status", "body", "verdict", "code"),
    [
        (
            401,
            gateway_error("SignatureDoesNotMatch", 100010),
            Verdict.STOP,
            "SignatureDoesNotMatch",
        ),
        (
            400,
            gateway_error("InvalidTimestamp", 100006),
            Verdict.STOP,
            "InvalidTimestamp",
        ),
        (403, gateway_error("AccessDenied", 100013), Verdict.STOP, "AccessDenied"),
        (
            404,
            gateway_error("InvalidActionOrVersion", 100008),
            Verdict.STOP,
            "InvalidActionOrVersion",
        ),
        (
            429,
            gateway_error("FlowLimitExceeded", 100018),
            Verdict.THROTTLE_RATE,
            "FlowLimitExceeded",
        ),
        (
            502,
            gateway_error("InternalServiceError"),
            Verdict.RETRY,
            "InternalServiceError",
        ),
        (400, gateway_error("50215"), Verdict.FAILED, "50215"),
        (400, gateway_error(50412), Verdict.REFUSED, "50412"),
        (400, gateway_error(None, 100010), Verdict.STOP, "100010"),
        (400, gateway_error("Renamed", 100010), Verdict.STOP, "100010"),
        (403, gateway_error("BrandNew", 100099), Verdict.STOP, "BrandNew"),
        (400, gateway_error("BrandNew", 100099), Verdict.FAILED, "BrandNew"),
    ],
)
def test_an_error_of_the_openapi_gateway_is_read_by_name_then_number(
    status: int, body: object, verdict: Verdict, code: str
) -> None:
    """Edge case 5, E10, E11, E12; a service code can stand in this envelope, too."""
    answer = read(body, status)
    assert (answer.verdict, answer.code, answer.request_id) == (verdict, code, "2025GW")
    assert answer.message == "no"


def test_a_gateway_error_outweighs_the_fields_beside_it() -> None:
    """Edge case 5."""
    assert (
        read({**success(), **gateway_error("AccessDenied")}, 403).verdict
        is Verdict.STOP
    )


@pytest.mark.parametrize(
    "metadata", [{"RequestId": "GW", "Error": None}, {"RequestId": "GW"}]
)
def test_a_success_inside_result_is_a_success(metadata: dict[str, Any]) -> None:
    """Edge case 5."""
    answer = read({"ResponseMetadata": metadata, "Result": success()})
    assert (answer.verdict, answer.image_urls) == (Verdict.SUCCEEDED, (URL,))
    assert answer.provider_ms == pytest.approx(5861.744206)
    without_id = {
        name: value for name, value in success().items() if name != "request_id"
    }
    assert read({"ResponseMetadata": metadata, "Result": without_id}).request_id == "GW"
    assert read({"ResponseMetadata": None, **success()}).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (400, {"error": {"message": "bad"}}, Verdict.FAILED),
        (401, {"error": {"message": "bad", "code": "invalid_api_key"}}, Verdict.STOP),
        (402, {"error": {"message": "bad"}}, Verdict.STOP),
        (404, {"error": "bad"}, Verdict.STOP),
        (422, {"error": {"message": "bad", "code": 422}}, Verdict.FAILED),
        (
            429,
            {"error": {"message": "bad", "code": "rate_limit_exceeded"}},
            Verdict.THROTTLE_RATE,
        ),
        (
            429,
            {"error": {"message": "bad", "type": "insufficient_quota"}},
            Verdict.STOP,
        ),
        (
            403,
            {"code": "insufficient_user_quota", "message": "bad", "data": None},
            Verdict.STOP,
        ),
        (401, {"code": 401, "message": "bad"}, Verdict.STOP),
        (400, {"error": {"message": "bad", "code": 50412}}, Verdict.REFUSED),
        (500, {"error": {"message": "bad"}}, Verdict.RETRY),
        (503, {"error": {"message": "bad"}}, Verdict.RETRY),
        (504, {"error": {"message": "bad"}}, Verdict.IN_DOUBT),
        (500, {"message": "bad"}, Verdict.IN_DOUBT),
    ],
)
def test_an_openai_shaped_error_is_read_by_its_status(
    status: int, body: object, verdict: Verdict
) -> None:
    """Edge case 6, D1, E12."""
    answer = read(body, status)
    assert answer.verdict is verdict
    assert "bad" in (answer.message or "")


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [("861.2ms", 861.2), ("1m3.2s", 63200), (5861, 5861), (None, None), ("?", None)],
)
def test_the_elapsed_time_never_decides(
    elapsed: object, expected: float | None
) -> None:
    """Edge case 7."""
    answer = read({**success(), "time_elapsed": elapsed})
    assert (answer.verdict, answer.provider_ms) == (Verdict.SUCCEEDED, expected)


@pytest.mark.parametrize("number", [MOST_IMAGES, MOST_IMAGES + 1, 100 * MOST_IMAGES])
def test_of_an_answer_so_many_images_are_taken(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A8: each is fetched, decoded and stored, and its URL stands in the ledger."""
    urls = [f"https://images.example.com/{at}" for at in range(number)]
    answer = read(success(image_urls=urls, binary_data_base64=[PNG64] * number))
    assert answer.image_urls == tuple(urls[:MOST_IMAGES])
    assert len(answer.inline_images) == MOST_IMAGES
    assert ("brought more than 32 images" in caplog.text) is (number > MOST_IMAGES)


def test_image_urls_come_back_as_they_were_signed() -> None:
    """Edge case 8: an escaped ampersand is decoded, nothing else is touched, and any host will do."""
    urls = [URL, "http://file.302.ai/x.image"]
    body = json.dumps(success(image_urls=urls)).replace("&", "\\u0026")
    assert read(body.encode()).image_urls == tuple(urls)


@pytest.mark.parametrize(
    "encoded",
    [
        PNG64,
        PNG64.rstrip("="),
        "data:image/png;base64," + PNG64,
        "data:image/png;base64," + PNG64.rstrip("="),
        PNG64 + "==",
        "\n".join(PNG64[start : start + 76] for start in range(0, len(PNG64), 76)),
    ],
)
def test_base64_is_read_with_a_data_prefix_line_breaks_and_wrong_padding(
    encoded: str,
) -> None:
    """Edge case 10."""
    assert PNG64.endswith("=")
    assert read(success(image_urls=[], binary_data_base64=[encoded])).inline_images == (
        PNG,
    )


def test_what_is_kept_of_a_body_has_no_images_and_is_cut() -> None:
    """D2: the first 64 KiB, with whatever stands behind the image."""
    image = base64.b64encode(bytes(range(256)) * 1000).decode()
    body = (
        json.dumps({**success(binary_data_base64=[image]), "trailer": "kept"})
        .replace("/", "\\/")
        .encode()
    )
    raw = read(body).raw
    assert json.loads(raw)["data"]["binary_data_base64"] == ["(image)"]
    assert json.loads(raw)["trailer"] == "kept"
    page = b"<p>x</p>" * 20_000
    assert read(page, 502).raw == page[:RAW_BYTES]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("one\r\n2026-01-01 ERROR two\x1b[31m", "one 2026-01-01 ERROR two [31m"),
        ("a\x00b\x85c\u2028d\u202ee", "a b c d e"),
        ("lone \ud800 half", "lone half"),
        ("x" * 10_000, "x" * 500),
        (" \t ", None),
        ("图片", "图片"),
    ],
)
def test_a_message_is_one_short_printable_line(said: str, shown: str | None) -> None:
    assert read(error(50412, said), 400).message == shown


def test_an_error_with_retry_after_says_how_long_to_hold_back() -> None:
    """D11, D12: both forms, and the header's case does not matter."""
    assert read(error(50429), 429, retry_after="7").retry_after == 7
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 <= (read(b"<html>", 503, Retry_After=soon).retry_after or 0) <= 60
    assert read(error(50429), 429, Retry_After="-1").retry_after is None
    assert read(error(50429), 429).retry_after is None


def test_transport_errors_become_answers() -> None:
    """D7: before a byte left nothing was charged; afterwards nobody knows."""
    assert not_sent(NotSent("host:443: refused\n")) == Response(
        Verdict.RETRY, "no", code="not_sent", message="host:443: refused"
    )
    assert no_answer(AnswerUnknown("host: reset")) == Response(
        Verdict.IN_DOUBT, "unknown", code="no_answer", message="host: reset"
    )


def test_a_repr_shows_no_payload_and_no_image_url() -> None:
    answer = read(success(binary_data_base64=[PNG64]))
    shown = repr(answer)
    assert "10000" in shown
    assert not any(part in shown for part in ("x-signature", "PNG", "a cat"))
    assert pickle.loads(pickle.dumps(answer)) == answer
