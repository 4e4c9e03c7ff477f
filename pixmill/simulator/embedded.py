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

# Below those that systems hand out to clients.
_PORTS = range(20_000, 30_000)


@dataclass(frozen=True)
class Simulator:
    """A running simulator and the Bearer key that it accepts."""

    base_url: str
    """Where it is, `http://127.0.0.1:20123`."""

    bearer_key: str = field(repr=False)


@contextmanager
def run_simulator(
    bill: Path,
    *,
    latency: float = 0.2,
    faults: Path | None = None,
) -> Iterator[Simulator]:
    """Run a simulator that appends to `bill` until the body ends.

    `latency` is in seconds, `faults` a file of them. The same bill gets the same port
    whenever that is free, so that image URLs outlive the process. Call it in the main thread
    (see `start_child`). Raises PixmillError if the simulator doesn't start.

        with run_simulator(store / "bill.jsonl") as simulator:
            call(simulator.base_url, simulator.bearer_key)
    """
    bill = bill.resolve()
    digest = hashlib.sha256(str(bill).encode()).digest()
    port = _PORTS[int.from_bytes(digest[:4], "big") % len(_PORTS)]
    # -P keeps the working directory, and modules in it, out of the child's path.
    arguments = ["-P", "-m", "pixmill.simulator"]
    arguments += ["--bill", str(bill)]
    arguments += ["--port", str(port)]
    arguments += ["--latency", str(latency)]
    if faults:
        arguments += ["--faults", str(faults)]
    key = f"simulated-{secrets.token_hex(16)}"
    # Real keys have no business in the simulator.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("VOLC_")
    }
    environment["PIXMILL_API_KEY"] = key
    environment["PYTHONPATH"] = import_path()
    # A file, not a pipe: nobody reads it while the simulator runs, and a pipe would fill.
    with tempfile.TemporaryFile() as errors:
        process = start_child(
            arguments,
            environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            yield Simulator(_read_url(process, errors), key)
        finally:
            stop_child(process)


def _read_url(
    process: subprocess.Popen[bytes],
    errors: IO[bytes],
) -> str:
    """Wait for the URL that a simulator prints when it is ready."""
    url = ""
    if process.stdout:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if selector.select(START_SECONDS):
                # Empty if the process has ended.
                url = process.stdout.readline().decode().strip()
    if url:
        return url
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else "it printed nothing"
    raise PixmillError(f"the simulator did not start: {reason}")
