"""The simulator's own record of what it charged: append-only, one JSON line per authenticated call.

It is written before the answer is sent, so that a client's ledger can be compared with it after any accident.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pixmill.errors import UserError


class Entry(NamedTuple):
    """One call. `key` is the hash of what was asked for, `code` None where a fault broke the documented shape.

    `fault` is the place in the faults file, from 0, of the rule that the call met.
    """

    call: int
    key: str
    req_key: str
    code: int | str | None
    charged: bool
    request_id: str
    fault: int | None = None


class ProviderBill:
    """An open bill; without a path nothing is kept. Calls are numbered from the start of the server."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else _open(path)

    def write(self, entry: Entry) -> None:
        """Append one line, whole or not at all: processes may share a bill."""
        if self._file is not None:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                **entry._asdict(),
            }
            os.write(self._file, json.dumps(line, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Close the file; further calls can't be billed."""
        if self._file is not None:
            os.close(self._file)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"the bill {path} can't be written: {error.strerror}",
            hint="name a file in a folder of yours",
        ) from error
