"""A whole run, Prefect and its server included, beside a bare `requests` pool on the same server; in turns, in one run.

    python benchmarks/whole_run.py [JOBS [TURNS]]     # default: 6000 2

`pixmill run` goes as the process that a user starts: plan, Prefect's embedded server, a flow with its task runs, a
full ledger, publication. The server that answers is a process of its own that knows nothing of pixmill: it reads a
request and sends one fixed answer, at once. No latency, 32 calls in flight, `output.images: url`. Two figures a turn:

* paying: from the first call sent to the last one answered, as the ledger has it. The start of Prefect's server, the
  plan and the publication are outside; task runs and everything else that goes on meanwhile are inside;
* the command: from its start to its end, all of it inside. The pool, against whose seconds both are set, has no start.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

from account import KEY, ask, session, write_config

THREADS = 32
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Turn(NamedTuple):
    """Seconds of one turn: of the pool, and of pixmill, from call to call and from the command's start to its end."""

    pool: float
    paying: float
    command: float


class Answering(asyncio.Protocol):
    """Answers every request of a connection with the same success."""

    answer = b""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once a request is there as a whole; nobody sends two at once."""
        self._received += data
        head, end, body = self._received.partition(_END_OF_HEAD)
        length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length):
            self._received = b""
            self._transport.write(self.answer)


async def serve() -> None:
    """Print a port of 127.0.0.1 and answer there until the process is ended."""
    body = json.dumps(
        {
            "code": 10000,
            "data": {
                "image_urls": [
                    "https://images.example.com/made.png?x-expires=4102444800"
                ]
            },
            "message": "Success",
            "request_id": "20250101000000000000000000000000",
            "status": 10000,
            "time_elapsed": "1.5ms",
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    Answering.answer = head.encode() + body
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def answering() -> Iterator[str]:
    """Run the server; yield its URL."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


def pool(url: str, jobs: int) -> float:
    """Return the seconds of a thread pool over one `requests.Session`: no ledger, no retries, nothing kept."""
    begun = time.perf_counter()
    with session(THREADS) as connections, ThreadPoolExecutor(THREADS) as threads:
        codes = set(threads.map(lambda at: ask(connections, url, at), range(jobs)))
    assert codes == {10000}
    return time.perf_counter() - begun


def run(folder: Path, url: str, jobs: int) -> tuple[float, float]:
    """Return the seconds of `pixmill run` from call to call and from start to end."""
    folder.mkdir(exist_ok=True)
    limits = {"qps": 100_000, "concurrency": THREADS}
    config = write_config(folder, url, jobs, limits)
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    environment.pop("PREFECT_API_URL", None)
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pixmill", "run", str(config), "--yes"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    command = time.perf_counter() - begun
    with sqlite3.connect(folder / "out" / "simulated" / "ledger.db") as ledger:
        calls, first, last = ledger.execute(
            "SELECT count(*), min(sent_at), max(answered_at) FROM attempts WHERE verdict = 'succeeded'"
        ).fetchone()
    assert calls == jobs
    return (last - first) / 1e6, command


def main() -> None:
    """Print a line for every turn, then the ratios."""
    if "--serve" in sys.argv:
        asyncio.run(serve())
        return
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    os.environ["PIXMILL_API_KEY"] = KEY
    taken: list[Turn] = []
    with tempfile.TemporaryDirectory() as name, answering() as url:
        for number in range(turns):
            before = pool(url, jobs)
            paying, command = run(Path(name) / f"turn-{number}", url, jobs)
            turn = Turn((before + pool(url, jobs)) / 2, paying, command)
            taken.append(turn)
            print(
                f"{jobs:,} jobs: paying {jobs / turn.paying:,.0f} jobs/s, pool {jobs / turn.pool:,.0f} calls/s: "
                f"{turn.pool / turn.paying:.2f} x; the whole command {turn.command:.1f} s",
                flush=True,
            )
    paying = geometric_mean(turn.pool / turn.paying for turn in taken)
    command = geometric_mean(turn.pool / turn.command for turn in taken)
    print(f"paying {paying:.2f} x the pool, the whole command {command:.2f} x")


if __name__ == "__main__":
    main()
