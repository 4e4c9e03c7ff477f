"""The signer agrees with the official one, and the check refuses everything that was changed on the way."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from pixmill.provider.signing import canonical_request, sign
from pixmill.simulator.authentication import verify

VECTORS = Path(__file__).parents[4] / "shared" / "data" / "signing-vectors.json"
AT = datetime(2025, 1, 13, 12, 6, 31, tzinfo=UTC)
QUERY = {"Action": "CVProcess", "Version": "2022-08-31"}
BODY = b'{"prompt": "a lake"}'
KEYS: dict[str, Any] = {"access_key": "AK", "secret_key": "SK==", "session_token": None}


def vectors() -> list[Any]:
    if not VECTORS.exists():
        return [
            pytest.param(
                None,
                marks=pytest.mark.skip(reason=f"{VECTORS.name} is not on this machine"),
            )
        ]
    recorded = json.loads(VECTORS.read_text("utf-8"))
    return [
        pytest.param(
            {**case, "AK": recorded["AK"], "SK": recorded["SK"]}, id=case["name"][:2]
        )
        for case in recorded["cases"]
    ]


def signed(**changes: Any) -> dict[str, str]:
    return sign(
        "POST", "127.0.0.1:8900", "/", QUERY, BODY, at=AT, **{**KEYS, **changes}
    )


def verdict(
    headers: dict[str, str], *, body: bytes = BODY, **changes: Any
) -> str | None:
    lowered = {name.lower(): value for name, value in headers.items()}
    arguments = {
        **KEYS,
        "at": AT,
        "query": QUERY,
        "path": "/",
        "method": "POST",
        **changes,
    }
    return verify(headers=lowered, body=body, **arguments)


@pytest.mark.parametrize("case", vectors())
def test_the_official_signer_and_ours_agree_to_the_letter(case: dict[str, str]) -> None:
    url = urlsplit(case["url"])
    query = dict(parse_qsl(url.query))
    body = case["body"].encode()
    keys = {
        "access_key": case["AK"],
        "secret_key": case["SK"],
        "session_token": case["token"] or None,
    }

    headers = sign("POST", url.netloc, url.path, query, body, at=AT, **keys)

    lowered = {name.lower(): value for name, value in headers.items()}
    names = sorted(lowered.keys() - {"authorization"})
    canonical = canonical_request("POST", url.path, query, lowered, names)
    assert headers["X-Content-Sha256"] == case["body_sha256"]
    assert hashlib.sha256(canonical.encode()).hexdigest() == case["canonical_sha256"]
    assert headers["Authorization"].rpartition("=")[2] == case["signature"]
    assert headers["Authorization"] == case["authorization"]


def test_what_was_signed_verifies() -> None:
    assert verdict(signed()) is None


def test_a_session_token_is_sent_signed_and_checked() -> None:
    headers = signed(session_token="STS==")

    assert headers["X-Security-Token"] == "STS=="
    assert "x-security-token" in headers["Authorization"]
    assert verdict(headers, session_token="STS==") is None
    assert verdict(headers, session_token="other") == "InvalidSecretToken"
    assert verdict(headers) == "InvalidSecretToken"
    assert verdict(signed(), session_token="STS==") == "InvalidSecretToken"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"body": BODY + b" "}, "SignatureDoesNotMatch"),
        ({"query": {**QUERY, "Action": "CVSubmitTask"}}, "SignatureDoesNotMatch"),
        ({"path": "/other"}, "SignatureDoesNotMatch"),
        ({"method": "GET"}, "SignatureDoesNotMatch"),
        ({"secret_key": "another"}, "SignatureDoesNotMatch"),
        ({"access_key": "another"}, "InvalidAccessKey"),
        ({"region": "cn-south-1"}, "InvalidCredential"),
        ({"at": AT + timedelta(minutes=15, seconds=1)}, "InvalidTimestamp"),
        ({"at": AT - timedelta(minutes=15, seconds=1)}, "InvalidTimestamp"),
        ({"at": AT + timedelta(minutes=15)}, None),
    ],
)
def test_a_change_on_the_way_is_named(
    changes: dict[str, Any], error: str | None
) -> None:
    assert verdict(signed(), **changes) == error


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        (None, "MissingAuthenticationToken"),
        ("", "InvalidAuthorization"),
        ("Bearer token", "InvalidAuthorization"),
        (
            "HMAC-SHA256 Credential=AK, SignedHeaders=host, Signature=00",
            "InvalidAuthorization",
        ),
        (
            "HMAC-SHA256 Credential=AK/20250113/cn-north-1/cv/request, Signature=00",
            "InvalidAuthorization",
        ),
        (
            "HMAC-SHA256 Credential=AK/20250113/cn-north-1/cv/request, SignedHeaders=host, Signature=00",
            "SignatureDoesNotMatch",
        ),
        (
            "HMAC-SHA256 Credential=AK/20250113/cn-north-1/cv/request, "
            "SignedHeaders=host;x-absent;x-content-sha256;x-date, Signature=00",
            "SignatureDoesNotMatch",
        ),
    ],
)
def test_an_authorization_that_proves_nothing_is_refused(
    authorization: str | None, error: str
) -> None:
    headers = signed()
    del headers["Authorization"]
    if authorization is not None:
        headers["Authorization"] = authorization

    assert verdict(headers) == error


def test_a_changed_header_breaks_the_signature() -> None:
    assert verdict({**signed(), "Host": "elsewhere.example"}) == "SignatureDoesNotMatch"
    assert verdict({**signed(), "X-Date": "yesterday"}) == "InvalidTimestamp"


def test_headers_may_be_signed_in_any_order() -> None:
    """The official Java sample lists host first; the canonical request follows the list."""
    headers = {name.lower(): value for name, value in signed().items()}
    order = ["host", "x-date", "x-content-sha256", "content-type"]
    scope = "20250113/cn-north-1/cv/request"
    text = canonical_request("POST", "/", QUERY, headers, order)
    by_hand = _signature_by_hand(text, headers["x-date"], scope)
    headers["authorization"] = (
        f"HMAC-SHA256 Credential=AK/{scope}, SignedHeaders={';'.join(order)}, Signature={by_hand}"
    )

    assert verdict(headers) is None


def _signature_by_hand(canonical: str, date: str, scope: str) -> str:
    key = b"SK=="
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return hmac.new(
        key, f"HMAC-SHA256\n{date}\n{scope}\n{digest}".encode(), hashlib.sha256
    ).hexdigest()


def test_the_port_of_the_scheme_is_not_signed() -> None:
    plain = sign("POST", "visual.example", "/", QUERY, BODY, at=AT, **KEYS)
    with_port = sign("POST", "visual.example:443", "/", QUERY, BODY, at=AT, **KEYS)
    other_port = sign("POST", "visual.example:8443", "/", QUERY, BODY, at=AT, **KEYS)

    assert (
        plain["Authorization"]
        == with_port["Authorization"]
        != other_port["Authorization"]
    )


def test_the_day_is_that_of_utc() -> None:
    """Late in the evening in Beijing the UTC day, which the scope names, is another."""
    beijing = timezone(timedelta(hours=8))
    headers = sign(
        "POST",
        "h",
        "/",
        QUERY,
        BODY,
        at=datetime(2025, 1, 14, 7, 0, tzinfo=beijing),
        **KEYS,
    )

    assert headers["X-Date"] == "20250113T230000Z"
    assert "/20250113/" in headers["Authorization"]
