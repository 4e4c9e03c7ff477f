"""Scenes of whole runs: from the table to the published dataset, without Prefect and without the report's page."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from pixmill.config.loading import load_config
from pixmill.datasets import dry_publication, report
from pixmill.datasets.verification import verify
from pixmill.execution.repair import repair
from pixmill.ledger import State
from tests.conftest import Project, run_config
from tests.crash.sandboxes import CONCURRENCY, Sandbox, Scene, silence
from tests.pixmill.execution.test_run_upgrade import to_version_1
from tests.pixmill.run_checks import check_run

ROWS = 6

Act = Callable[[str], Any]


def write(sandbox: Sandbox, rows: int) -> Project:
    """Write a table of `rows` rows and a config that pays for them at the provider; return them."""
    project = Project(sandbox.folder)
    sandbox.folder.mkdir(exist_ok=True)
    project.write_rows(project.rows(rows))
    project.write_config(
        provider={
            "kind": "gateway",
            "base_url": f"{sandbox.provider.url}/{sandbox.tag}",
        },
        limits={"concurrency": CONCURRENCY},
        output={"allow_hosts": ["127.0.0.1"]},
        budget={"max_calls": 100_000},
    )
    return project


def carried_out(config: str) -> dict[str, Any]:
    """Carry a config out, but for what takes as long as all the rest: its page and its dry publication.

    The one is no part of what must survive, the other writes nothing to the store.
    """
    report.write_report = lambda *_, **__: None  # type: ignore[assignment,return-value]
    dry_publication.publish_dry = lambda _: None  # type: ignore[assignment]
    return run_config(config)


def template(sandbox: Sandbox, rows: int) -> Sandbox:
    """The sandbox beside `sandbox` where `rows` rows are paid for and published; made at its first use."""
    made = sandbox._replace(
        folder=sandbox.folder.parent / f"paid-{rows}", tag=f"paid-{rows}"
    )
    if not made.folder.exists():
        write(made, rows)
        child = os.fork()
        if child == 0:
            silence(made)
            carried_out(made.config)
            os._exit(0)
        os.waitpid(child, 0)
    return made


def set_up(
    sandbox: Sandbox, paid: int, rows: int, harm: Callable[[Sandbox], object]
) -> None:
    """Make a store in which `paid` rows of a table of `rows` are paid for and published, and do `harm` to it."""
    write(sandbox, rows)
    if paid:
        shutil.copytree(template(sandbox, paid).store, sandbox.store)
    harm(sandbox)


def lose_images(sandbox: Sandbox) -> None:
    for path in sorted(sandbox.store.glob("images/*/*"))[::2]:
        path.unlink()


def check_readable(sandbox: Sandbox, paid: int, rows: int) -> None:
    """I5: whoever reads now gets the version before or the one after."""
    path = sandbox.store / "pets" / "dataset.parquet"
    if paid or path.exists():
        table = pq.read_table(path, page_checksum_verification=True)
        assert table.num_rows in (paid, rows)


def check_recovered(sandbox: Sandbox, in_flight: int, paid: int, rows: int) -> None:
    """I1: what was acknowledged is published. I2, I3, I4 by the bill. I12: a further run finds nothing to do."""
    before = sandbox.provider.charges(f"paid-{paid}") if paid else []
    report = carried_out(sandbox.config)
    published = check_run(
        sandbox.config, report, [*before, *sandbox.provider.charges(sandbox.tag)]
    )
    assert report["calls"] == 0
    assert report["images_missing"] == 0
    assert report["in_doubt"] <= in_flight
    assert report["succeeded"] + report["in_doubt"] == rows
    check_acknowledged(sandbox, published)
    assert verify(load_config(sandbox.config)).findings == []
    assert list((sandbox.store / "pets").glob(".*.tmp")) == []


def check_acknowledged(sandbox: Sandbox, published: list[dict[str, Any]]) -> None:
    by_key = {row["job_key"]: row for row in published}
    for mark in sandbox.acknowledged("record"):
        if mark["state"] == State.SUCCEEDED:
            row = by_key[mark["key"]]
            assert (row["status"], row["request_id"]) == (
                "succeeded",
                mark["request_id"],
            )


def scene(
    *,
    paid: int = 0,
    rows: int = ROWS,
    act: Act = carried_out,
    harm: Callable[[Sandbox], object] = lambda _: None,
) -> Scene:
    """A scene of runs; `act` is what is disturbed."""
    return Scene(
        set_up=partial(set_up, paid=paid, rows=rows, harm=harm),
        act=lambda sandbox: act(sandbox.config),
        check=partial(check_recovered, paid=paid, rows=rows),
        look=partial(check_readable, paid=paid, rows=rows),
    )


WHOLE_RUNS = {
    "a new store": scene(),
    "a store that grows": scene(paid=3),
    "an upgrade": scene(
        paid=3, rows=4, harm=lambda sandbox: to_version_1(sandbox.config)
    ),
    "a repair": scene(
        paid=4, rows=4, act=lambda config: repair(load_config(config)), harm=lose_images
    ),
}
