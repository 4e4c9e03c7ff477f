"""Scoring the images that a config has, without a call: those that were never scored, by what its
`quality` asks for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pixmill.config.model import Config
from pixmill.errors import UserError
from pixmill.execution.known_ledger import check_knows_jobs
from pixmill.execution.prepare import prepare
from pixmill.execution.run_summary import EXIT_REFUSED, RunSummary, record_summary
from pixmill.signals import EXIT_INTERRUPTED, graceful_shutdown
from pixmill.text import counted


class Scored(NamedTuple):
    """What became of it."""

    report: RunSummary
    images: int
    """Images that were scored now."""
    failures: Mapping[tuple[str, str], int]
    """How many images a scorer, by its name, gave no score, and for which reason."""

    @property
    def exit_code(self) -> int:
        """0, 7 where the gate refused the dataset with these scores, 130 where it was interrupted:
        a score that can't be had is no failure.
        """
        if self.report.exit_code in (EXIT_INTERRUPTED, EXIT_REFUSED):
            return self.report.exit_code
        return 0

    def describe(self) -> str:
        """Say how it ended: `12 images scored, 1 without a score`."""
        if self.exit_code:
            return self.report.reason
        said = f"{counted(self.images, 'image')} scored"
        without = sum(self.failures.values())
        return f"{said}, {without:,} without a score" if without else said

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "run_id": self.report.run_id,
            "exit_code": self.exit_code,
            "scored": self.images,
            "failures": [
                {"scorer": scorer, "reason": reason, "images": images}
                for (scorer, reason), images in self.failures.items()
            ],
            "dataset": self.report.dataset,
            **({"gate": self.report.gate} if self.report.gate else {}),
        }


def score(config: Config) -> Scored:
    """Score the images of `config` that were not, and publish its dataset with the scores.

    Call it in the main thread: the first Ctrl-C ends the scoring and publishes. Raises UserError
    where there is nothing to score or to score with, TableError and LedgerError.
    """
    if not config.quality.checks and not config.quality.scorers:
        raise UserError(
            "the config asks for no score",
            hint="name checks or scorers under `quality`, such as quality: {checks: [blank]}",
        )
    check_knows_jobs(config)
    with (
        # A limit of 0: it pays for nothing.
        prepare(config, 0) as prepared,
        graceful_shutdown(prepared.interrupt),
    ):
        run = prepared.start()
        report = run.finish()
        scored = Scored(report, run.scoring.scored, run.scoring.failures)
        # As `status` shows it: a scoring makes no calls that could be finished.
        ending = report._replace(
            exit_code=scored.exit_code, reason=f"score: {scored.describe()}"
        )
        record_summary(config, run.ledger, ending)
        return scored
