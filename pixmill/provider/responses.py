"""Reads a provider's reply into a `Response`: code first, then HTTP status, and never an exception.

`answer_body` reads the shapes that bodies come in; `task_responses` the answers about tasks, which are made of the
same parts.
"""

import base64
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from pixmill.errors import AnswerUnknown, NotSent
from pixmill.http.address_policy import MAX_URL_CHARACTERS
from pixmill.http.transport import Reply
from pixmill.provider.answer_body import (
    MESSAGE_CHARS,
    Statement,
    as_code,
    as_mapping,
    clean_text,
    one_line,
    parse_json,
    read_statement,
)
from pixmill.provider.durations import milliseconds, retry_after_seconds
from pixmill.provider.error_codes import (
    CodeTable,
    Verdict,
    classify,
    is_service_number,
)
from pixmill.request.operations.operation import Charged

log = logging.getLogger(__name__)

Image = TypeVar("Image", str, bytes)

RAW_BYTES = 64 * 1024
"""How much of a body an answer keeps."""

MOST_IMAGES = 32
"""Images of one answer that are taken, by URL and inside it each: no operation is documented to
give more than 15.
"""

_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/=\\])[A-Za-z0-9+/=\\]{1024,}")
"""An image in a body. The look-behind keeps the search linear: a run is measured once, from its
start.
"""
_URL_LIST = re.compile(rb'"image_urls"\s*:\s*\[')
_NEXT_STRING = re.compile(rb'\s*("(?:[^"\\]|\\.){1,%d}")\s*,?' % MAX_URL_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Response:
    """What came of one call.

    A repr shows neither payload nor image URLs: these are keys to the images.
    """

    verdict: Verdict

    charged: Charged
    """Whether the call was charged."""

    code: str | None = None
    """The provider's, or one of ours:

    `no_image`, `broken_answer`, `http_504`, `not_sent`, `no_answer`, and of tasks `no_task_id`,
    `not_passed_on`, `task_not_found`, `task_expired`, `task_failed`.
    """

    message: str | None = None
    """What the provider says, or we, on one line."""

    http_status: int | None = None
    """`None` where there was no answer."""

    request_id: str | None = None
    """The provider's name for the call: what its support and its bill know it by."""

    image_urls: tuple[str, ...] = field(default=(), repr=False)
    """They die within a day, and are keys to the images until then."""

    inline_images: tuple[bytes, ...] = field(default=(), repr=False)
    """Images that came inside the answer, not yet looked at."""

    task_id: str | None = None
    """The task at the provider that the answer is about, where it is about one."""

    rephraser_result: str | None = field(default=None, repr=False)
    """The prompt as the provider rewrote it."""

    provider_ms: float | None = None
    """Milliseconds that the provider says it took."""

    retry_after: float | None = None
    """Seconds to wait before the next call, from the header of that name."""

    raw: bytes = field(default=b"", repr=False)
    """The body without images, cut to `RAW_BYTES`."""


def read_answer(reply: Reply, table: CodeTable) -> Response:
    """Return what `reply` to a synchronous call means under the `table` of an operation."""
    answer, statement = classify_reply(reply, table)
    if answer.verdict is Verdict.SUCCEEDED:
        return with_images(answer, as_mapping(statement.fields.get("data")))
    return name_without_code(answer, reply)


def classify_reply(reply: Reply, table: CodeTable) -> tuple[Response, Statement]:
    """Return what a code, or else the status, says of `reply`, and all that its body says.

    Of a success the images are still to be read.
    """
    statement = read_statement(parse_json(reply.body))
    code = next(
        (code for code in statement.codes if code in table),
        next(iter(statement.codes), None),
    )
    policy = classify(code, reply.status, table, has_error_body=statement.is_error)
    answer = Response(
        verdict=policy.verdict,
        charged=policy.charged,
        code=code,
        message=statement.message,
        http_status=reply.status,
        request_id=statement.request_id,
        provider_ms=milliseconds(statement.fields.get("time_elapsed")),
        retry_after=retry_after_seconds(
            reply.headers.get("Retry-After"), datetime.now(UTC)
        ),
        raw=_BASE64_RUN.sub(b"(image)", reply.body)[:RAW_BYTES],
    )
    return answer, statement


def name_without_code(answer: Response, reply: Reply) -> Response:
    """Return an answer that is no success, with a code of ours where it has none."""
    if answer.verdict is Verdict.IN_DOUBT and 200 <= reply.status < 300:
        return _broken(answer, reply.body)
    if answer.code:
        return answer
    said = answer.message or "no code in the body"
    if answer.verdict is Verdict.STOP and not answer.message:
        said += "; check provider.base_url and the key"
    return replace(
        answer,
        code=f"http_{answer.http_status}",
        message=f"HTTP {answer.http_status}: {said}",
    )


def not_sent(error: NotSent) -> Response:
    """Return the answer that stands for a call of which no byte left this machine."""
    return Response(
        Verdict.RETRY,
        "no",
        code="not_sent",
        message=one_line(str(error), MESSAGE_CHARS),
    )


def no_answer(error: AnswerUnknown) -> Response:
    """Return the answer that stands for a call that was sent and never answered in full."""
    return Response(
        Verdict.IN_DOUBT,
        "unknown",
        code="no_answer",
        message=one_line(str(error), MESSAGE_CHARS),
    )


def with_images(answer: Response, data: Mapping[str, Any]) -> Response:
    """Return a success with the images in its `data`; one without any has failed."""
    urls = tuple(_first(_usable_urls(data.get("image_urls"))))
    texts = data.get("binary_data_base64")
    decoded = map(_decode_base64, texts if isinstance(texts, list) else ())
    # What can't be decoded is no image, and nothing else in the answer is worse for it.
    images = tuple(_first(filter(None, decoded)))
    if urls or images:
        rephrased = clean_text(data.get("rephraser_result"))
        return replace(
            answer, image_urls=urls, inline_images=images, rephraser_result=rephrased
        )
    message = "the provider reported success, but sent no image"
    algorithm = as_mapping(data.get("algorithm_base_resp"))
    code = as_code(algorithm.get("status_code"))
    if code not in (None, "0"):
        said = one_line(algorithm.get("status_message"), MESSAGE_CHARS // 2)
        message += f": algorithm error {code}, {said or 'no reason given'}"
    # It was paid for, so it must not be asked for again by itself.
    return replace(answer, verdict=Verdict.FAILED, code="no_image", message=message)


def _broken(answer: Response, body: bytes) -> Response:
    """A success by its status whose body can't be read: it may hold the URLs of what was paid for
    all the same.
    """
    message = (
        f"HTTP {answer.http_status}, but the body of {len(body)} bytes "
        "is not a complete answer"
    )
    # Whole, as JSON or as a page, and without a code of the service.
    is_whole = parse_json(body) is not None or body.lstrip().startswith(b"<")
    if is_whole and not is_service_number(answer.code or "", answer.http_status):
        message = (
            f"HTTP {answer.http_status}, but the body is not an answer of this API: something else "
            "answers there; check provider.base_url and provider.path"
        )
    return replace(
        answer,
        code="broken_answer",
        message=message,
        image_urls=tuple(_salvage_urls(body)),
    )


def _usable_urls(values: object) -> Iterator[str]:
    for value in values if isinstance(values, list) else ():
        url = value.strip() if isinstance(value, str) else ""
        if (
            url.lower().startswith(("http://", "https://"))
            and url.isprintable()
            and len(url) <= MAX_URL_CHARACTERS
        ):
            yield url


def _first(images: Iterator[Image]) -> Iterator[Image]:
    """Yield as many as are taken of an answer."""
    yield from islice(images, MOST_IMAGES)
    if next(images, None) is not None:
        log.warning(
            "an answer brought more than %s images; the first of them are kept",
            MOST_IMAGES,
        )


def _decode_base64(value: object) -> bytes:
    """The bytes of an image inside an answer, none where the value holds no Base64."""
    if not isinstance(value, str):
        return b""
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    # Gateways wrap lines and leave the padding out, or have too much of it.
    bare = "".join(encoded.split()).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        return b""


def _salvage_urls(body: bytes) -> Iterator[str]:
    """Yield the complete image URLs of a body that can't be parsed as a whole."""
    position = start.end() if (start := _URL_LIST.search(body)) else len(body)
    for _ in range(MOST_IMAGES):
        match = _NEXT_STRING.match(body, position)
        if match is None:
            return
        yield from _usable_urls([parse_json(match[1])])
        position = match.end()
