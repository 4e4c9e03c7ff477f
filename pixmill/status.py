"""How a config stands: its plan against the ledger, its last runs, and the command to type next."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pixmill.config import Config
from pixmill.ledger import open_ledger
from pixmill.ledger.owner import is_dead
from pixmill.plan import Plan, make_plan

UNSEEN_HOURS = 24
"""How long a run of another host counts as going on when it has not said how it ended."""


class PastRun(NamedTuple):
    """One run of the config, as the ledger tells it. `summary` is what it said at its end, `None` if it never ended."""

    run_id: str
    started_at: datetime
    calls: int
    summary: dict[str, Any] | None
    alive: bool

    def describe(self) -> str:
        """The run in one line."""
        when = self.started_at.astimezone().strftime("%Y-%m-%d %H:%M")
        if self.summary:
            return f"{when}  {self.run_id}  {self.calls:,} calls  {self.summary['reason']}"
        return f"{when}  {self.run_id}  {self.calls:,} calls  {'running now' if self.alive else 'ended without a word'}"

    def as_dict(self) -> dict[str, Any]:
        """The run as plain JSON values."""
        return {**self._asdict(), "started_at": self.started_at.isoformat()}


@dataclass(frozen=True)
class Status:
    """The plan as it stands now and the last runs, newest first."""

    plan: Plan
    runs: tuple[PastRun, ...]

    def next_command(self, config: str) -> str:
        """The command to type next."""
        if any(run.alive for run in self.runs):
            return f"pixmill status {config}   (a run is going on)"
        if self.plan.to_pay or self.plan.has_images_to_fetch or not self.runs:
            return f"pixmill run {config}"
        if self.plan.invalid:
            return f"pixmill validate {config}"
        return f"pixmill export {config} --format csv --out {self.plan.config.name}.csv"


def read_status(config: Config) -> Status:
    """Read the status of `config`; nothing is written."""
    ledger = open_ledger(config.store_path / "ledger.db", read_only=True)
    try:
        plan = make_plan(config, ledger)
        rows = ledger.last_runs(config.name) if ledger else []
    finally:
        if ledger:
            ledger.close()
    return Status(plan, tuple(_past_run(row) for row in rows))


def _past_run(row: dict[str, Any]) -> PastRun:
    summary = json.loads(row["summary"]) if row["summary"] else None
    started = datetime.fromtimestamp(row["started_at"] / 1e6, UTC)
    believed_until = row["started_at"] + int(UNSEEN_HOURS * 3600e6)  # of a host that can't be asked
    alive = row["finished_at"] is None and not is_dead(row["owner"], believed_until)
    return PastRun(row["run_id"], started, row["calls"], summary, alive)
