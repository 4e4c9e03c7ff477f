"""The paid task: Prefect runs it and retries it, and never decides what was paid."""

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

from pixmill.config.loading import load_config
from pixmill.errors import LedgerError, PixmillError
from pixmill.execution.prepare import prepare
from pixmill.execution.progress import ChunkCounts
from tasks.cv_process import cv_process
from tests.conftest import Project, Simulated

pytestmark = pytest.mark.slow  # importing Prefect takes seconds


def test_a_chunk_is_paid_for_and_its_counts_are_all_that_comes_back(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    with prepare(load_config(project.path)) as prepared:
        run = prepared.start()
        (chunk, *_) = run.chunks()
        assert cv_process.fn(run.run_id, chunk, chunk[0].label) == ChunkCounts(
            succeeded=1
        )
        assert cv_process.fn(run.run_id, chunk, chunk[0].label) == ChunkCounts(
            succeeded=1
        ), "from the ledger"
    assert simulated.bill.calls == 1


def test_a_run_of_another_process_can_not_be_taken_over() -> None:
    with pytest.raises(PixmillError, match="not running in this process"):
        cv_process.fn("20260101-000000-abcdef", [], "row 1")


def test_prefect_neither_caches_nor_stores_what_was_paid() -> None:
    """P4, P5: it takes a damaged result for a miss and would pay again."""
    assert cv_process.cache_policy is NO_CACHE
    assert cv_process.persist_result is False


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionError("gone"), True),
        (MemoryError(), True),
        (LedgerError("disk full"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_infrastructure_failures_are_retried(
    error: Exception, again: bool
) -> None:
    """What the library says itself stays so at a second try: a ledger that can't be written, a wrong config."""
    ask = cv_process.retry_condition_fn
    assert ask
    assert ask(cv_process, None, Failed(data=error)) is again
