"""Processes that start at once: each is forked from a server, which has imported what pixmill imports.

They are real processes: their own memory and signals, an exit code, a stdout and a stderr. What a fork can't prove is
how a fresh interpreter starts and is taken down; tests of that start `python -m pixmill`.
"""

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, NamedTuple

from pixmill.subprocesses import die_with_parent

ROOT = Path(__file__).parent.parent

COMMAND = "pixmill.cli:main"
"""The command line, as `python -m pixmill` calls it."""

QUICK_COMMAND = "tests.quick_painter:main"
"""The same, but its simulators paint quickly."""

RUN = "import sys; from tests.conftest import run_config; run_config(sys.argv[1])"
"""Code that runs the config which is its argument, without a command."""

IMPORTED = """
pixmill.cli pixmill.config.loading pixmill.planning.plan pixmill.planning.planner pixmill.execution.run
pixmill.execution.status pixmill.execution.spending_rules pixmill.execution.retry_selection
pixmill.execution.repair pixmill.datasets.verification pixmill.ledger.billing.bill
pixmill.ledger.billing.reconciliation pixmill.datasets.export pixmill.datasets.compare
pixmill.datasets.report pixmill.planning.promotion pixmill.cli.embedded_prefect
pixmill.cli.prefect_settings pixmill.execution.run_summary pixmill.simulator.app
pixmill.simulator.faults pixmill.simulator.fault_rules pixmill.simulator.fault_effects
pixmill.simulator.painting.painter pixmill.simulator.connection_faults uvicorn
uvicorn.loops.asyncio PIL.JpegImagePlugin sqlalchemy.dialects.sqlite pyarrow.parquet pyarrow.csv
numpy.ma dateutil.relativedelta typer._adapters encodings.idna encodings.utf_8_sig
pyarrow.dataset pyarrow.acero typer._click.decorators encodings.unicode_escape encodings.ascii
pixmill.api.functions pixmill.datasets.dry_publication pixmill.ledger.stats tests.quick_painter
""".split()  # noqa: SIM905 - a list to be read

PREFECT = (
    "flows.generate",
    "prefect.events.worker",
    "prefect.task_runners",
    "pixmill.cli.progress",
)


class ForkedProcess:
    """A process that was forked; what `subprocess.Popen` has, as far as it is asked for here."""

    def __init__(self, stdout: IO[str], stderr: IO[str], report: IO[str]) -> None:
        self.stdout, self.stderr, self._report = stdout, stderr, report
        self.pid = int(report.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal; raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("forked", timeout or 0)
            self.returncode = int(self._report.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their ends and wait; raises TimeoutExpired."""
        said: dict[IO[str], str] = {}
        streams = (self.stdout, self.stderr)
        readers = [
            threading.Thread(
                target=lambda of: said.update({of: of.read()}), args=(of,), daemon=True
            )
            for of in streams
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
        if len(said) < len(streams):
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        self.wait(timeout)
        return said[self.stdout], said[self.stderr]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None and not select.select([self._report], [], [], 0)[0]:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close its streams, once it has ended."""
        for stream in (self.stdout, self.stderr, self._report):
            stream.close()


class ForkedSimulator:
    """A built-in simulator that was forked; what `stop_child` and whoever reads its URL ask for."""

    def __init__(self, process: ForkedProcess) -> None:
        self._process = process
        self.pid = process.pid
        assert isinstance(process.stdout, TextIOWrapper)
        self.stdout = process.stdout.buffer
        self.stderr = None

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, and let go of what is open here; raises TimeoutExpired."""
        code = self._process.wait(timeout)
        self._process.close()
        return code


class ForkRequest(NamedTuple):
    """What a process is to do: call the function `module:name` with these words in `sys.argv`."""

    function: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


class ForkServer:
    """A process that forks processes for this one. It ends when this one ends, however that is.

    With the settings of `prefect`, which Prefect reads while it is imported, it has imported the flow, too.
    """

    def __init__(self, prefect: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._one_at_a_time = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.fork_server",
                    str(theirs.fileno()),
                    *prefect,
                ],
                cwd=ROOT,
                env={**os.environ, **prefect, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, order: ForkRequest) -> ForkedProcess:
        """Start a process with pipes for its stdout and stderr, in a session of its own."""
        pipes = [os.pipe() for _ in range(3)]
        text = json.dumps(order).encode()
        with self._one_at_a_time:
            socket.send_fds(
                self._control,
                [len(text).to_bytes(4, "big")],
                [ours for _, ours in pipes],
            )
            self._control.sendall(text)
        for _, theirs in pipes:
            os.close(theirs)
        return ForkedProcess(*(os.fdopen(ours, encoding="utf-8") for ours, _ in pipes))

    def close(self) -> None:
        """End the server."""
        self._control.close()
        self._process.wait(30)


_started: dict[tuple[tuple[str, str], ...], ForkServer] = {}


def fork_server(prefect: Mapping[str, str]) -> ForkServer:
    """The fork server that all tests of this one share; `close_fork_servers` ends it."""
    key = tuple(prefect.items())
    if key not in _started:
        _started[key] = ForkServer(prefect)
    return _started[key]


def close_fork_servers() -> None:
    """End what was started."""
    while _started:
        _started.popitem()[1].close()


@contextmanager
def fork_process(
    function: str,
    *arguments: str,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    prefect: Mapping[str, str] | None = None,
) -> Iterator[ForkedProcess]:
    """Start `module:function` with `arguments` in `sys.argv`; it is killed when the body ends."""
    named = dict(os.environ if environment is None else environment)
    process = fork_server(prefect or {}).start(
        ForkRequest(function, list(arguments), str(folder), named)
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.close()


def fork_simulator(
    arguments: Sequence[str], environment: Mapping[str, str], **_streams: object
) -> ForkedSimulator:
    """Start the simulator that `start_child` would start with `-P -m pixmill.simulator`."""
    request = ForkRequest(
        "tests.quick_painter:serve_simulator",
        list(arguments[3:]),
        str(ROOT),
        dict(environment),
    )
    return ForkedSimulator(fork_server({}).start(request))


@contextmanager
def fork_code(code: str, *arguments: str) -> Iterator[ForkedProcess]:
    """Start a process that carries out `code` as `python -c` does; it is killed when the body ends."""
    with fork_process("tests.fork_server:run_code", code, *arguments) as process:
        yield process


def run_code() -> None:
    """Carry out the Python code in `sys.argv[1]`, with what follows as its arguments."""
    code = sys.argv.pop(1)
    exec(compile(code, "-c", "exec"), {"__name__": "__main__"})


def serve(control: socket.socket) -> ForkRequest | None:
    """Fork for each order until the other side is gone. Returns twice: in a child its order, at the end None."""
    while True:
        length, fds, _, _ = socket.recv_fds(control, 4, 3)
        if not length:
            _end_shepherds()
            return None
        order = ForkRequest(
            *json.loads(_received(control, int.from_bytes(length, "big")))
        )
        if _is_child(*fds):
            control.close()
            _become(order)
            return order
        for fd in fds:
            os.close(fd)


def _received(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += control.recv(size - len(data))
    return data


def _is_child(stdout: int, stderr: int, report: int) -> bool:
    # A process of its own waits for the child, so that this one can wait for orders.
    shepherd = os.fork()
    if shepherd:
        _reap()
        return False
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        for fd in (stdout, stderr, report):
            os.close(fd)
        return True
    os.dup2(report, 0)
    os.closerange(1, 256)  # or the shepherd would hold open what the child closes
    os.write(0, f"{pid}\n".encode())
    os.write(0, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
    os._exit(0)


def _end_shepherds() -> None:
    """Leave no process behind when the tests were killed: a shepherd's end ends its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _become(order: ForkRequest) -> None:
    os.setsid()
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    sys.argv = ["pixmill", *order.arguments]


def _run(order: ForkRequest) -> None:
    """Run as a program does, and end as one does but for the teardown of modules, which takes longer than the rest."""
    module, _, function = order.function.partition(":")
    code: object = None
    try:
        getattr(importlib.import_module(module), function)()
    except SystemExit as ending:
        code = ending.code
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends what it forked
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else bool(code))


def _main(control: str, *prefect: str) -> None:
    if prefect:
        from pixmill.cli.prefect_settings import configure_prefect

        configure_prefect()
    for name in (*IMPORTED, *(PREFECT if prefect else ())):
        importlib.import_module(name)
    gc.freeze()  # a collection in a child would copy all pages
    order = serve(socket.socket(fileno=int(control)))
    if order:
        _run(order)


if __name__ == "__main__":
    _main(*sys.argv[1:])
