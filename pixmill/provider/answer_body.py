"""What the JSON body of a reply says, in each of the shapes that services and gateways answer in.

Everything in a body is foreign: texts are cut to size and cleaned, types are checked, and what can't be used is left
out. Shapes: the service's own body, the same inside `Result`, the OpenAPI gateway's `ResponseMetadata.Error`, and the
`{"error": …}` of OpenAI-like gateways.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

MESSAGE_CHARS = 500
"""Of what the provider says about a call."""

_NAME_CHARS = 128
"""Of codes, ids and request ids."""

_TEXT_CHARS = 20_000
"""Of a rewritten prompt."""

_LARGE_BODY = 1024 * 1024
_MOST_VALUES = 200_000
"""Values in a large body that are parsed: beyond that a few MiB of text become gigabytes of
objects.
"""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What a JSON text can hold, but no UTF-8 file and no database."""


class Statement(NamedTuple):
    """What a body says: the codes in it, the first one leading, and the service's own fields."""

    codes: tuple[str, ...]
    message: str | None
    request_id: str | None
    is_error: bool
    fields: Mapping[str, Any]


def parse_json(body: bytes) -> object:
    """Return what the JSON in `body` says, `None` where it is none."""
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


def read_statement(body: object) -> Statement:
    """Return what a parsed `body` says, whatever it is."""
    outer = as_mapping(body)
    metadata = as_mapping(outer.get("ResponseMetadata"))
    fields = as_mapping(outer.get("Result")) or outer
    request_id = one_line(fields.get("request_id"), _NAME_CHARS) or one_line(
        metadata.get("RequestId"), _NAME_CHARS
    )
    if refusal := as_mapping(metadata.get("Error")):
        codes = _codes(refusal.get("Code"), refusal.get("CodeN"))
        return Statement(
            codes,
            _as_message(refusal.get("Message")),
            request_id,
            is_error=True,
            fields={},
        )
    error = fields.get("error")
    named = as_mapping(error)
    return Statement(
        codes=_codes(fields.get("code"), named.get("code"), named.get("type")),
        message=_as_message(fields.get("message"))
        or _as_message(named.get("message"))
        or _as_message(error),
        request_id=request_id,
        is_error=bool(error),
        fields=fields,
    )


def _codes(*values: object) -> tuple[str, ...]:
    return tuple(code for code in map(as_code, values) if code is not None)


def as_code(value: object) -> str | None:
    """Return a code or an id as text, which may come as a number; `None` where it is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return one_line(value, _NAME_CHARS)


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, an empty one where `value` is none."""
    return value if isinstance(value, dict) else {}


def _as_message(value: object) -> str | None:
    return one_line(value, MESSAGE_CHARS)


def one_line(value: object, limit: int) -> str | None:
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


def clean_text(value: object) -> str | None:
    """Return a text that may have several lines, without what no database can store, or `None`."""
    return (
        _UNSTORABLE.sub("", value[:_TEXT_CHARS]) or None
        if isinstance(value, str)
        else None
    )
