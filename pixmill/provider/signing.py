"""HMAC-SHA256 V4 request signatures: made for Volcengine calls, checked by the simulator.

The scheme is that of `SignerV4` in the official Python SDK (`volcengine` on PyPI). It resembles AWS's, with
three differences: the secret key starts the chain without a prefix, the scope ends in `request`, and only
`Content-Type`, `Host` and `X-` headers are signed. A signature covers the body: send the very bytes signed.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "HMAC-SHA256"
REGION = "cn-north-1"
SERVICE = "cv"
CLOCK_WINDOW = timedelta(minutes=15)

_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_CONTENT_TYPE = "application/json"
_MUST_BE_SIGNED = {"host", "x-date", "x-content-sha256"}
_DEFAULT_PORTS = (":80", ":443")


class _SignatureFields(NamedTuple):
    """What an Authorization header says about itself."""

    access_key: str
    scope: str
    signed_headers: list[str]
    signature: str


def sign(
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    session_token: str | None,
    at: datetime,
    region: str = REGION,
    service: str = SERVICE,
) -> dict[str, str]:
    """The headers that make `body` an authentic request at the aware time `at`.

    `host` is what the Host header says, with its port when that is not the scheme's own.
    """
    headers = {
        "Content-Type": _CONTENT_TYPE,
        "Host": host,
        "X-Date": at.astimezone(UTC).strftime(_DATE_FORMAT),
        "X-Content-Sha256": _sha256(body),
    }
    if session_token:
        headers["X-Security-Token"] = session_token
    lowered = {name.lower(): value for name, value in headers.items()}
    names = sorted(lowered)
    scope = _scope(headers["X-Date"], region, service)
    canonical = canonical_request(method, path, query, lowered, names)
    signature = _signature(canonical, headers["X-Date"], scope, secret_key)
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return headers


def verify(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    session_token: str | None,
    at: datetime,
    region: str = REGION,
    service: str = SERVICE,
) -> str | None:
    """None for an authentic request, otherwise the name of the gateway error that answers it.

    `headers` has lower-case names. The listed order of signed headers is followed, because the official Java
    sample does not sort them.
    """
    if "authorization" not in headers:
        return "MissingAuthenticationToken"
    claim = _parse(headers["authorization"])
    if claim is None:
        return "InvalidAuthorization"
    if not _same(claim.access_key, access_key):
        return "InvalidAccessKey"
    if not _same(headers.get("x-security-token", ""), session_token or ""):
        return "InvalidSecretToken"
    date = headers.get("x-date", "")
    if not _is_near(date, at):
        return "InvalidTimestamp"
    if claim.scope != _scope(date, region, service):
        return "InvalidCredential"
    if not _covers(claim, headers) or not _same(
        headers["x-content-sha256"], _sha256(body)
    ):
        return "SignatureDoesNotMatch"
    canonical = canonical_request(method, path, query, headers, claim.signed_headers)
    authentic = _same(
        claim.signature, _signature(canonical, date, claim.scope, secret_key)
    )
    return None if authentic else "SignatureDoesNotMatch"


def canonical_request(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    signed: Iterable[str],
) -> str:
    """The text whose hash is signed. `headers` has lower-case names; `signed` lists those that count."""
    names = list(signed)
    return "\n".join(
        (
            method,
            quote(path),
            "&".join(
                f"{_escape(name)}={_escape(query[name])}" for name in sorted(query)
            ),
            "".join(
                f"{name}:{_canonical_value(name, headers[name])}\n" for name in names
            ),
            ";".join(names),
            headers["x-content-sha256"],
        )
    )


def _signature(canonical: str, date: str, scope: str, secret_key: str) -> str:
    day, region, service, _ = scope.split("/")
    text = "\n".join((ALGORITHM, date, scope, _sha256(canonical.encode())))
    return _hmac(_signing_key(secret_key, day, region, service), text).hex()


@lru_cache(maxsize=8)
def _signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    # Four of the five HMACs of a call depend on the day only.
    key = secret_key.encode()
    for part in (day, region, service, "request"):
        key = _hmac(key, part)
    return key


def _parse(authorization: str) -> _SignatureFields | None:
    algorithm, _, rest = authorization.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    access_key, _, scope = fields.get("Credential", "").partition("/")
    if (
        algorithm != ALGORITHM
        or not scope
        or not {"SignedHeaders", "Signature"} <= fields.keys()
    ):
        return None
    return _SignatureFields(
        access_key, scope, fields["SignedHeaders"].split(";"), fields["Signature"]
    )


def _covers(claim: _SignatureFields, headers: Mapping[str, str]) -> bool:
    signed = set(claim.signed_headers)
    return signed >= _MUST_BE_SIGNED and signed <= headers.keys()


def _is_near(date: str, at: datetime) -> bool:
    try:
        signed_at = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(at - signed_at) <= CLOCK_WINDOW


def _scope(date: str, region: str, service: str) -> str:
    return f"{date[:8]}/{region}/{service}/request"


def _canonical_value(name: str, value: str) -> str:
    if name == "host" and value.endswith(_DEFAULT_PORTS):
        return value.rpartition(":")[0]
    return value


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())
