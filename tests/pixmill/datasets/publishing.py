"""Publishing as other processes do it: again and again, or until a kill between two files."""

import os
import signal
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pixmill.cli import main
from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.publishing import publish
from pixmill.ledger import Ledger, open_ledger
from pixmill.planning.planner import make_plan


@contextmanager
def opened(config: Config) -> Iterator[Ledger]:
    ledger = open_ledger(config.store_path / "ledger.db")
    assert ledger
    try:
        yield ledger
    finally:
        ledger.close()


def edit_ledger(config: Config, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(config.store_path / "ledger.db")) as ledger, ledger:
        ledger.execute(statement, values)


def publish_versions(config: Config, versions: Iterable[str]) -> None:
    """Publish versions of the dataset that differ from all others in every row."""
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
        for version in versions:
            edit_ledger(config, "UPDATE jobs SET rephraser_result = ?", version)
            publish(plan, ledger, f"run-{version}")


def publish_often() -> None:
    """Publish forty versions of the config `sys.argv[1]` whose names begin with `sys.argv[2]`."""
    publish_versions(
        load_config(sys.argv[1]), [f"{sys.argv[2]}{version}" for version in range(40)]
    )


def run_and_die() -> None:
    """Be the command line, and be killed when the file `sys.argv[1]` would be put in place."""
    at = sys.argv.pop(1)
    replace = Path.replace

    def die(self: Path, target: Path) -> Path:
        if Path(target).name == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = die  # type: ignore[method-assign]
    main()
