"""The shapes in which the provider answers: the service, its gateway, and resellers with Bearer keys."""

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

SUCCESS = 10000
INVALID_FIELD = 50200
UNSUPPORTED = 50204
INVALID = 50215
DENIED = 50400

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# Seconds that Beijing is ahead of UTC.
_BEIJING = 8 * 3600

SERVICE_CODES: Mapping[int, tuple[int, str]] = {
    SUCCESS: (200, "Success"),
    INVALID_FIELD: (400, "Parameter Invalid"),
    UNSUPPORTED: (400, "The req_key is not supported by this action."),
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

# CodeN and HTTP status by name; the provider documents no CodeN for those with 0.
_GATEWAY_ERRORS: Mapping[str, tuple[int, int]] = {
    "MissingAuthenticationToken": (100003, 401),
    "InvalidTimestamp": (100006, 400),
    "InvalidActionOrVersion": (100008, 404),
    "InvalidAccessKey": (100009, 401),
    "SignatureDoesNotMatch": (100010, 401),
    "LackPolicy": (100012, 403),
    "AccessDenied": (100013, 403),
    "FlowLimitExceeded": (100018, 429),
    "InvalidAuthorization": (0, 400),
    "InvalidCredential": (0, 400),
    "InvalidSecretToken": (0, 401),
    "InternalError": (0, 500),
    "InternalServiceError": (0, 502),
    "ServiceUnavailableTemp": (0, 503),
    "InternalServiceTimeout": (0, 504),
}

# HTTP status and message, as the programs say it that resell access by Bearer keys.
_RESELLER_ERRORS: Mapping[str, tuple[int, str]] = {
    "invalid_api_key": (401, "The API key is missing or not valid."),
    "insufficient_user_quota": (403, "The balance of this account does not suffice."),
    "insufficient_quota": (429, "The quota of this account is used up."),
}

NAMED_ERRORS = (*_GATEWAY_ERRORS, *_RESELLER_ERRORS)
"""The errors with a name instead of a number: of the signed endpoint, and of gateways with Bearer keys."""


class ConnectionPlan(NamedTuple):
    """What the connection does to an answer."""

    does: str
    """`reset`, `close`, `stall`, `drip` or `endless`."""

    at: str
    """From which point on: `start`, `headers`, `body` or `middle`."""

    pace: float
    """Seconds for each byte of a `drip`."""


class SimulatedResponse(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"

    headers: tuple[tuple[str, str], ...] = ()
    """Further header fields."""

    connection: ConnectionPlan | None = None
    """What the connection does to the answer; without, it arrives as it is."""

    def fields(self) -> dict[str, str]:
        """Return all header fields, with names in lower case.

        The later of two with one name wins.
        """
        named = {name.lower(): value for name, value in self.headers}
        return {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            **named,
        }

    def head(self, *, endless: bool) -> bytes:
        """Return what is sent before the body of an answer with which its connection ends; the body of an `endless`
        one has no length.
        """
        # The connection is of no more use, and a client that knows it does not send the next
        # call into it.
        fields = {**self.fields(), "connection": "close"}
        if endless:
            del fields["content-length"]
        lines = [
            f"HTTP/1.1 {self.status} ",
            *(f"{name}: {value}" for name, value in fields.items()),
            "",
            "",
        ]
        return "\r\n".join(lines).encode()


def is_service_code(value: object) -> bool:
    """Whether a value can be a code of the service, of which not all are documented."""
    return isinstance(value, int) and not isinstance(value, bool)


def new_request_id() -> str:
    """Return a request id as the provider makes them: 14 digits of Beijing time and 20 of hex."""
    beijing = time.gmtime(time.time() + _BEIJING)
    return time.strftime("%Y%m%d%H%M%S", beijing) + secrets.token_hex(10).upper()


def service_answer(
    code: int,
    request_id: str,
    elapsed: int,
    *,
    data: Mapping[str, Any] | None = None,
    message: str | None = None,
) -> SimulatedResponse:
    """Return the envelope of the service after `elapsed` nanoseconds.

    The message defaults to the documented one.
    """
    unknown = (400, "Unknown Error")
    status, documented_message = SERVICE_CODES.get(code, unknown)
    envelope = {
        "code": code,
        "data": data,
        "message": documented_message if message is None else message,
        "request_id": request_id,
        "status": code,
        "time_elapsed": go_duration(elapsed),
    }
    return SimulatedResponse(status, _encode(envelope))


def named_error(
    name: str,
    message: str | None = None,
) -> SimulatedResponse:
    """Return the error with one of `NAMED_ERRORS`, in the shape of who says it."""
    if name in _RESELLER_ERRORS:
        status, usual = _RESELLER_ERRORS[name]
        return reseller_error(status, message or usual, name)
    return gateway_error(name, {}, message)


def gateway_error(
    name: str,
    query: Mapping[str, str],
    message: str | None = None,
) -> SimulatedResponse:
    """Return what the signed endpoint says before the service is reached."""
    number, status = _GATEWAY_ERRORS[name]
    metadata = {
        "RequestId": new_request_id(),
        "Action": query.get("Action", ""),
        "Version": query.get("Version", ""),
        "Service": "cv",
        "Region": "cn-north-1",
        "Error": {
            "CodeN": number,
            "Code": name,
            "Message": message or f"The request was refused: {name}.",
        },
    }
    return SimulatedResponse(status, _encode({"ResponseMetadata": metadata}))


def reseller_error(
    status: int,
    message: str,
    kind: str,
) -> SimulatedResponse:
    """Return what a gateway with Bearer keys says before it passes a call on: OpenAI's shape."""
    error = {"message": message, "type": kind}
    return SimulatedResponse(status, _encode({"error": error}))


def go_duration(nanoseconds: int) -> str:
    """Return a time span as Go prints it: `96.333µs`, `5.861744206s`, `1m3.2s`."""
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if 0 < nanoseconds < size * 1_000:
            return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, 1_000_000_000)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, size: int) -> str:
    """Return `value / size` exactly; `size` is a power of ten."""
    whole, rest = divmod(value, size)
    if not rest:
        return str(whole)
    digits = len(str(size)) - 1
    fraction = str(rest).zfill(digits).rstrip("0")
    return f"{whole}.{fraction}"


def _encode(value: Mapping[str, Any]) -> bytes:
    # Go's encoder, which the provider uses, escapes ampersands, and image URLs are full of them.
    return _JSON(value).replace("&", "\\u0026").encode()
