"""One process that scores pictures, as those see it who ask: whatever happens in it costs nothing
but a score."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pixmill.subprocesses import import_path

START_SECONDS = 120.0
"""For imports and the loading of a model."""
ANSWER_SECONDS = 60.0
"""For one picture."""
MOST_FAILED_STARTS = 3
"""Processes that are started one after the other without an answer, before nobody is asked any
more: each may take the whole deadline."""

Question = Mapping[str, Any]
Answer = dict[str, Any]


class WorkerDied(Exception):
    """The process ended or was ended; the message says why."""


class WorkerProcess:
    """Asks a process of `pixmill.quality.worker`, which is started with the first question."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._failures = 0
        self.batch = 1
        """How many pictures it takes at once, known once it runs."""
        self.given_up: str | None = None
        """Why nobody is asked any more, `None` where somebody is."""

    def ask(self, pictures: Sequence[Question]) -> list[Answer | None]:
        """Return the answer for each picture: what was `found`, or the `reason` why nothing was;
        `None` where nobody was asked, as the process failed too often."""
        answers: list[Answer | None] = []
        while len(answers) < len(pictures):
            answers += self._ask_first(pictures[len(answers) :])
        return answers

    def _ask_first(self, pictures: Sequence[Question]) -> list[Answer | None]:
        """Return the answers for the first of `pictures`, as many as the process takes at once."""
        if self.given_up is None:
            try:
                self._start()
            except WorkerDied as error:
                # It would fail to start for the next picture as well.
                self.given_up = str(error)
        if self.given_up is not None:
            self.close()
            return [None] * len(pictures)
        part = pictures[: self.batch]
        try:
            answers = self._exchange(part)
            self._failures = 0
        except WorkerDied as error:
            self.close()
            failure = {"reason": str(error)}
            answers = [failure] * len(part)
            if len(part) == 1:
                self._failures += 1
            if self._failures >= MOST_FAILED_STARTS:
                self.given_up = str(error)
        if len(part) > 1 and all("reason" in answer for answer in answers):
            # One of them may be to blame: alone, the others get their scores.
            return [self._ask_first([picture])[0] for picture in part]
        return [*answers]

    def _start(self) -> None:
        """Start the process unless it runs. Raises WorkerDied where that is impossible."""
        if self._process:
            return
        self._buffer = b""
        self._process = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", "pixmill.quality.worker", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": import_path()},
            # Ctrl-C is for who asks: that one says when to end.
            start_new_session=True,
        )
        hello = self._read(START_SECONDS)
        if "reason" in hello:
            raise WorkerDied(f"it could not be loaded: {hello['reason']}")
        self.batch = hello["batch"]

    def _exchange(self, part: Sequence[Question]) -> list[Answer]:
        if self._process is None or self._process.stdin is None:
            raise WorkerDied("its process is not running")
        line = json.dumps(part, allow_nan=False) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except OSError:
            raise WorkerDied("its process ended") from None
        seconds = ANSWER_SECONDS * len(part)
        answers: list[Answer] = self._read(seconds)
        return answers

    def _read(self, seconds: float) -> Any:
        """Return the next line of the process. Raises WorkerDied where none comes within `seconds`."""
        deadline = time.monotonic() + seconds
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerDied("its process is not running")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise WorkerDied("it gave no answer in time")
                read = os.read(process.stdout.fileno(), 1 << 16)
                if not read:
                    raise WorkerDied(f"its process ended with {process.wait()}")
                self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """End the process. The next question starts another one."""
        process = self._process
        self._process = None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()
