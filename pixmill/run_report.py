"""What `run --json` says of a run: its counts, and whether it went well."""

import logging
from collections.abc import Mapping
from typing import Any

from pixmill.config import Accept, Config
from pixmill.dataset import Published
from pixmill.errors import PixmillError
from pixmill.ledger import Ledger
from pixmill.store import open_store

log = logging.getLogger(__name__)

OUTCOMES = ("succeeded", "failed", "refused", "in_doubt", "invalid", "skipped")

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
    "dataset": None,
    "report": None,
}
"""What `run --json` says of a run that was stopped before it began."""

_ROUNDING = 1e-6
"""0.58 × 50 is a little less than 29 in binary."""


def verdict(published: Published, accept: Accept) -> tuple[int, str]:
    """Return exit code and reason: 3 where a run brought more problems than `accept` allows; old ones are not new."""
    allowed = {"failed": accept.failed, "refused": accept.refused, "invalid": accept.invalid}
    over = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in sorted(published.counts.new.items())
        if count > allowed.get(name, 0) * published.rows + _ROUNDING
    ]
    return (3, f"finished with new problems: {', '.join(over)}") if over else (0, "finished")


def published_counts(config: Config, rows: int, published: Published) -> dict[str, Any]:
    """Return the part of the report that counts what is published, from a table of `rows` rows."""
    counts = published.counts
    return {
        "rows": rows,
        "jobs": published.rows,
        **{name: counts.status[name] for name in OUTCOMES},
        "cached": counts.cached,
        "images_missing": counts.images_missing,
        "dataset": open_store(config).shown(published.path),
    }


def cost_of(config: Config, ledger: Ledger, run_id: str) -> float | None:
    """What the calls of a run were charged, `None` where no price is known."""
    if config.budget.price_per_call is None:
        return None
    return round(ledger.spent(run_id=run_id).get("yes", 0.0), 6)


def page_written(config: Config, published: Published) -> str | None:
    """Bring the report's page up to date and say where it is; a run that paid is no failure for want of a page."""
    from pixmill.report import page_of, write_report  # not for commands that only look

    page = page_of(config)
    try:
        if published.changed or not page.exists():
            write_report(config)
    except PixmillError as error:
        log.warning("there is no report: %s", error)
        return None
    return open_store(config).shown(page)
