"""How a run went, in words with units: for messages and for Prefect's pages."""

from pixmill.config.model import Config
from pixmill.execution.run_summary import RunSummary
from pixmill.execution.spending_rules import month_to_date
from pixmill.ledger import Ledger
from pixmill.text import counted, duration, in_words, money


def describe_summary(
    config: Config, ledger: Ledger | None, summary: RunSummary
) -> dict[str, str]:
    """Return what a run came to, by what it is: `{"cost": "12.40 CNY", "calls": "800 in 14 min", …}`."""
    parts = [f"{summary.succeeded:,} of {counted(summary.jobs, 'job')} succeeded"]
    if summary.cached:
        parts[0] += f", {summary.cached:,} of them paid for earlier"
    counts = summary.as_dict()
    for name in ("failed", "refused", "in_doubt", "invalid", "skipped"):
        if counts[name]:
            parts.append(f"{counts[name]:,} {in_words(name)}")
    if summary.images_missing:
        parts.append(f"{counted(summary.images_missing, 'image')} missing")
    words = {"warning": summary.shrunk.describe()} if summary.shrunk else {}
    words |= {
        "jobs": ", ".join(parts),
        "calls": f"{summary.calls:,} in {duration(summary.seconds)}",
    }
    if config.simulated:
        return words | {"cost": "nothing, the simulator answered"}
    # Unknown is not 0: whoever reads it would believe that nothing was paid.
    if summary.cost is None:
        return words | {"cost": "unknown, as no price is set"}
    currency = config.budget.currency
    return words | {
        "cost": money(summary.cost, currency),
        "this month so far": money(month_to_date(config, ledger), currency),
    }
