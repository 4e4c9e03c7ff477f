"""docs/error-codes.md: what each code means, and what pixmill does at it."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from docs.generate.markdown import MADE, sentence, table
from pixmill.datasets.our_error_codes import OUR_CODES
from pixmill.provider.error_codes import (
    GATEWAY_CODES,
    MEANINGS,
    OUTPUT_REDRAWN,
    SERVICE_CODES,
    SUCCESS,
    CodePolicy,
    CodeTable,
    Verdict,
    classify,
    codes_of_operation,
)
from pixmill.request.operations import OPERATIONS
from pixmill.tuning import THROTTLES_PER_JOB

_THROTTLED = f"this uses up no attempts, and after {THROTTLES_PER_JOB} times the row is `failed` until the next run"


WHAT_FOLLOWS: Mapping[Verdict, str] = {
    Verdict.RETRY: "The same call is sent again, `retry.max_attempts` times in all; then the row is `failed`,"
    " and the next runs retry it, until `retry.max_runs` of them have",
    Verdict.THROTTLE_RATE: f"Fewer calls per second, then the same call again; {_THROTTLED}",
    Verdict.THROTTLE_CONCURRENCY: f"Fewer calls at once, then the same call again; {_THROTTLED}",
    Verdict.REFUSED: "The row is `refused` and never sent again without your consent",
    Verdict.FAILED: "The row is `failed` and never sent again without your consent",
    Verdict.STOP: "The run ends, as no job can succeed before that is fixed; the row is `skipped`, and"
    " the next run sends it",
    Verdict.IN_DOUBT: "The row is `in_doubt`: it may have been charged, and is sent again only where"
    " `pixmill retry` or the config's `in_doubt: retry` asks for it",
}
"""What pixmill does after each verdict that leaves a code behind."""


ANSWERS_WITHOUT_CODE = range(300, 600)
"""HTTP statuses that are ruled by themselves; below, an answer without a code is a `broken_answer`."""


def make_page() -> str:
    """Return docs/error-codes.md."""
    own = (
        (
            f"`{entry.code}`",
            entry.status,
            entry.charged,
            sentence(entry.meaning),
            sentence(entry.remedy),
        )
        for entry in OUR_CODES
    )
    return f"""# Error codes

{MADE}

What `error_code` of a dataset can hold. It is null for a success whose image is there, and for invalid rows it is the
[reason](invalid-rows.md). A row that is `skipped` has the code of its last answer, where there was one.

*Charged* says what pixmill counts the call as. The provider does not document whether failures are charged, so it is
`no` only where the call was rejected before any image was made; `unknown` counts against caps as if it was, and
`pixmill bill` shows it as a range. `retry.codes` in the [config](config.md) changes what a code means.

## What follows

{table(("verdict", "what pixmill does"), ((f"`{verdict}`", f"{text}.") for verdict, text in WHAT_FOLLOWS.items()))}

What was refused with {" or ".join(f"`{code}`" for code in sorted(OUTPUT_REDRAWN))} is first generated again with
another seed, at most `retry.rerolls` times. `pixmill retry --code CODE` pays again for what ended with a code.

## pixmill's own

{table(("code", "status", "charged", "meaning", "what to do"), own)}

## The provider's: service

{_rulings(SERVICE_CODES)}

These deviate for one `req_key`:

{_deviations()}

## The provider's: gateway

{_rulings(GATEWAY_CODES)}

## Answers without a code

The code is `http_` and the HTTP status, such as `http_502`. The same rules hold for a name that is in no table and for
a number that repeats the status (the code stays what it is); any other number that is in no table is `failed`, charged
`unknown`.

{table(("status", "verdict", "charged"), _status_rows())}

A 5xx with an error object in its body shows that the service itself knows that the call failed.
"""


def _rulings(codes: CodeTable) -> str:
    rows = (
        (f"`{code}`", f"`{ruling.verdict}`", ruling.charged, sentence(MEANINGS[code]))
        for code, ruling in codes.items()
        if code != SUCCESS
    )
    return table(("code", "verdict", "charged", "meaning"), rows)


def _deviations() -> str:
    rows = (
        (
            f"`{req_key}`",
            f"`{code}`",
            f"`{rule.verdict}`",
            rule.charged,
            sentence(MEANINGS[code]),
        )
        for req_key, operation in OPERATIONS.items()
        for code, rule in codes_of_operation(operation).items()
    )
    return table(("req_key", "code", "verdict", "charged", "meaning"), rows)


def _status_rows() -> Iterator[tuple[str, str, str]]:
    def rulings(status: int) -> tuple[CodePolicy, CodePolicy]:
        return classify(None, status, {}, has_error_body=True), classify(
            None, status, {}, has_error_body=False
        )

    for (stated, silent), grouped in groupby(ANSWERS_WITHOUT_CODE, rulings):
        statuses = list(grouped)
        span = str(statuses[0]) + (f"–{statuses[-1]}" if len(statuses) > 1 else "")
        if stated == silent:
            yield span, f"`{stated.verdict}`", stated.charged
        else:
            yield f"{span} with an error object", f"`{stated.verdict}`", stated.charged
            yield f"{span} without", f"`{silent.verdict}`", silent.charged
