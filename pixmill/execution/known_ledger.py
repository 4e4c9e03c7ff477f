"""What a ledger knows of its store: with one that is new, or is not the one that the published dataset was paid
with, images that are there would be paid for again.

A disk that was lost, a folder that is not mounted and a backup that is too old look alike: the ledger lacks the run
that published the dataset.
"""

from typing import NamedTuple

from pixmill.config.model import Config
from pixmill.datasets.publishing import last_manifest
from pixmill.errors import UserError
from pixmill.ledger import Ledger, open_ledger, queries


class KnownLedger(NamedTuple):
    """What was found."""

    place: str
    has_runs: bool
    lost_images: int
    """Images of the published dataset, where the ledger does not have the run that published them."""

    @property
    def is_new(self) -> bool:
        """Whether nobody who knows the store would expect a run to pay with this ledger."""
        return not self.has_runs or self.lost_images > 0

    def describe_loss(self, name: str) -> str:
        """Say which images would be paid for again, of the dataset `name`."""
        return (
            f"the ledger at {self.place} does not know the run that published the "
            f"{self.lost_images:,} "
            f"images of {name}, so they would be paid for again"
        )


RESTORE = "restore the ledger from a backup, or name the right one"


def ledger_place(config: Config) -> str:
    """Return where the ledger of a config is, so that nobody takes one folder for another."""
    return config.ledger or str(config.store_path.absolute() / "ledger.db")


def examine_ledger(config: Config, ledger: Ledger | None) -> KnownLedger:
    """Return what `ledger` (`None`: there is none) knows of the store of `config`. Raises LedgerError."""
    manifest = last_manifest(config)
    run_id = manifest.get("run_id")
    has_runs = ledger is not None and ledger.read(queries.has_runs)
    is_known = ledger is not None and ledger.read(queries.has_run, run_id)
    lost = 0
    # Of a simulated dataset nothing was paid for.
    if run_id and not is_known and not config.simulated:
        lost = manifest.get("counts", {}).get("succeeded", 0)
    return KnownLedger(ledger_place(config), has_runs, lost)


def check_knows_jobs(config: Config) -> None:
    """Raise UserError where there is no ledger, or one without a job: of its images nothing is known.

    A command that went on would leave a run in it, and the next run would take it for the ledger of the store.
    """
    ledger = open_ledger(config.ledger_address, read_only=True)
    if ledger is None:
        raise UserError(
            f"there is no ledger at {ledger_place(config)}, so nothing is known of its images",
            hint=f"if there was one, {RESTORE}; `pixmill run` starts a new one, and pays "
            "for all images",
        )
    try:
        is_empty = ledger.read(queries.is_empty)
    finally:
        ledger.close()
    if is_empty:
        raise UserError(
            f"the ledger at {ledger_place(config)} knows no job, so nothing is known of its images",
            hint=f"if they were paid for, {RESTORE}; `pixmill run` pays for all of them",
        )
