"""The simulator's own record of what it charged: append-only, one JSON line per authenticated call.

It is written before the answer is sent, so that a client's ledger can be compared with it after any accident.
The line of a submit that started a task is written when the task ends; polls have none, as they cost nothing.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pixmill.errors import UserError


class Entry(NamedTuple):
    """One call."""

    call: int
    """Its number, from 1."""

    key: str
    """The hash of what was asked for."""

    req_key: str

    code: int | str | None
    """The code of the answer; None where a fault broke the documented shape."""

    charged: bool

    request_id: str

    fault: int | None = None
    """The place in the faults file, from 0, of the rule that the call met."""

    images: int = 0
    """How many pictures it made."""

    task_id: str | None = None
    """The task that a submit started; None for any other call."""


class ProviderBill:
    """An open bill; without a path nothing is kept.

    Calls are numbered from the start of the server. Raises UserError where it can't be
    written.
    """

    def __init__(self, path: Path | None) -> None:
        self._file: int | None = None
        self._path = path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Appending, without a buffer: each write is a whole line at the end, also where
            # processes share a bill.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._file = os.open(path, flags, 0o644)
        except OSError as error:
            raise UserError(
                f"the bill {path} can't be written: {error.strerror}",
                hint="name a file in a folder of yours",
            ) from error

    def write(self, entry: Entry) -> None:
        """Append one line, whole or not at all."""
        if self._file is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **entry._asdict(),
        }
        text = json.dumps(line, allow_nan=False) + "\n"
        os.write(self._file, text.encode())

    def task_ids(self) -> Iterator[str]:
        """Yield the tasks that are on the bill."""
        if self._path is None:
            return
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                # Others may have written to the file, and a bill is long: most lines are of
                # calls without a task.
                if '"task_id": "' in line:
                    yield json.loads(line)["task_id"]

    def close(self) -> None:
        """Close the file; further calls can't be billed."""
        if self._file is not None:
            os.close(self._file)
