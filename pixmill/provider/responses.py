"""Reads a provider's reply into a `Response`: code first, then HTTP status, and never an exception.

Everything in a reply is foreign: texts are cut to size and cleaned, types are checked, and what
can't be used is left out. Shapes: the service's own body, the same inside `Result`, the OpenAPI
gateway's `ResponseMetadata.Error`, and the `{"error": …}` of OpenAI-like gateways.
"""

import base64
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from pixmill.errors import AnswerUnknown, NotSent
from pixmill.http.address_policy import MAX_URL_CHARACTERS
from pixmill.http.transport import Reply
from pixmill.provider.durations import milliseconds, retry_after_seconds
from pixmill.provider.error_codes import CodeTable, Verdict, classify
from pixmill.request.operations.operation import Charged

log = logging.getLogger(__name__)

Image = TypeVar("Image", str, bytes)

RAW_BYTES = 64 * 1024
"""How much of a body an answer keeps."""

_MESSAGE_CHARS = 500
_NAME_CHARS = 128
"""Of codes and request ids."""

_TEXT_CHARS = 20_000
"""Of a rewritten prompt."""

_LARGE_BODY = 1024 * 1024
_MOST_VALUES = 200_000
"""Values in a large body that are parsed: beyond that a few MiB of text become gigabytes of
objects.
"""

MOST_IMAGES = 32
"""Images of one answer that are taken, by URL and inside it each: no operation is documented to
give more than 15.
"""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What a JSON text can hold, but no UTF-8 file and no database."""
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

    `no_image`, `broken_answer`, `http_504`, `not_sent`, `no_answer`.
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

    rephraser_result: str | None = field(default=None, repr=False)
    """The prompt as the provider rewrote it."""

    provider_ms: float | None = None
    """Milliseconds that the provider says it took."""

    retry_after: float | None = None
    """Seconds to wait before the next call, from the header of that name."""

    raw: bytes = field(default=b"", repr=False)
    """The body without images, cut to `RAW_BYTES`."""


class _Statement(NamedTuple):
    """What a body says: the codes in it, the first one leading, and the service's own fields."""

    codes: tuple[str, ...]
    message: str | None
    request_id: str | None
    is_error: bool
    fields: Mapping[str, Any]


def read_answer(reply: Reply, table: CodeTable) -> Response:
    """Return what `reply` means under the `table` of an operation."""
    statement = _statement(_parse_json(reply.body))
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
    if policy.verdict is Verdict.SUCCEEDED:
        return _with_images(answer, _mapping(statement.fields.get("data")))
    if policy.verdict is Verdict.IN_DOUBT and 200 <= reply.status < 300:
        return _broken(answer, reply.body)
    return answer if code else _name_after_status(answer)


def not_sent(error: NotSent) -> Response:
    """Return the answer that stands for a call of which no byte left this machine."""
    return Response(
        Verdict.RETRY, "no", code="not_sent", message=_line(str(error), _MESSAGE_CHARS)
    )


def no_answer(error: AnswerUnknown) -> Response:
    """Return the answer that stands for a call that was sent and never answered in full."""
    return Response(
        Verdict.IN_DOUBT,
        "unknown",
        code="no_answer",
        message=_line(str(error), _MESSAGE_CHARS),
    )


def _with_images(answer: Response, data: Mapping[str, Any]) -> Response:
    urls = tuple(_first(_usable_urls(data.get("image_urls"))))
    texts = data.get("binary_data_base64")
    decoded = map(_decode_base64, texts if isinstance(texts, list) else ())
    # What can't be decoded is no image, and nothing else in the answer is worse for it.
    images = tuple(_first(filter(None, decoded)))
    if urls or images:
        rephrased = _text(data.get("rephraser_result"))
        return replace(
            answer, image_urls=urls, inline_images=images, rephraser_result=rephrased
        )
    # It was paid for, so it must not be asked for again by itself.
    return replace(
        answer, verdict=Verdict.FAILED, code="no_image", message=_why_no_image(data)
    )


def _why_no_image(data: Mapping[str, Any]) -> str:
    algorithm = _mapping(data.get("algorithm_base_resp"))
    code = _code(algorithm.get("status_code"))
    if code in (None, "0"):
        return "the provider reported success, but sent no image"
    reason = (
        _line(algorithm.get("status_message"), _MESSAGE_CHARS // 2) or "no reason given"
    )
    return f"the provider reported success, but sent no image: algorithm error {code}, {reason}"


def _broken(answer: Response, body: bytes) -> Response:
    """A success by its status whose body can't be read: it may hold the URLs of what was paid for
    all the same.
    """
    message = (
        f"HTTP {answer.http_status}, but the body of {len(body)} bytes "
        "is not a complete answer"
    )
    return replace(
        answer,
        code="broken_answer",
        message=message,
        image_urls=tuple(_salvage_urls(body)),
    )


def _name_after_status(answer: Response) -> Response:
    said = answer.message or "no code in the body"
    if answer.verdict is Verdict.STOP and not answer.message:
        said += "; check provider.base_url and the key"
    return replace(
        answer,
        code=f"http_{answer.http_status}",
        message=f"HTTP {answer.http_status}: {said}",
    )


def _parse_json(body: bytes) -> object:
    if (
        len(body) > _LARGE_BODY
        and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES
    ):
        return None
    try:
        # One bad byte in a text must not lose a picture that was paid for.
        return json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None


def _statement(body: object) -> _Statement:
    outer = _mapping(body)
    metadata = _mapping(outer.get("ResponseMetadata"))
    fields = _mapping(outer.get("Result")) or outer
    request_id = _line(fields.get("request_id"), _NAME_CHARS) or _line(
        metadata.get("RequestId"), _NAME_CHARS
    )
    if refusal := _mapping(metadata.get("Error")):
        codes = _codes(refusal.get("Code"), refusal.get("CodeN"))
        return _Statement(
            codes,
            _message(refusal.get("Message")),
            request_id,
            is_error=True,
            fields={},
        )
    error = fields.get("error")
    named = _mapping(error)
    return _Statement(
        codes=_codes(fields.get("code"), named.get("code"), named.get("type")),
        message=_message(fields.get("message"))
        or _message(named.get("message"))
        or _message(error),
        request_id=request_id,
        is_error=bool(error),
        fields=fields,
    )


def _codes(*values: object) -> tuple[str, ...]:
    return tuple(code for code in map(_code, values) if code is not None)


def _code(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _line(value, _NAME_CHARS)


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
        yield from _usable_urls([_parse_json(match[1])])
        position = match.end()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _message(value: object) -> str | None:
    return _line(value, _MESSAGE_CHARS)


def _line(value: object, limit: int) -> str | None:
    """Return a text as one line without control, direction and other invisible characters, or
    `None`.
    """
    if not isinstance(value, str):
        return None
    text = value[: 4 * limit]
    if not text.isprintable():
        text = "".join(
            character if character.isprintable() else " " for character in text
        )
    return " ".join(text.split())[:limit] or None


def _text(value: object) -> str | None:
    """Return a text that may have several lines, without what no database can store, or `None`."""
    return (
        _UNSTORABLE.sub("", value[:_TEXT_CHARS]) or None
        if isinstance(value, str)
        else None
    )
