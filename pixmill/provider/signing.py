"""HMAC-SHA256 V4 request signatures, as Volcengine wants them.

The scheme is that of `SignerV4` in the official Python SDK (`volcengine` on PyPI). It resembles
AWS's, with three differences: the secret key starts the chain without a prefix, the scope ends in
`request`, and only `Content-Type`, `Host` and `X-` headers are signed. A signature covers the body:
send the very bytes signed.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

ALGORITHM = "HMAC-SHA256"
REGION = "cn-north-1"
SERVICE = "cv"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_CONTENT_TYPE = "application/json"
_DEFAULT_PORTS = (":80", ":443")


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
        "X-Date": at.astimezone(UTC).strftime(DATE_FORMAT),
        "X-Content-Sha256": sha256_hex(body),
    }
    if session_token:
        headers["X-Security-Token"] = session_token
    lowered = {name.lower(): value for name, value in headers.items()}
    names = sorted(lowered)
    scope = credential_scope(headers["X-Date"], region, service)
    canonical = canonical_request(method, path, query, lowered, names)
    signature = signature_of(canonical, headers["X-Date"], scope, secret_key)
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return headers


def canonical_request(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    signed: Iterable[str],
) -> str:
    """The text whose hash is signed.

    `headers` has lower-case names; `signed` lists those that count.
    """
    names = list(signed)
    lines = []
    for name in names:
        value = headers[name]
        if name == "host" and value.endswith(_DEFAULT_PORTS):
            value = value.rpartition(":")[0]
        lines.append(f"{name}:{value}\n")
    return "\n".join(
        (
            method,
            quote(path),
            "&".join(
                f"{_escape(name)}={_escape(query[name])}" for name in sorted(query)
            ),
            "".join(lines),
            ";".join(names),
            headers["x-content-sha256"],
        )
    )


def signature_of(canonical: str, date: str, scope: str, secret_key: str) -> str:
    """The signature, in hex, of a canonical request of the X-Date `date` in a scope."""
    day, region, service, _ = scope.split("/")
    text = "\n".join((ALGORITHM, date, scope, sha256_hex(canonical.encode())))
    return _hmac(_signing_key(secret_key, day, region, service), text).hex()


@lru_cache(maxsize=8)
def _signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    # Four of the five HMACs of a call depend on the day only.
    key = secret_key.encode()
    for part in (day, region, service, "request"):
        key = _hmac(key, part)
    return key


def credential_scope(date: str, region: str, service: str) -> str:
    """What a signature is valid for: the day of the X-Date `date`, a region and a service."""
    return f"{date[:8]}/{region}/{service}/request"


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of a body, as it is signed."""
    return hashlib.sha256(data).hexdigest()
