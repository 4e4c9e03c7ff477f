"""The tables from codes to rulings, and what the HTTP status says where there is no code."""

import logging
import pickle
import secrets
import threading

import pytest

from pixmill.provider.error_codes import CodePolicy, Verdict, classify, code_table

OUR_KEY = "high_aes_scheduler_svr_controlnet_v2.0"
TABLE = code_table(OUR_KEY)


@pytest.mark.parametrize(
    ("codes", "verdict", "charged"),
    [
        ([10000], Verdict.SUCCEEDED, "yes"),
        ([50411, 50412, 50413, 50513, 50514, 50518], Verdict.REFUSED, "no"),
        ([50218, 50511, 50512, 50515, 50516, 50517, 50519], Verdict.REFUSED, "unknown"),
        ([50520, 50521, 50522], Verdict.FAILED, "unknown"),
        ([50500, 50501], Verdict.RETRY, "unknown"),
        ([50429], Verdict.THROTTLE_RATE, "no"),
        ([50430], Verdict.THROTTLE_CONCURRENCY, "no"),
        ([50400, 30403, 30404, 50204], Verdict.STOP, "no"),
        ([50200, 50215], Verdict.FAILED, "no"),
        ([50220], Verdict.RETRY, "no"),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_a_service_code_decides_whatever_the_http_status(
    codes: list[int], verdict: Verdict, charged: str, status: int
) -> None:
    """E1, E2, E4, E5, E6, E12: the code wins over the status, and its row says whether it was charged."""
    for code in codes:
        assert classify(str(code), status, TABLE, has_error_body=False) == (
            verdict,
            charged,
        )


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        (
            ["MissingParameter", "MissingAuthenticationToken", "MissingSignature"],
            Verdict.STOP,
        ),
        (["MissingRequestInfo", "InvalidTimestamp", "ServiceNotFound"], Verdict.STOP),
        (["InvalidActionOrVersion", "InvalidAccessKey"], Verdict.STOP),
        (
            [
                "SignatureDoesNotMatch",
                "LackPolicy",
                "AccessDenied",
                "InvalidAuthorization",
            ],
            Verdict.STOP,
        ),
        (["InvalidCredential", "InvalidSecretToken"], Verdict.STOP),
        (
            [
                "100002",
                "100003",
                "100005",
                "100006",
                "100008",
                "100010",
                "100012",
                "100013",
            ],
            Verdict.STOP,
        ),
        (["insufficient_user_quota", "insufficient_quota"], Verdict.STOP),
        (["FlowLimitExceeded", "100018"], Verdict.THROTTLE_RATE),
        (
            ["InternalError", "InternalServiceError", "ServiceUnavailableTemp"],
            Verdict.RETRY,
        ),
        (["InternalServiceTimeout"], Verdict.RETRY),
    ],
)
def test_a_gateway_error_decides_by_its_name_or_number(
    codes: list[str], verdict: Verdict
) -> None:
    """E10, E11, E12: credentials, entitlement and arrears stop the run; nothing of it was charged."""
    for code in codes:
        ruling = classify(code, 500, TABLE, has_error_body=True)
        assert ruling.verdict is verdict
        assert ruling.charged == ("unknown" if verdict is Verdict.RETRY else "no")


def test_an_unknown_service_code_fails_the_job_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """E7."""
    code = str(10**9 + secrets.randbelow(10**9))
    with caplog.at_level(logging.WARNING):
        rulings = {
            classify(code, status, TABLE, has_error_body=False)
            for status in (200, 400, 429, 500)
        }
    assert rulings == {CodePolicy(Verdict.FAILED, "unknown")}
    assert [code in record.getMessage() for record in caplog.records] == [True]


def test_an_unknown_code_of_two_calls_at_once_is_told_once() -> None:
    """E7: the second one comes while the first is being told."""
    code = str(10**9 + secrets.randbelow(10**9))
    told: list[str] = []

    def rule() -> None:
        classify(code, 200, TABLE, has_error_body=False)

    def tell(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        if len(told) == 1:
            second = threading.Thread(target=rule)
            second.start()
            second.join()
        return False

    logger = logging.getLogger("pixmill.provider.error_codes")
    logger.addFilter(tell)
    try:
        rule()
    finally:
        logger.removeFilter(tell)
    assert [code in message for message in told] == [True]


@pytest.mark.parametrize(
    ("status", "stated", "ruling"),
    [
        (401, False, (Verdict.STOP, "no")),
        (402, True, (Verdict.STOP, "no")),
        (403, False, (Verdict.STOP, "no")),
        (429, False, (Verdict.THROTTLE_RATE, "no")),
        (400, True, (Verdict.FAILED, "unknown")),
        (404, True, (Verdict.STOP, "no")),
        (408, False, (Verdict.IN_DOUBT, "unknown")),
        (408, True, (Verdict.IN_DOUBT, "unknown")),
        (425, False, (Verdict.RETRY, "no")),
        (425, True, (Verdict.RETRY, "no")),
        (499, False, (Verdict.IN_DOUBT, "unknown")),
        (499, True, (Verdict.IN_DOUBT, "unknown")),
        (413, False, (Verdict.FAILED, "unknown")),
        (422, True, (Verdict.FAILED, "unknown")),
        (301, False, (Verdict.STOP, "no")),
        (302, False, (Verdict.STOP, "no")),
        (307, True, (Verdict.STOP, "no")),
        (200, False, (Verdict.IN_DOUBT, "unknown")),
        (200, True, (Verdict.IN_DOUBT, "unknown")),
        (204, False, (Verdict.IN_DOUBT, "unknown")),
        (500, True, (Verdict.RETRY, "unknown")),
        (503, True, (Verdict.RETRY, "unknown")),
        (504, True, (Verdict.IN_DOUBT, "unknown")),
        (500, False, (Verdict.IN_DOUBT, "unknown")),
        (502, False, (Verdict.IN_DOUBT, "unknown")),
        (503, False, (Verdict.IN_DOUBT, "unknown")),
        (504, False, (Verdict.IN_DOUBT, "unknown")),
    ],
)
@pytest.mark.parametrize("code", [None, "status", "some_new_name"])
def test_the_status_decides_where_no_code_can_be_read(
    status: int, stated: bool, ruling: tuple[Verdict, str], code: str | None
) -> None:
    """D1, D14: a code that only repeats the status, or a name that nobody knows, is no service code."""
    shown = str(status) if code == "status" else code
    assert classify(shown, status, TABLE, has_error_body=stated) == ruling


def test_an_operation_has_its_own_rows_over_the_common_ones() -> None:
    """E6: pages disagree about 50500, so the table is per operation."""
    assert (
        classify(
            "50500", 500, code_table("jimeng_i2i_v30"), has_error_body=False
        ).verdict
        is Verdict.FAILED
    )
    assert (
        classify(
            "50500", 500, code_table("not_registered"), has_error_body=False
        ).verdict
        is Verdict.RETRY
    )
    assert code_table("jimeng_i2i_v30")["50429"] == TABLE["50429"]


def test_every_row_has_a_verdict_that_agrees_with_its_charge() -> None:
    """No throttled or turned-away call is charged, and only a success surely is."""
    for verdict, charged in TABLE.values():
        if verdict in (
            Verdict.STOP,
            Verdict.THROTTLE_RATE,
            Verdict.THROTTLE_CONCURRENCY,
        ):
            assert charged == "no"
        assert (charged == "yes") == (verdict is Verdict.SUCCEEDED)


def test_verdicts_are_words_that_survive_storage() -> None:
    assert [str(verdict) for verdict in Verdict] == [
        "succeeded",
        "retry",
        "throttle_rate",
        "throttle_concurrency",
        "refused",
        "failed",
        "stop",
        "in_doubt",
        "submitted",
        "running",
    ]
    assert pickle.loads(pickle.dumps(Verdict.IN_DOUBT)) is Verdict.IN_DOUBT
