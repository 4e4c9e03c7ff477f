"""What an answer means: one table per operation from the code in its body to a policy.

A code that can be read decides, whatever the HTTP status beside it; the status decides only where
there is none. Then a 408, 499 or 504 says that somebody on the way stopped waiting after the
request was sent, so that what became of it is in doubt; a 425 was turned away before anything was
done. Codes and their meanings come from Volcengine's documentation of the visual API and of its
OpenAPI gateway, and from public client programs. Nothing is documented about which failures are
charged: `charged` says `no` only where the call was turned away before any picture was made.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from pixmill.config.field_types import ANY_REQ_KEY
from pixmill.config.model import CodeRules
from pixmill.request.operations.operation import Charged, Operation
from pixmill.request.registry import operation_of

_log = logging.getLogger(__name__)


class Verdict(StrEnum):
    """What to do about an answer."""

    SUCCEEDED = "succeeded"
    """The images are there."""
    RETRY = "retry"
    """A fault that passes: the same call again, a bounded number of times."""
    THROTTLE_RATE = "throttle_rate"
    """Too many calls per second: slow down, then the same call again."""
    THROTTLE_CONCURRENCY = "throttle_concurrency"
    """Too many calls at once: wait for a slot, then the same call again."""
    REFUSED = "refused"
    """Moderation said no to this input or to its result."""
    FAILED = "failed"
    """This job can't succeed as it is."""
    STOP = "stop"
    """No job can succeed until somebody fixes credentials, entitlement, account or address."""
    IN_DOUBT = "in_doubt"
    """It may have been charged, and no usable answer came back."""
    SUBMITTED = "submitted"
    """The task was started: its result is to be asked for."""
    RUNNING = "running"
    """The task is not known to have ended: ask again later."""


class CodePolicy(NamedTuple):
    """What a code means."""

    verdict: Verdict

    charged: Charged
    """Whether the call was charged."""


CodeTable: TypeAlias = Mapping[str, CodePolicy]
"""Code, as text, to what it means."""

SUCCESS = "10000"

_REJECTED = CodePolicy(Verdict.STOP, "no")
_INPUT_REFUSED = CodePolicy(Verdict.REFUSED, "no")
_OUTPUT_REFUSED = CodePolicy(Verdict.REFUSED, "unknown")
_BAD_REQUEST = CodePolicy(Verdict.FAILED, "no")
_FAILED = CodePolicy(Verdict.FAILED, "unknown")
_FAULT = CodePolicy(Verdict.RETRY, "unknown")
_TOO_FAST = CodePolicy(Verdict.THROTTLE_RATE, "no")
_TOO_MANY = CodePolicy(Verdict.THROTTLE_CONCURRENCY, "no")
_IN_DOUBT = CodePolicy(Verdict.IN_DOUBT, "unknown")


def _rows(policy: CodePolicy, codes: Iterable[str | int]) -> dict[str, CodePolicy]:
    return {str(code): policy for code in codes}


SERVICE_CODES: CodeTable = {
    SUCCESS: CodePolicy(Verdict.SUCCEEDED, "yes"),
    **_rows(_INPUT_REFUSED, (50411, 50412, 50413, 50513, 50514, 50518)),
    # 50515 is on no list, but its neighbours are all moderation. 50218 does not say which side it
    # looked at.
    **_rows(_OUTPUT_REFUSED, (50218, 50511, 50512, 50515, 50516, 50517, 50519)),
    # Faults of the moderation service itself, yet documented as not to be retried.
    **_rows(_FAILED, (50520, 50521, 50522)),
    **_rows(_FAULT, (50500, 50501)),
    **_rows(_TOO_FAST, (50429,)),
    **_rows(_TOO_MANY, (50430,)),
    # 50400 is a wrong or inactive req_key, a missing policy, or arrears; the others a missing
    # entitlement.
    # 50204 comes where a req_key is called in the other way than the one that it knows.
    **_rows(_REJECTED, (50400, 30403, 30404, 50204)),
    # Validations: nothing was made. 201304 is on the page of one operation only.
    **_rows(_BAD_REQUEST, (50200, 50215)),
    **_rows(_FAILED, (201304,)),
    # The service could not fetch an input image: its host may answer the next time.
    **_rows(CodePolicy(Verdict.RETRY, "no"), (50220,)),
}

GATEWAY_CODES: CodeTable = {
    # The OpenAPI gateway's errors by name, and the same by number.
    **_rows(_REJECTED, ("MissingParameter", "MissingRequestInfo", "InvalidTimestamp")),
    **_rows(
        _REJECTED,
        ("MissingAuthenticationToken", "MissingSignature", "SignatureDoesNotMatch"),
    ),
    **_rows(
        _REJECTED, ("InvalidAuthorization", "InvalidCredential", "InvalidAccessKey")
    ),
    **_rows(_REJECTED, ("InvalidSecretToken", "LackPolicy", "AccessDenied")),
    **_rows(_REJECTED, ("ServiceNotFound", "InvalidActionOrVersion")),
    **_rows(_REJECTED, (*range(100002, 100011), 100012, 100013)),
    **_rows(_TOO_FAST, ("FlowLimitExceeded", 100018)),
    # One client program sees it beside 50430.
    **_rows(_TOO_MANY, ("ExceededConcurrentQuota",)),
    **_rows(_FAULT, ("InternalError", "InternalServiceError")),
    **_rows(_FAULT, ("ServiceUnavailableTemp", "InternalServiceTimeout")),
    # An empty account at a reseller: the first comes with 403, the second with 429, which is no
    # throttling.
    **_rows(_REJECTED, ("insufficient_user_quota", "insufficient_quota")),
}

MEANINGS: Mapping[str, str] = {
    "50411": "moderation: an input image",
    "50412": "moderation: the prompt",
    "50413": "moderation: sensitive or blocked words in the prompt",
    "50513": "moderation: an input video",
    "50514": "moderation: input audio",
    "50518": "moderation: the copyright of an input image",
    "50218": "moderation: a risk in the resource; "
    "it does not say whether in the input or the output",
    "50511": "moderation: the generated image",
    "50512": "moderation: generated text, such as the rephraser's",
    "50515": "not documented; treated as moderation, like the codes beside it",
    "50516": "moderation: the generated video",
    "50517": "moderation: the generated audio",
    "50519": "moderation: the copyright of the generated image",
    "50520": "a fault of the moderation service",
    "50521": "a fault of the moderation service for texts",
    "50522": "a fault of the moderation service for image copyright",
    "50500": "an internal error of the service",
    "50501": "an internal error between services",
    "50429": "too many calls per second",
    "50430": "too many calls at once",
    "50400": "access denied: `req_key` is wrong or not activated, a policy is missing, "
    "or the account is in arrears",
    "30403": "the account has no right to this feature",
    "30404": "there is no such feature",
    "50204": "`req_key` is not supported by this call: it may be one for the other `request.mode`",
    "50215": "the input is not valid for this service, such as an image URL that can't be fetched",
    "50200": "a field of the request is not valid; the message says which",
    "50220": "an input image can't be fetched by the service from its URL",
    "201304": "an error of the algorithm: it would generate a ghost face",
    **dict.fromkeys(
        ("MissingParameter", "100002"), "a parameter of the call is missing"
    ),
    **dict.fromkeys(
        ("MissingAuthenticationToken", "100003"), "the call has no authentication"
    ),
    **dict.fromkeys(("MissingRequestInfo", "100004"), "a part of the call is missing"),
    **dict.fromkeys(("MissingSignature", "100005"), "the call is not signed"),
    **dict.fromkeys(
        ("InvalidTimestamp", "100006"),
        "the call's time is wrong: correct this machine's clock",
    ),
    **dict.fromkeys(
        ("ServiceNotFound", "100007"), "there is no such service at this address"
    ),
    **dict.fromkeys(
        ("InvalidActionOrVersion", "100008"), "there is no such action or version"
    ),
    **dict.fromkeys(("InvalidAccessKey", "100009"), "the access key is unknown"),
    **dict.fromkeys(
        ("SignatureDoesNotMatch", "100010"),
        "the signature is wrong: check the secret key",
    ),
    **dict.fromkeys(("LackPolicy", "100012"), "the key's owner lacks a policy"),
    **dict.fromkeys(
        ("AccessDenied", "100013"), "the key's owner is not allowed to do this"
    ),
    **dict.fromkeys(
        ("FlowLimitExceeded", "100018"), "too many calls per second, says the gateway"
    ),
    "ExceededConcurrentQuota": "too many calls at once, says the gateway",
    "InvalidAuthorization": "the authorization can't be read",
    "InvalidCredential": "the credential can't be read",
    "InvalidSecretToken": "the session token is wrong or has expired",
    "InternalError": "an internal error of the gateway",
    "InternalServiceError": "an internal error behind the gateway",
    "ServiceUnavailableTemp": "the service is temporarily unavailable",
    "InternalServiceTimeout": "the service did not answer the gateway in time",
    "insufficient_user_quota": "the account at the reseller has no balance left",
    "insufficient_quota": "the account at the reseller has no balance left",
}
"""What each code of the tables above says. `docs/error-codes.md` is made from it."""


OUTPUT_REDRAWN = frozenset({"50511", "50519"})
"""Refusals of the picture that was drawn, not of the request: another seed may pass."""


def codes_of_operation(operation: Operation) -> CodeTable:
    """Return what the page of an operation says of codes, where that differs from all others."""
    return {
        code: CodePolicy(Verdict(verdict), charged)
        for code, (verdict, charged) in operation.codes.items()
    }


def code_table(
    req_key: str,
    codes: Mapping[str, CodeRules] | None = None,
    operation_file: str | None = None,
) -> CodeTable:
    """Return the table of the operation `req_key`: what all share, over it what its own page says,
    then the config.

    `codes` is `retry.codes`, `operation_file` that of the request; where it leaves something open, the table decides.
    """
    table = {
        **SERVICE_CODES,
        **GATEWAY_CODES,
        **codes_of_operation(operation_of(req_key, operation_file)),
    }
    for rules in ((codes or {}).get(name, {}) for name in (ANY_REQ_KEY, req_key)):
        for code, rule in rules.items():
            known = table.get(code, _FAILED)
            verdict = Verdict(rule.verdict) if rule.verdict else known.verdict
            table[code] = CodePolicy(verdict, rule.charged or known.charged)
    return table


def is_service_number(code: str, status: int | None) -> bool:
    """Whether a code that no table knows is one of the service all the same: those are numbers, but
    not the HTTP `status` of the answer, which gateways repeat as a code.
    """
    return code.removeprefix("-").isdecimal() and code != str(status)


def classify(
    code: str | None, status: int, table: CodeTable, *, has_error_body: bool
) -> CodePolicy:
    """Return what to do about an answer with this code and HTTP status.

    `has_error_body` says that the body is an error object, so that whoever bills the call says that
    it failed.
    """
    if code is None:
        return _by_status(status, has_error_body)
    if code in table:
        return table[code]
    if not is_service_number(code, status):
        return _by_status(status, has_error_body)
    # Once, not once per job, whatever number of calls get it at the same time.
    with _warning:
        is_news = code not in _warned_of and len(_warned_of) < _MOST_WARNINGS
        if is_news:
            _warned_of.add(code)
    if is_news:
        _log.warning(
            "unknown code %s from the provider: its jobs fail and are not retried",
            code,
        )
    return _FAILED


_STATUSES: Mapping[int, CodePolicy] = {
    401: _REJECTED,
    402: _REJECTED,
    403: _REJECTED,
    # Nothing there answers for the operation: the configured address is wrong.
    404: _REJECTED,
    405: _REJECTED,
    # Not even begun: it is to be sent again.
    425: CodePolicy(Verdict.RETRY, "no"),
    429: _TOO_FAST,
    # Somebody on the way gave up waiting for the other side, as with a 504: the work may have been
    # done and charged.
    408: _IN_DOUBT,
    499: _IN_DOUBT,
}


def _by_status(status: int, has_error_body: bool) -> CodePolicy:
    if status in _STATUSES:
        return _STATUSES[status]
    if 300 <= status < 400:
        # Never followed, as the request carries a key and a payment: the configured address is
        # wrong.
        return _REJECTED
    if 400 <= status < 500:
        return _FAILED
    if status >= 500 and has_error_body and status != 504:
        # The one who would bill says that it failed. A 504 says only that somebody behind it was
        # too slow.
        return _FAULT
    return _IN_DOUBT


_MOST_WARNINGS = 256
"""A provider that makes up a code for each call fills neither the log nor the memory."""

_warned_of: set[str] = set()
_warning = threading.Lock()
