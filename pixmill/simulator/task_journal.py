"""The tasks of an account in a file beside its bill, for the simulator that comes next.

A simulator that runs beside a command ends with it, even when the command is killed. Its tasks
go on, as they do at the provider, and whoever continues the command asks the next simulator.
"""

import fcntl
import json
import os
from pathlib import Path

from pixmill.simulator.bill import Entry
from pixmill.simulator.tasks import SimulatedTask


class TaskJournal:
    """A file of tasks, one JSON line each; without a path nothing is kept.

    It belongs to one simulator at a time: of two that share a bill, the second keeps its tasks
    in memory, until the first has ended and left its own.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # Opened by the first call that is about tasks: most simulators have none.
        self._file: int | None = None
        self._is_ours = False

    def take_over(self) -> list[SimulatedTask]:
        """Return the tasks of simulators that have ended, the first time that this is possible."""
        if self._path is None or self._is_ours:
            return []
        if self._file is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._file = os.open(self._path, flags, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # The simulator before this one still ends.
            return []
        self._is_ours = True
        tasks = []
        with os.fdopen(os.dup(self._file), encoding="utf-8") as lines:
            lines.seek(0)
            for line in lines:
                task = SimulatedTask._make(json.loads(line))
                # JSON has no tuples.
                entry = Entry._make(task.entry)
                recipes = tuple(task.recipes)
                tasks.append(task._replace(entry=entry, recipes=recipes))
        return tasks

    def write(self, task: SimulatedTask) -> None:
        """Append a task that was started."""
        if self._file is not None and self._is_ours:
            line = json.dumps(task, allow_nan=False) + "\n"
            os.write(self._file, line.encode())

    def clear(self) -> None:
        """Forget all tasks: nobody can ask for them any more."""
        if self._file is not None and self._is_ours:
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Let the next simulator have the file."""
        if self._file is not None:
            os.close(self._file)
