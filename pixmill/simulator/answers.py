"""The shapes in which the provider answers: the service, its gateway, and resellers with Bearer keys."""

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

SUCCESS = 10000
INVALID = 50215
DENIED = 50400

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_BEIJING = 8 * 3600

SERVICE_CODES: Mapping[int, tuple[int, str]] = {
    SUCCESS: (200, "Success"),
    INVALID: (400, "Input invalid for this service."),
    DENIED: (401, "Access Denied: Access Denied"),
    50411: (400, "Pre Img Risk Not Pass"),
    50412: (400, "Text Risk Not Pass"),
    50413: (400, "Post Text Risk Not Pass"),
    50429: (429, "Request Has Reached API Limit, Please Try Later"),
    50430: (429, "Request Has Reached API Concurrent Limit, Please Try Later"),
    50500: (500, "Internal Error"),
    50501: (500, "Internal RPC Error"),
    50511: (400, "Post Img Risk Not Pass"),
    50512: (400, "Post Text Risk Not Pass"),
    50518: (400, "Pre Img Risk Not Pass: Copyright"),
    50519: (400, "Post Img Risk Not Pass: Copyright"),
    50520: (400, "Risk Internal Error"),
    50521: (400, "Antidirt Internal Error"),
    50522: (400, "Image Copyright Internal Error"),
}
"""HTTP status and message of each documented service code."""

# CodeN and HTTP status; the provider documents no CodeN for those with 0.
_GATEWAY_ERRORS: Mapping[str, tuple[int, int]] = {
    "MissingAuthenticationToken": (100003, 401),
    "InvalidTimestamp": (100006, 400),
    "InvalidActionOrVersion": (100008, 404),
    "InvalidAccessKey": (100009, 401),
    "SignatureDoesNotMatch": (100010, 401),
    "InvalidAuthorization": (0, 400),
    "InvalidCredential": (0, 400),
    "InvalidSecretToken": (0, 401),
}


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def new_request_id() -> str:
    """A request id as the provider makes them: 14 digits of Beijing time and 20 of hex."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + _BEIJING)) + secrets.token_hex(10).upper()


def service_answer(
    code: int,
    request_id: str,
    elapsed: int,
    *,
    data: Mapping[str, Any] | None = None,
    status: int | None = None,
    message: str | None = None,
) -> Answer:
    """The envelope of the service after `elapsed` nanoseconds; status and message default to the documented ones."""
    documented_status, documented_message = SERVICE_CODES.get(code, (400, "Unknown Error"))
    envelope = {
        "code": code,
        "data": data,
        "message": documented_message if message is None else message,
        "request_id": request_id,
        "status": code,
        "time_elapsed": go_duration(elapsed),
    }
    return Answer(status or documented_status, _encode(envelope))


def gateway_error(name: str, query: Mapping[str, str]) -> Answer:
    """What the signed endpoint says before the service is reached."""
    number, status = _GATEWAY_ERRORS[name]
    metadata = {
        "RequestId": new_request_id(),
        "Action": query.get("Action", ""),
        "Version": query.get("Version", ""),
        "Service": "cv",
        "Region": "cn-north-1",
        "Error": {"CodeN": number, "Code": name, "Message": f"The request was refused: {name}."},
    }
    return Answer(status, _encode({"ResponseMetadata": metadata}))


def reseller_error(status: int, message: str, kind: str) -> Answer:
    """What a gateway with Bearer keys says before it passes a call on: OpenAI's shape."""
    return Answer(status, _encode({"error": {"message": message, "type": kind}}))


def go_duration(nanoseconds: int) -> str:
    """A time span as Go prints it: `96.333µs`, `5.861744206s`, `1m3.2s`."""
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if 0 < nanoseconds < min(size * 1_000, 1_000_000_000):
            return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, 1_000_000_000)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    fraction = str(rest).zfill(len(str(size)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def _encode(value: Mapping[str, Any]) -> bytes:
    # Go's encoder, which the provider uses, escapes ampersands, and image URLs are full of them.
    return _JSON(value).replace("&", "\\u0026").encode()
