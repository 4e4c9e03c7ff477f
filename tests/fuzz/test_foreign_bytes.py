"""Whatever a provider or an image host sends: an answer, a picture, or an error of ours."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pixmill.provider.durations import MAX_RETRY_AFTER, retry_after_seconds
from pixmill.storage.image_decoding import FORMATS, MAX_PIXELS, ImageError, inspect
from pixmill.storage.image_fetcher import url_expiry
from tests.fuzz.amount import examples
from tests.fuzz.mutations import damaged
from tests.pixmill.provider.answer_bodies import (
    PNG64,
    error,
    gateway_error,
    read,
    success,
)
from tests.pixmill.provider.test_broken_responses import assert_storable
from tests.pixmill.sample_pictures import picture, png_of

BODIES = [
    json.dumps(body).encode()
    for body in (
        success(),
        success(image_urls=[], binary_data_base64=[PNG64]),
        error(50429),
        gateway_error("SignatureDoesNotMatch", 100010),
        {"Result": success()},
        {
            "error": {
                "message": "no",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
        },
    )
]
SPARE = [
    b"null",
    b"[]",
    b"{}",
    b"10000",
    b'"10000"',
    b"1e400",
    b"NaN",
    b"-0",
    b"\\ud800",
    b"\\u0000",
    b'"',
    b"\xff",
    b"9" * 5000,
]
PICTURES = [
    picture(),
    picture("JPEG", progressive=True),
    picture("PNG"),
    picture("WEBP"),
    picture("WEBP", lossless=True),
    png_of(3, 5),
]
MARKERS = [
    b"\xff\xd8",
    b"\xff\xda",
    b"\xff\xc0",
    b"IHDR",
    b"IDAT",
    b"IEND",
    b"acTL",
    b"tEXt",
    b"VP8X",
    b"\xff\xff\xff\xff",
]
NOW = datetime(2026, 11, 22, 9, 59, tzinfo=UTC)


@examples(200)
@given(
    body=damaged(BODIES, SPARE), status=st.sampled_from([200, 400, 401, 429, 500, 504])
)
def test_a_body_that_is_nearly_right_is_an_answer(body: bytes, status: int) -> None:
    """D3, D4: damage in the right places gets further than bytes at random do."""
    assert_storable(read(body, status))


@examples(100)
@given(
    header=damaged(
        [b"Sun, 22 Nov 2026 10:00:00 GMT", b"120", b"Sun Nov 22 10:00:00 2026"],
        [b"99999", b"+9999", b"-", b"\xb2"],
    )
)
def test_any_retry_after_is_a_bounded_pause_or_none(header: bytes) -> None:
    """D12."""
    pause = retry_after_seconds(header.decode("latin-1"), NOW)
    assert pause is None or 0 <= pause <= MAX_RETRY_AFTER


@examples(200)
@given(data=damaged(PICTURES, MARKERS) | st.binary(max_size=60))
def test_any_bytes_are_a_picture_or_an_image_error(data: bytes) -> None:
    """F3, F4, F6."""
    try:
        shape = inspect(data)
    except ImageError as problem:
        assert str(problem)
    else:
        assert 0 < shape.width * shape.height <= MAX_PIXELS
        assert shape.format in FORMATS


@examples(100)
@given(
    url=damaged(
        [
            b"https://x.example/a.jpg?x-expires=1736856432&X-Tos-Date=20261122T100000Z&X-Tos-Expires=86400"
        ],
        [b"9" * 30, b"%", b"[", b"&"],
    )
)
def test_any_signed_url_says_when_it_dies_or_says_nothing(url: bytes) -> None:
    """F1."""
    end: Any = url_expiry(url.decode("latin-1"))
    assert end is None or end.tzinfo
