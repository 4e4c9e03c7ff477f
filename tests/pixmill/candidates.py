"""Projects that draw candidates from a simulator whose pictures are not all good."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import Project, Simulated, run_config, simulator
from tests.pixmill.run_checks import faults_file

UNTIL = {"where": "not flag_blank", "candidates": 3}

DRAWN = [
    (1, 0, True, True),
    (2, 0, False, False),
    (2, 1, True, True),
    (3, 0, False, True),
    (3, 1, False, False),
    (3, 2, False, False),
    (4, 0, True, True),
]
"""What `summarize` returns of four rows whose candidates are drawn until `UNTIL`."""


@contextmanager
def blank_pictures(folder: Path) -> Iterator[Simulated]:
    """A simulator of which the first picture of the second row is blank, and every one of the third."""
    faults = faults_file(
        folder,
        {"prompt": "pet 1", "times": 1, "picture": "blank"},
        {"prompt": "pet 2", "picture": "blank"},
    )
    with simulator(folder, "--faults", str(faults)) as simulated:
        yield simulated


def draw_candidates(project: Project, simulated: Simulated, rows: int) -> None:
    """Run a config of so many rows until `UNTIL`."""
    project.write_rows(project.rows(rows))
    project.use_simulator(simulated)
    project.write_config(quality={"checks": ["blank"], "until": UNTIL})
    run_config(project.path)


def summarize(candidates: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return of each candidate its row, its number, and whether it is accepted and kept."""
    names = ("row_number", "candidate", "accepted", "kept")
    return [tuple(row[name] for name in names) for row in candidates]
