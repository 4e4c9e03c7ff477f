"""Checks the signatures of requests, as the provider's gateway does; `provider.signing` makes them."""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from pixmill.provider.signing import (
    ALGORITHM,
    DATE_FORMAT,
    REGION,
    SERVICE,
    canonical_request,
    credential_scope,
    sha256_hex,
    signature_of,
)

CLOCK_WINDOW = timedelta(minutes=15)
"""How far the clock of whoever signs may be off."""

_MUST_BE_SIGNED = {"host", "x-date", "x-content-sha256"}


class _SignatureFields(NamedTuple):
    """What an Authorization header says about itself."""

    access_key: str
    scope: str
    signed_headers: list[str]
    signature: str

    @classmethod
    def parse(cls, authorization: str) -> Self | None:
        """Read the header; None where it is not one of a signed request."""
        algorithm, _, rest = authorization.partition(" ")
        fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        access_key, _, scope = fields.get("Credential", "").partition("/")
        if (
            algorithm != ALGORITHM
            or not scope
            or not {"SignedHeaders", "Signature"} <= fields.keys()
        ):
            return None
        return cls(
            access_key,
            scope,
            signed_headers=fields["SignedHeaders"].split(";"),
            signature=fields["Signature"],
        )


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
    claim = _SignatureFields.parse(headers["authorization"])
    if claim is None:
        return "InvalidAuthorization"
    if not _same(claim.access_key, access_key):
        return "InvalidAccessKey"
    if not _same(headers.get("x-security-token", ""), session_token or ""):
        return "InvalidSecretToken"
    date = headers.get("x-date", "")
    if not _is_recent(date, at):
        return "InvalidTimestamp"
    if claim.scope != credential_scope(date, region, service):
        return "InvalidCredential"
    signed = set(claim.signed_headers)
    if not (signed >= _MUST_BE_SIGNED and signed <= headers.keys()) or not _same(
        headers["x-content-sha256"], sha256_hex(body)
    ):
        return "SignatureDoesNotMatch"
    canonical = canonical_request(method, path, query, headers, claim.signed_headers)
    authentic = _same(
        claim.signature, signature_of(canonical, date, claim.scope, secret_key)
    )
    return None if authentic else "SignatureDoesNotMatch"


def _is_recent(date: str, at: datetime) -> bool:
    try:
        signed_at = datetime.strptime(date, DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(at - signed_at) <= CLOCK_WINDOW


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())
