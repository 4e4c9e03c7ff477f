"""What `pixmill retry` asks for: the jobs of a config that have an outcome and are to
be paid for once more.

Outcomes and their codes are the ledger's; a condition reads the published dataset,
which has the columns for it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET
from pixmill.datasets.export.selection import select
from pixmill.datasets.loading import open_dataset
from pixmill.datasets.schema import our_columns
from pixmill.errors import UserError
from pixmill.ledger import Ledger, queries
from pixmill.ledger.records import SETTLED
from pixmill.request.registry import did_you_mean
from pixmill.text import in_words

BATCH_ROWS = 8_000


@dataclass(frozen=True)
class RetrySelection:
    """Jobs with one of `statuses`, with one of `codes` and among `keys`; `None` is no
    restriction.
    """

    statuses: frozenset[str] | None
    codes: frozenset[str] | None
    keys: frozenset[str] | None

    def select(self, ledger: Ledger, keys: Sequence[str | None]) -> Mapping[int, int]:
        """Return by position which of `keys` these are, with the number of attempts
        that each has had.
        """
        found = ledger.read(queries.retry_facts, keys)
        chosen = pc.is_in(found["state"], pa.array(list(self.statuses or SETTLED)))
        if self.codes is not None:
            chosen = pc.and_(
                chosen,
                pc.is_in(found["error_code"], pa.array(list(self.codes), pa.string())),
            )
        positions = pc.indices_nonzero(chosen).to_pylist()
        attempts = found["attempts"].take(pa.array(positions, pa.int64())).to_pylist()
        return {
            at: calls
            for at, calls in zip(positions, attempts, strict=True)
            if self.keys is None or keys[at] in self.keys
        }

    def describe(self) -> str:
        """The jobs in words."""
        parts = [" or ".join(sorted(in_words(name) for name in self.statuses or ()))]
        if self.codes:
            parts.append(f"with the code {' or '.join(sorted(self.codes))}")
        if self.keys is not None:
            parts.append("and fits the condition")
        return " ".join(filter(None, parts))


def select_for_retry(
    config: Config, statuses: Collection[str], codes: Collection[str], where: str | None
) -> RetrySelection:
    """Read what a person asked for: jobs that fit all of it; those that failed where
    neither status nor code is given.

    Raises UserError for an unknown status, for a condition that does not fit the
    dataset, and where there is none.
    """
    for status in statuses:
        if status not in SETTLED:
            hint = (
                "invalid rows are fixed in the table, skipped jobs are pending: "
                "`pixmill run` pays for them"
            )
            raise UserError(
                f"--status {status}: is not one of "
                f"{', '.join(SETTLED)}{did_you_mean(status, SETTLED)}",
                hint=hint,
            )
    named = frozenset(statuses)
    # Nobody who only says `retry` means what moderation refused or what may be paid.
    if not statuses and not codes:
        named = frozenset({"failed"})
    keys = None
    if where is not None:
        with open_dataset(config.dataset_folder / DATASET) as dataset:
            selection = select(dataset.schema_arrow, where, (), None)
            name = our_columns(dataset.schema_arrow)["job_key"]
            keys = frozenset(
                key
                for picked in selection.batches(dataset, BATCH_ROWS)
                for key in picked.rows.column(name).to_pylist()
                if key
            )
    return RetrySelection(named or None, frozenset(codes) or None, keys)
