"""What `run --json` says of a run: its counts, and whether it went well."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pixmill.config.model import Accept, Config
from pixmill.datasets.gate import Gate, in_figures
from pixmill.datasets.publishing import Published, write_run_report
from pixmill.datasets.step_back import ShrunkDataset
from pixmill.errors import PixmillError
from pixmill.ledger import Ledger, queries
from pixmill.planning.plan import Plan
from pixmill.storage import open_store
from pixmill.text import cli_arguments, counted, duration, in_words, money

log = logging.getLogger(__name__)


class RunSummary(NamedTuple):
    """What `run --json` says of a run; by default of one that ended before it began."""

    run_id: str | None = None
    exit_code: int = 0
    reason: str = ""
    rows: int | None = None
    jobs: int = 0
    """`succeeded` to `skipped` add up to it; an invalid row counts as one job."""
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    in_doubt: int = 0
    invalid: int = 0
    skipped: int = 0
    cached: int = 0
    """How many of the succeeded were not paid for in this run."""
    images_missing: int = 0
    calls: int = 0
    """HTTP calls of this run."""
    cost: float | None = None
    """What they were charged, `None` where no price is known."""
    seconds: float = 0.0
    dataset: str | None = None
    report: str | None = None
    gate: Mapping[str, Any] | None = None
    """What the conditions of `quality.gate` came to, and where a refused dataset is; `None` without
    conditions."""
    candidates: Mapping[str, int] | None = None
    """How many pictures the rows ask for, how many are accepted and how many can't become so, and
    how many candidates were drawn; `None` without `quality.until`."""
    limits: Mapping[str, Any] | None = None
    """How the account's limits fared, `None` where no call was made. Only records have it."""
    shrunk: ShrunkDataset | None = None
    """How its dataset is smaller than the one before for want of rows, `None` where it is not. Neither
    `run --json` nor records have it."""
    image_refusals: Mapping[str, int] | None = None
    """What the hosts of images said that did not give them, with how often. Only records have it."""

    @property
    def has_refused_dataset(self) -> bool:
        """Whether a dataset waits for a person to accept it."""
        return self.gate is not None and self.gate["refused_dataset"] is not None

    def next_command(self, config: str, overrides: Iterable[str]) -> str:
        """Return what to type after this run: a config and its overrides were typed for it as well."""
        command = "publish" if self.has_refused_dataset else "status"
        return f"pixmill {command} {cli_arguments(config, overrides)}"

    def describe(self, config: Config) -> str:
        """Return its figures in words: `12 succeeded (0 cached), 2 failed; 14 calls, 2.80 CNY, 6 s`."""
        parts = [f"{self.succeeded:,} succeeded ({self.cached:,} cached)"]
        counts = {
            "failed": self.failed,
            "refused": self.refused,
            "in_doubt": self.in_doubt,
            "invalid": self.invalid,
            "skipped": self.skipped,
            "images_missing": self.images_missing,
        }
        parts += [
            f"{count:,} {in_words(name)}" for name, count in counts.items() if count
        ]
        cost = ""
        # What the simulator charges nobody pays.
        if self.cost is not None and not config.simulated:
            cost = f", {money(self.cost, config.budget.currency)}"
        calls = counted(self.calls, "call")
        return f"{', '.join(parts)}; {calls}{cost}, {duration(self.seconds)}"

    def as_dict(self) -> dict[str, Any]:
        """Return what `run --json` prints, as plain JSON values: the keys of the contract, and
        `gate` and `candidates` where the config has them."""
        left_out = ["limits", "shrunk", "image_refusals"]
        if self.gate is None:
            left_out.append("gate")
        if self.candidates is None:
            left_out.append("candidates")
        return {
            name: value
            for name, value in self._asdict().items()
            if name not in left_out
        }

    def as_record(self) -> dict[str, Any]:
        """Return what is written down of the run: what it printed, and how its limits fared."""
        refusals = self.image_refusals
        of_images = {"image_refusals": refusals} if refusals else {}
        return {**self.as_dict(), "limits": self.limits, **of_images}


_ROUNDING = 1e-6
"""0.58 × 50 is a little less than 29 in binary."""


EXIT_REFUSED = 7
"""The exit code of a run whose dataset `quality.gate` refused."""


def refusal(gate: Gate) -> str:
    """Return in words why a dataset was refused: which conditions do not hold, with their figures."""
    failed = [
        f"{result.condition} ({result.problem or in_figures(result.figures)})"
        for result in gate.failed
    ]
    count = f"{len(gate.failed)} of {counted(len(gate.results), 'condition')}"
    verb = "does" if len(gate.failed) == 1 else "do"
    return f"refused by quality.gate: {count} {verb} not hold: {'; '.join(failed)}"


def judge(published: Published, accept: Accept, left_out: int = 0) -> tuple[int, str]:
    """Return exit code and reason: 7 where the gate refused the dataset, 3 where a run brought more
    problems than `accept` allows; old ones are not new.

    Jobs without an outcome are a problem as well, also where their tasks still work, but
    for those `left_out` by `--limit` or left to another run.
    """
    if published.gate is not None and published.gate.failed:
        return EXIT_REFUSED, refusal(published.gate)
    counts = published.counts
    allowed = {
        "failed": accept.failed,
        "refused": accept.refused,
        "invalid": accept.invalid,
    }
    new = counts.new + Counter(
        {
            "not attempted": max(0, counts.left - left_out),
            "still running": max(0, counts.still_running - left_out),
        }
    )
    over = [
        f"{count:,} {in_words(name)}"
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


def summarize(
    plan: Plan,
    ledger: Ledger,
    run_id: str,
    published: Published,
    ending: tuple[int, str],
    *,
    limits: Mapping[str, Any] | None,
    began: float,
) -> RunSummary:
    """Return the summary of a run that `began` at an instant of the monotonic clock.

    `ending` is its exit code and the reason for it. The report's page is not made yet.
    Where what the run made would have been a step back, the counts are its own and the
    dataset is the one that stays.
    """
    exit_code, reason = ending
    counts = published.counts
    dataset = open_store(plan.config).display_name(published.path)
    # Unknown is not 0: a bill of nothing would be believed.
    cost = None
    if plan.config.budget.highest_price is not None:
        cost = float(ledger.read(queries.spent, run_id=run_id).get("yes", 0))
    gate = None
    if published.gate is not None:
        set_aside = published.refused and open_store(plan.config).display_name(
            published.refused
        )
        gate = {**published.gate.as_dict(), "refused_dataset": set_aside}
    return RunSummary(
        run_id=run_id,
        exit_code=exit_code,
        reason=reason + _explain_what_stays(published, dataset, exit_code),
        rows=plan.rows,
        jobs=published.rows,
        succeeded=counts.status["succeeded"],
        failed=counts.status["failed"],
        refused=counts.status["refused"],
        in_doubt=counts.status["in_doubt"],
        invalid=counts.status["invalid"],
        skipped=counts.status["skipped"],
        cached=counts.cached,
        images_missing=counts.images_missing,
        calls=ledger.read(queries.calls_of, run_id),
        cost=cost,
        seconds=round(time.monotonic() - began, 2),
        limits=limits,
        shrunk=published.shrunk,
        # None: the first dataset of all may be one that was refused.
        dataset=dataset if published.path.exists() else None,
        gate=gate,
        candidates=plan.candidates.counts() if plan.candidates else None,
    )


def _explain_what_stays(published: Published, dataset: str, exit_code: int) -> str:
    """Say why `dataset` is not the one that the run made, after the reason for which it ended; empty
    where it is.
    """
    why = ""
    # Publishing fewer images of the same rows than there are would be a step back.
    if published.images_kept is not None:
        made = published.counts.status["succeeded"]
        why += (
            f"; {dataset} is unchanged, with {published.images_kept:,} images of these rows where "
            f"this run has {made:,}"
        )
    gate = published.gate
    # Where the run was stopped, what it has so far would have been refused anyway.
    if gate is not None and gate.failed and exit_code != EXIT_REFUSED:
        why += f"; {refusal(gate)}"
    return why


def record_summary(config: Config, ledger: Ledger, summary: RunSummary) -> None:
    """Write down how a run ended, in the ledger and beside the dataset."""
    run_id = str(summary.run_id)
    ledger.finish_run(run_id, summary.as_record())
    write_run_report(config, run_id, summary.as_record())


def update_report_page(
    config: Config, published: Published, is_hurried: Callable[[], bool] = lambda: False
) -> str | None:
    """Bring the report's page up to date and say where it is; a run that paid is no
    failure for want of a page.

    Once it `is_hurried` no more thumbnails are made, and the page counts as older than
    the dataset: whoever comes next makes it anew, as one that a killed run did not get
    to.
    """
    from pixmill.datasets.report import (
        page_beside,
        write_report,
    )  # not for commands that only look

    source = published.refused or published.path
    page = page_beside(source)
    try:
        is_newer = page.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:
        # One of the two is not there.
        is_newer = False
    try:
        if not is_newer:
            write_report(config, source=source, is_hurried=is_hurried)
            # Dated back, the page counts as older than the dataset.
            if is_hurried():
                os.utime(page, ns=(0, 0))
    except PixmillError as error:
        # What was paid for is published; a page can be made at any time.
        log.warning("there is no report: %s", error)
        return None
    return open_store(config).display_name(page)
