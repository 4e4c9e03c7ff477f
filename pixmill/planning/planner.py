"""The pass over a table that makes its plan: expanded, looked up in the ledger and counted batch by batch."""

from collections.abc import Iterator
from dataclasses import replace

from pixmill.config.model import Config
from pixmill.ledger import Ledger, open_ledger, queries
from pixmill.planning.candidates import CandidateJudge
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.known_jobs import KnownJobs
from pixmill.planning.ledger_lookup import BatchSummary, LedgerLookup
from pixmill.planning.plan import (
    TYPICAL_SECONDS,
    Plan,
    Selection,
    prefetch,
    row_batches,
)
from pixmill.planning.plan_builder import PlanBuilder
from pixmill.tables import InputTable, open_table

SIMULATED_SECONDS = 0.2
"""Seconds of a call of the simulator, where the ledger knows none yet."""

_KEYS_AHEAD = 128
"""Batches whose keys (256 KB a batch) may wait while the ledger is scanned, which takes as long as some forty."""

_IMAGES_AHEAD = 1
"""Batches that may wait with the names of their input images, which can be long."""


def plan_config(config: Config) -> Plan:
    """Return the plan of a run of `config` against its ledger; nothing is sent or written.

    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    ledger = open_ledger(config.ledger_address, read_only=True)
    try:
        return make_plan(config, ledger)
    finally:
        if ledger:
            ledger.close()


def make_plan(
    config: Config,
    ledger: Ledger | None,
    selection: Selection | None = None,
) -> Plan:
    """Read the whole table, look its jobs up in the ledger (`None`: there is none yet) and return the plan.

    What `selection` chooses is planned as if it were marked to be paid for again already.
    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    source = config.input
    table = open_table(
        source.path, encoding=source.encoding, delimiter=source.delimiter
    )
    expander = JobExpander(config, table)
    builder = PlanBuilder(config, table, expander)
    # One that knows no job yet has nothing to answer.
    filled = (
        ledger if ledger is not None and not ledger.read(queries.is_empty) else None
    )
    known_jobs = KnownJobs(filled, config) if filled else None
    bad_inputs = ledger.bad_inputs if ledger and source.images != "url" else None
    judge = None
    if filled and config.quality.until:
        judge = CandidateJudge(config, filled, expander.variants)
    lookup = LedgerLookup(
        known_jobs,
        source.image_columns,
        expander.image_limits,
        bad_inputs,
        selection,
        judge,
    )

    # The scan takes a quarter of the time of the pass: batches go on being read and expanded beside it.
    ahead = _IMAGES_AHEAD if source.looks_at_images else _KEYS_AHEAD
    summaries = _summarise(table, expander, builder, known_jobs)
    for batch, found in prefetch(summaries, lookup.look_up, ahead):
        builder.apply_ledger(batch, found)
    del lookup, known_jobs, summaries  # they hold a scan of the ledger
    call_seconds = SIMULATED_SECONDS if config.simulated else TYPICAL_SECONDS
    mean_latency_ms = filled.read(queries.mean_latency_ms) if filled else None
    if mean_latency_ms:
        call_seconds = mean_latency_ms / 1000
    return replace(builder.build(call_seconds), selection=selection)


def _summarise(
    table: InputTable,
    expander: JobExpander,
    builder: PlanBuilder,
    known_jobs: KnownJobs | None,
) -> Iterator[BatchSummary]:
    for jobs in map(expander.expand, row_batches(table, expander)):
        if known_jobs:
            known_jobs.expect(table, jobs)
        yield builder.add(jobs)
