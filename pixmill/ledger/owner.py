"""Who holds a claim, and whether that process still lives: host, boot, pid and process start in one text.

A dead owner on this host is recognised at once: its boot id is another one, its pid is gone, or the pid now
belongs to a process that started later. An owner on another host is believed until its lease ends.
"""

import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pixmill.ledger.schema import now_micros


def this_owner() -> str:
    """Return the owner text of this process, which a fork of it does not share."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> str:
    return f"{socket.gethostname()}|{_boot_id()}|{pid}|{_process_start(pid)}"


def is_dead(owner: str, lease_until: int | None, clock: Callable[[], int] = now_micros) -> bool:
    """Say whether the process named by `owner` can't be sending any more.

    `lease_until` is in microseconds, of the `clock` that the lease goes by.
    """
    host, boot, pid, start = owner.rsplit("|", 3)
    if host != socket.gethostname():
        return lease_until is None or lease_until < clock()
    return boot != _boot_id() or start != _process_start(int(pid))


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux: process start times tell boots apart well enough
        return "-"


def _process_start(pid: int) -> str:
    """Return a text that differs for two processes that had the same pid; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _exists(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return (
        "" if state in ("Z", "X") else fields[18]
    )  # field 22 of the line: start time in ticks since boot


def _exists(pid: int) -> str:
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
