"""Where a dataset comes from, in words: what a reader of its report asks before believing a picture."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pixmill.config.model import Config
from pixmill.datasets.report.summary import Summary
from pixmill.text import counted


class Fact(NamedTuple):
    """One thing that is known."""

    name: str
    text: str


def describe_origin(
    config: Config, summary: Summary, manifest: Mapping[str, Any]
) -> list[Fact]:
    """Return what is known of a dataset by its `manifest`, which may be empty, and its figures."""
    facts = []
    if published := manifest.get("published_at"):
        facts.append(Fact("Version", _minute(datetime.fromisoformat(published))))
    provider = " and ".join(summary.providers)
    if summary.simulated:
        provider = "the built-in simulator"
    elif provider and config.provider.account:
        provider += f", account {config.provider.account}"
    asked = ", ".join(summary.req_keys)
    facts += [
        Fact("Answered by", provider or "nobody: nothing was sent"),
        Fact("Operation", f"{config.request.operation} · {asked}" if asked else ""),
    ]
    if summary.calls_from is not None and summary.last_run is not None:
        ends = summary.last_run.began + summary.last_run.seconds
        first = _minute(datetime.fromtimestamp(summary.calls_from, UTC))
        last = _minute(datetime.fromtimestamp(ends, UTC))
        facts.append(Fact("Calls", first if first == last else f"{first} – {last}"))
    table = manifest.get("input") or {}
    if table:
        facts.append(Fact("Table", f"{table['path']}, {counted(table['rows'], 'row')}"))
    packages = manifest.get("packages") or {}
    made_by = f"pixmill {packages['pixmill']}" if "pixmill" in packages else ""
    if made_by and manifest.get("run_id"):
        made_by += f", run {manifest['run_id']}"
    facts.append(Fact("Made by", made_by))
    return [fact for fact in facts if fact.text]


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
