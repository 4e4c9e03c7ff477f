"""How a config stands: its plan against the ledger, its last runs, and the command to type next."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.config.model import Config
from pixmill.datasets.gate import Gate, gate_of
from pixmill.datasets.publishing import last_manifest
from pixmill.datasets.refused_dataset import refused_gate
from pixmill.execution.host_refusals import last_refusal
from pixmill.execution.known_ledger import KnownLedger, examine_ledger
from pixmill.ledger import Ledger, open_ledger, queries
from pixmill.ledger.process_owner import is_dead
from pixmill.limits.history import LimitChange, changes_of
from pixmill.limits.lease_table import limit_changes
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from pixmill.tables.discovery import is_input_file
from pixmill.text import counted

SHOWN_DOUBTS = 20
SHOWN_CHANGES = 6
UNSEEN_HOURS = 24
"""How long a run of another host counts as going on when it has not said how it ended."""


class PastRun(NamedTuple):
    """One run of the config, as the ledger tells it. `summary` is what it said at its
    end, `None` if it never ended.
    """

    run_id: str
    started_at: datetime
    calls: int
    summary: dict[str, Any] | None
    alive: bool
    limit_changes: tuple[LimitChange, ...] = ()

    @property
    def when(self) -> str:
        """When it began, in the time zone of this machine: `2026-11-29 09:34`."""
        return self.started_at.astimezone().strftime("%Y-%m-%d %H:%M")

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        if self.summary:
            return str(self.summary["reason"])
        return "running now" if self.alive else "the process died"

    def describe(self) -> str:
        """The run in one line."""
        calls = counted(self.calls, "call")
        return f"{self.when}  {self.run_id}  {calls}  {self.outcome}"

    def as_dict(self) -> dict[str, Any]:
        """The run as plain JSON values."""
        changes = [change._asdict() for change in self.limit_changes]
        return {
            **self._asdict(),
            "started_at": self.started_at.isoformat(),
            "limit_changes": changes,
        }

    def describe_limits(self) -> list[str]:
        """How the limits changed, one line each: the newest `SHOWN_CHANGES`."""
        shown = self.limit_changes[-SHOWN_CHANGES:]
        lines = [
            f"{datetime.fromisoformat(change.at).astimezone():%H:%M:%S}  {change.describe()}"
            for change in shown
        ]
        earlier = len(self.limit_changes) - len(shown)
        if earlier:
            lines.insert(0, f"{earlier} earlier changes of the limits, then")
        return lines


class DoubtfulJob(NamedTuple):
    """A job in doubt, for a comparison with the provider's console; what is not known is `None`."""

    label: str
    job_key: str
    sent_at: datetime | None
    request_id: str | None
    code: str | None

    def describe(self) -> str:
        """The job in one line."""
        when = (
            f"{self.sent_at.astimezone():%Y-%m-%d %H:%M:%S}"
            if self.sent_at
            else "at an unknown time"
        )
        return "  ".join(
            (
                when,
                self.label,
                self.request_id or "no request id",
                self.code or "process_died",
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """The job as plain JSON values."""
        return {
            **self._asdict(),
            "sent_at": self.sent_at.isoformat() if self.sent_at else None,
        }


@dataclass(frozen=True)
class Status:
    """The plan as it stands now, the last runs, newest first, and the first
    `SHOWN_DOUBTS` jobs in doubt.
    """

    plan: Plan
    runs: tuple[PastRun, ...]
    known_ledger: KnownLedger
    """What the ledger knows of its store."""

    in_doubt_jobs: tuple[DoubtfulJob, ...] = ()
    gate: Gate | None = None
    """What the conditions came to of a dataset that waits for a person to accept it."""

    image_refusal: str | None = None
    """Why most of the missing images were not had by the last run, `None` where that is not known."""

    accepted: bool = False
    """Whether a person accepted the published dataset, which the gate had refused."""

    @property
    def _are_invalid_rows_known(self) -> bool:
        """Whether the last run that ended has told of as many, or they are accepted."""
        allowed = self.plan.config.accept.invalid * self.plan.rows
        if self.plan.invalid <= allowed:
            return True
        ended = (run.summary for run in self.runs if run.summary)
        last = next(ended, {})
        return last.get("invalid") == self.plan.invalid

    def next_command(self, config: str) -> str:
        """The command to type next."""
        if any(run.alive for run in self.runs):
            return f"pixmill status {config}   (a run is active)"
        if self.known_ledger.lost_images:
            # It lists the rows, and pays for none.
            return f"pixmill verify {config}"
        plan = self.plan
        if plan.has_images_to_fetch:
            # Before anything else is paid for: those of more calls would not come either.
            return f"pixmill repair {config}"
        if plan.to_do or plan.most_to_pay or not self.runs:
            return f"pixmill run {config}"
        if self.gate:
            return f"pixmill publish {config}"
        if self.in_doubt_jobs:
            return (
                f"pixmill retry {config} --in-doubt   "
                "(once you know that they were not charged, or want to pay again)"
            )
        if self.plan.invalid and not self._are_invalid_rows_known:
            return f"pixmill validate {config}"
        stem = f"{plan.config.name}-export"
        if is_input_file(plan.config.input.path, Path(f"{stem}.csv").resolve()):
            # All tables of this folder are the input.
            stem = f"exports/{stem}"
        # An export replaces nothing that is there.
        names = chain([f"{stem}.csv"], (f"{stem}-{number}.csv" for number in count(2)))
        name = next(name for name in names if not os.path.lexists(name))
        return f"pixmill export {config} --format csv --out {name}"


def read_status(config: Config) -> Status:
    """Read the status of `config`; nothing is written."""
    ledger = open_ledger(config.ledger_address, read_only=True)
    try:
        plan = make_plan(config, ledger)
        runs: tuple[PastRun, ...] = ()
        in_doubt: tuple[DoubtfulJob, ...] = ()
        image_refusal = None
        if ledger:
            rows = ledger.read(queries.last_runs, config.name)
            runs = tuple(past_run(row, ledger) for row in rows)
            in_doubt = tuple(islice(_doubtful_jobs(plan, ledger), SHOWN_DOUBTS))
            if plan.has_images_to_fetch:
                image_refusal = last_refusal(ledger, config.name)
        known = examine_ledger(config, ledger)
    finally:
        if ledger:
            ledger.close()
    published = gate_of(last_manifest(config))
    accepted = published is not None and bool(published.accepted)
    return Status(
        plan,
        runs,
        known,
        in_doubt,
        refused_gate(config),
        image_refusal,
        accepted,
    )


def _doubtful_jobs(plan: Plan, ledger: Ledger) -> Iterator[DoubtfulJob]:
    """Yield this config's jobs among those in doubt, in input order. Without any the
    table is not read.
    """
    in_doubt_jobs = {
        doubt.job_key: doubt for doubt in ledger.read(queries.in_doubt_calls)
    }
    # Without any, the table is not read a second time.
    for jobs in plan.batches() if in_doubt_jobs else ():
        for at, key in enumerate(jobs.keys):
            doubt = in_doubt_jobs.pop(key, None) if key else None
            if doubt:
                at_micros = doubt.sent_at or doubt.ended_at
                sent_at = (
                    datetime.fromtimestamp(at_micros / 1e6, UTC) if at_micros else None
                )
                yield DoubtfulJob(
                    jobs.job(at).label,
                    doubt.job_key,
                    sent_at,
                    doubt.request_id,
                    doubt.code,
                )


def past_run(row: dict[str, Any], ledger: Ledger) -> PastRun:
    """Return a run as `row`, one of `queries.last_runs`, tells it."""
    summary = json.loads(row["summary"]) if row["summary"] else None
    started = datetime.fromtimestamp(row["started_at"] / 1e6, UTC)
    # Of a host that can't be asked: a run that says nothing for so long is over.
    believed_until = row["started_at"] + int(UNSEEN_HOURS * 3600e6)
    alive = row["finished_at"] is None and not is_dead(row["owner"], believed_until)
    changes = changes_of(summary or {})
    if alive:
        changes = ledger.read(limit_changes, row["owner"])
    return PastRun(row["run_id"], started, row["calls"], summary, alive, tuple(changes))
