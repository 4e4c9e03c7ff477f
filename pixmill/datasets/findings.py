"""What a verification found: what was read, and what is wrong with it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

LISTED = 10_000
"""Findings that are kept in full.

Beyond them they are only counted, so that a store without images needs no memory.
"""

PUBLISH_AGAIN = "`pixmill repair` publishes it again, without paying"
"""The remedy where the ledger has what the dataset lacks."""


class Finding(NamedTuple):
    """One thing that is wrong."""

    file: str

    problem: str
    """What kind of thing, in one word."""

    message: str
    """What about the file, to follow its name."""

    remedy: str
    """How to put it right."""

    row_number: int | None = None
    """The first row that it is about."""


@dataclass
class Verified:
    """What was read and what is wrong with it."""

    shown: Callable[[Path], str] = str
    """Returns what a file is called: its path, or its URL."""

    rows: int = 0
    """How many were read; so are the next two."""

    images: int = 0
    versions: int = 0

    problems: Counter[str] = field(default_factory=Counter)
    """How many findings there are of each kind."""

    findings: list[Finding] = field(default_factory=list)
    """The first `LISTED` of them."""

    def add(self, finding: Finding) -> None:
        """Record something wrong."""
        self.problems[finding.problem] += 1
        if len(self.findings) < LISTED:
            self.findings.append(finding)

    @property
    def exit_code(self) -> int:
        """0 where all is right, else 3."""
        return 3 if self.problems else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "exit_code": self.exit_code,
            "rows": self.rows,
            "images": self.images,
            "versions": self.versions,
            "wrong": self.problems.total(),
            "problems": dict(self.problems),
            "findings": [finding._asdict() for finding in self.findings],
        }
