"""What `run --json` says of a run: its counts, and whether it went well."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pixmill.config.model import Accept, Config
from pixmill.datasets.publishing import Published, write_run_report
from pixmill.errors import PixmillError
from pixmill.ledger import Ledger
from pixmill.ledger.records import OUTCOMES
from pixmill.planning.plan import Plan
from pixmill.storage import open_store

log = logging.getLogger(__name__)

NOTHING_DONE: Mapping[str, Any] = {
    "run_id": None,
    "exit_code": 0,
    "reason": "",
    "rows": None,
    "jobs": 0,
    **dict.fromkeys(OUTCOMES, 0),
    "cached": 0,
    "images_missing": 0,
    "calls": 0,
    "cost": None,
    "seconds": 0.0,
    "limits": None,
    "dataset": None,
    "report": None,
}
"""What `run --json` says of a run that was stopped before it began."""

_ROUNDING = 1e-6
"""0.58 × 50 is a little less than 29 in binary."""


def verdict(published: Published, accept: Accept, left_out: int = 0) -> tuple[int, str]:
    """Return exit code and reason: 3 where a run brought more problems than `accept` allows; old ones are not new.

    Jobs without an outcome are a problem as well, but for those `left_out` by `--limit` or left to another run.
    """
    counts = published.counts
    allowed = {
        "failed": accept.failed,
        "refused": accept.refused,
        "invalid": accept.invalid,
    }
    new = counts.new + Counter({"not attempted": max(0, counts.left - left_out)})
    over = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in sorted(new.items())
        if count > allowed.get(name, 0) * published.rows + _ROUNDING
    ]
    if over:
        return 3, f"finished with new problems: {', '.join(over)}"
    if counts.elsewhere:
        return (
            0,
            f"finished, except for {counts.elsewhere:,} jobs that another run has in flight",
        )
    return 0, "finished"


def told(
    plan: Plan,
    ledger: Ledger,
    run_id: str,
    published: Published,
    code: int,
    reason: str,
    began: float,
    limits: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what `run --json` says of a run that `began` at an instant of the monotonic clock; it has no page yet.

    `limits` says how the limits fared, where anything was paid for.

    Where what it made would have been a step back, the counts are its own and the dataset is the one that stays.
    """
    counts = published.counts
    dataset = open_store(plan.config).shown(published.path)
    if published.stays is not None:
        reason += (
            f"; {dataset} is unchanged, with {published.stays:,} images of these rows where this run has "
            f"{counts.status['succeeded']:,}"
        )
    return {
        **NOTHING_DONE,
        "run_id": run_id,
        "exit_code": code,
        "reason": reason,
        "rows": plan.rows,
        "jobs": published.rows,
        **{name: counts.status[name] for name in OUTCOMES},
        "cached": counts.cached,
        "images_missing": counts.images_missing,
        "calls": ledger.calls_of(run_id),
        "cost": _cost_of(plan.config, ledger, run_id),
        "seconds": round(time.monotonic() - began, 2),
        "limits": limits,
        "dataset": dataset,
    }


def record(config: Config, ledger: Ledger, report: Mapping[str, Any]) -> None:
    """Write down how a run ended, in the ledger and beside the dataset."""
    ledger.finish_run(report["run_id"], report)
    write_run_report(config, report["run_id"], report)


def _cost_of(config: Config, ledger: Ledger, run_id: str) -> float | None:
    """What the calls of a run were charged, `None` where no price is known."""
    if config.budget.price_per_call is None:
        return None
    return round(ledger.spent(run_id=run_id).get("yes", 0.0), 6)


def update_report_page(
    config: Config, published: Published, is_hurried: Callable[[], bool] = lambda: False
) -> str | None:
    """Bring the report's page up to date and say where it is; a run that paid is no failure for want of a page.

    Once it `is_hurried` no more thumbnails are made, and the page counts as older than the dataset: whoever comes next
    makes it anew, as one that a killed run did not get to.
    """
    from pixmill.datasets.report import (
        page_of,
        write_report,
    )  # not for commands that only look

    page = page_of(config)
    try:
        if not _is_newer(page, published.path):
            write_report(config, is_hurried=is_hurried)
            if is_hurried():
                os.utime(page, ns=(0, 0))
    except PixmillError as error:
        log.warning("there is no report: %s", error)
        return None
    return open_store(config).shown(page)


def _is_newer(page: Path, dataset: Path) -> bool:
    try:
        return page.stat().st_mtime_ns >= dataset.stat().st_mtime_ns
    except OSError:
        return False
