"""Makes the plan of a run and publishes it, or skips both where a note of the last publication
(`pixmill.execution.published_note`) says that nothing changed since.
"""

from typing import NamedTuple

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET
from pixmill.datasets.provenance import is_built_in
from pixmill.datasets.publishing import Published, last_manifest, publish
from pixmill.execution.published_note import (
    UnchangedDataset,
    find_unchanged,
    hash_files,
    stamp_files,
    write_note,
)
from pixmill.ledger import Ledger, queries
from pixmill.ledger.revision import revision_of
from pixmill.planning.plan import Plan, Selection
from pixmill.planning.planner import make_plan


class RunPlan(NamedTuple):
    """A plan, and what decides whether it has to be published."""

    plan: Plan
    revision: str | None
    """Of the ledger, from before the plan was made; `None` where no note may be left."""
    unchanged: UnchangedDataset | None = None
    """The dataset that makes publishing the plan needless, if any."""


def plan_run(
    config: Config, ledger: Ledger, selection: Selection | None = None
) -> RunPlan:
    """Return the plan of a run as `make_plan` does, without a look at a row where it is
    known from a note.
    """
    # Whether config, table and ledger alone decide what a run finds.
    can_be_noted = (
        config.input.images == "url"
        and not config.input.local_images
        and not config.bucket
        # What is known of candidates is in no note.
        and config.quality.until is None
        and is_built_in(config)
    )
    revision = None
    if can_be_noted and selection is None:
        revision = ledger.read(revision_of)
    if revision:
        unchanged = find_unchanged(config, ledger, revision)
        if unchanged:
            return RunPlan(unchanged.plan, revision, unchanged)
    return RunPlan(make_plan(config, ledger, selection), revision)


def publish_plan(
    run_plan: RunPlan,
    ledger: Ledger,
    run_id: str,
    *,
    even_a_step_back: bool = False,
    scored_at: str | None = None,
) -> Published:
    """Publish a plan as `publish` does, unless what is published is what it would be.

    Leaves a note for the next run, but not where images may lack scores (`scored_at` is `None`).
    """
    plan = run_plan.plan
    folder = plan.config.dataset_folder
    if run_plan.unchanged and ledger.read(revision_of) == run_plan.revision:
        # The note was compared when the plan was made, and a person may have thought
        # about it for an hour.
        plan.table.check_unchanged()
        if stamp_files(folder) == run_plan.unchanged.stamps:
            return run_plan.unchanged.published
    published = publish(
        plan,
        ledger,
        run_id,
        even_a_step_back=even_a_step_back,
        scored_at=scored_at,
    )
    is_final = scored_at is not None and _is_final(plan, published)
    if run_plan.revision and is_final and not ledger.read(queries.has_claims):
        # Nobody wrote from before the plan until now, this run neither: all was read
        # from one state of the ledger.
        # The dataset was hashed when it was written.
        known = {DATASET: last_manifest(plan.config).get("sha256", "")}
        hashes = hash_files(folder, known)
        if hashes and ledger.read(revision_of) == run_plan.revision:
            write_note(plan, run_plan.revision, published, hashes)
    return published


def _is_final(plan: Plan, published: Published) -> bool:
    """Whether the next run would find nothing to do, whenever it comes."""
    counts = published.counts
    undone = (
        plan.to_do
        or plan.again
        or plan.has_images_to_fetch
        or counts.left
        or counts.elsewhere
        or counts.still_running
    )
    is_kept_out = published.images_kept is not None or published.refused is not None
    odd = plan.conflicts or plan.bad_images or is_kept_out
    return not undone and not odd
