"""Why a run ends early: the exit code, and a sentence that says what happened and what
to do next.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pixmill.config.model import Budget
from pixmill.provider.responses import Response
from pixmill.text import counted
from pixmill.tuning import OUTAGE_SECONDS


class StopCode(IntEnum):
    """Why a run ended early, as its exit code; a higher one outranks a lower one."""

    BUDGET = 4
    BREAKER = 5
    CREDENTIALS = 6
    INTERRUPTED = 130


class StopReason(NamedTuple):
    """Why a run ends early, in a sentence."""

    code: StopCode
    reason: str


def most_severe(known: StopReason | None, news: StopReason) -> StopReason:
    """Return the reason that counts: of equal ones the first."""
    return news if known is None or news.code > known.code else known


def tasks_left(tasks: int) -> str:
    """Return what becomes of tasks that a run has not waited for."""
    verb = "works" if tasks == 1 else "work"
    return (
        f"{counted(tasks, 'task')} still {verb} at the provider: the next run asks for the result, "
        "and pays nothing for it"
    )


def interruption(by: str, *, is_retry: bool) -> StopReason:
    """Somebody asked for it, `by` a signal. The next step of `pixmill retry` is a `run`.

    The same `retry` would pay once more for what it has renewed already.
    """
    command = "`pixmill run`" if is_retry else "the same command again"
    return StopReason(
        StopCode.INTERRUPTED, f"interrupted by {by}; run {command} to continue"
    )


def budget_reached(cap: str, budget: Budget) -> StopReason:
    """The `cap`, a key of `budget`, leaves no room for one more call."""
    amount = getattr(budget, cap)
    unit = "calls" if cap == "max_calls" else budget.currency
    if cap == "max_cost_per_month":
        now = datetime.now(ZoneInfo(budget.timezone))
        # The 28th and four days more are in the next month, whichever it is.
        next_month = (now.replace(day=28) + timedelta(days=4)).replace(day=1)
        until = f" until {next_month:%Y-%m-%d} ({budget.timezone})"
        next_step = "raise it"
    else:
        until = ""
        # It caps a run, and the next run begins with nothing spent.
        next_step = "raise it, or run the same command again to spend as much once more"
    return StopReason(
        StopCode.BUDGET,
        f"budget.{cap} ({amount:,} {unit}) is reached{until}; {next_step}",
    )


def no_call_fits(cap: str, budget: Budget) -> StopReason:
    """The `cap`, a key of `budget`, leaves no room for the first call."""
    if cap == "max_cost_per_month":
        # Other runs have used it up.
        return budget_reached(cap, budget)
    unit = "calls" if cap == "max_calls" else budget.currency
    amount = getattr(budget, cap)
    return StopReason(
        StopCode.BUDGET, f"budget.{cap} ({amount:,} {unit}) allows no call; raise it"
    )


def failure_rate_exceeded(
    outcome: str, window: int, codes: Sequence[tuple[str, int]]
) -> StopReason:
    """Too many of the last `window` jobs were of an outcome; `codes` are the most
    frequent of the run's calls.
    """
    return StopReason(
        StopCode.BREAKER,
        f"too many of the last {window} jobs are {outcome}{_list_codes(codes)}; "
        "fix the cause, then run the same command again",
    )


ALLOW_HOSTS = (
    "if you trust the host, name it in output.allow_hosts, which lets private addresses, "
    "plain http and "
    "other ports pass"
)
"""What to do about an image host that refuses."""


def image_host_refuses(count: int, problem: str) -> StopReason:
    """So many images in a row could not be fetched, the last one for `problem`."""
    return StopReason(
        StopCode.BREAKER,
        f"{count} images in a row could not be fetched ({problem}); nothing more is paid; "
        f"{ALLOW_HOSTS}; then the same command fetches them and continues",
    )


def outage(codes: Sequence[tuple[str, int]]) -> StopReason:
    """The service has been down for as long as a run waits; `codes` are the most
    frequent of the run's calls.
    """
    minutes = f"{OUTAGE_SECONDS / 60:.0f} minutes"
    return StopReason(
        StopCode.BREAKER,
        f"the service has been down for {minutes}{_list_codes(codes)}; run the same command "
        "again later to resume",
    )


def credentials_rejected(answer: Response) -> StopReason:
    """No job can succeed until somebody fixes what the provider named."""
    if answer.code == "50204":
        return StopReason(
            StopCode.CREDENTIALS,
            f"the provider does not take this req_key by this call (50204: {answer.message}); "
            "check request.req_key, or set request.mode to the other way to call it, "
            "then run the same command again",
        )
    what = "key, entitlement and account"
    if answer.code == "InvalidTimestamp":
        # A signature is valid for some minutes around the time that it names.
        what = "this machine's clock"
    return StopReason(
        StopCode.CREDENTIALS,
        f"the provider rejected this account ({answer.code}: {answer.message}); "
        f"check {what}, then run the same command again",
    )


NOT_REACHED = (
    "no call reached the provider: check that provider.base_url is right, and that the service "
    "runs there"
)
"""What is said of a run for which every call ended before it was sent."""


def _list_codes(codes: Sequence[tuple[str, int]]) -> str:
    if not codes:
        return ""
    listed = ", ".join(f"{code} × {count:,}" for code, count in codes)
    return f" ({listed})"
