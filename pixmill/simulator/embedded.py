"""A simulator of one's own: a child process that ends with this one, however that ends."""

import hashlib
import os
import secrets
import selectors
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pixmill.errors import PixmillError
from pixmill.subprocesses import import_path, start_child, stop_child

START_SECONDS = 30

_PORTS = range(20_000, 30_000)  # below those that systems hand out to clients


@dataclass(frozen=True)
class Simulator:
    """A running simulator and the Bearer key that it accepts."""

    base_url: str
    bearer_key: str = field(repr=False)


@contextmanager
def embedded(
    bill: Path, *, latency: float = 0.2, faults: Path | None = None
) -> Iterator[Simulator]:
    """Run a simulator that appends to `bill` until the body ends; `latency` is in seconds, `faults` a file of them.

    The same bill gets the same port whenever that is free, so that image URLs outlive the process. Call it in the main
    thread (see `start_child`). Raises PixmillError if the simulator doesn't start.
    """
    bill = bill.resolve()
    key = f"simulated-{secrets.token_hex(16)}"
    arguments = [
        "-P",
        "-m",
        "pixmill.simulator",
        "--bill",
        str(bill),
        "--port",
        str(_usual_port(bill)),
    ]
    arguments += [
        "--latency",
        str(latency),
        *(["--faults", str(faults)] if faults else []),
    ]
    with tempfile.TemporaryFile() as complaints:
        process = start_child(
            arguments, _environment(key), stdout=subprocess.PIPE, stderr=complaints
        )
        try:
            yield Simulator(_base_url(process, complaints), key)
        finally:
            stop_child(process)


def _environment(key: str) -> dict[str, str]:
    # Real keys have no business in the simulator.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("VOLC_")
    }
    return {**inherited, "PIXMILL_API_KEY": key, "PYTHONPATH": import_path()}


def _usual_port(bill: Path) -> int:
    return _PORTS[
        int.from_bytes(hashlib.sha256(str(bill).encode()).digest()[:4], "big")
        % len(_PORTS)
    ]


def _base_url(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    line = _first_line(process.stdout) if process.stdout else ""
    if not line:
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().splitlines()
        raise PixmillError(
            f"the simulator did not start: {said[-1] if said else 'it said nothing'}"
        )
    return line


def _first_line(output: IO[bytes]) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        return (
            output.readline().decode().strip() if selector.select(START_SECONDS) else ""
        )
