"""Who holds a claim, and whether that process still lives: where it runs, its pid and its start in
one text.

A pid says something only where it is counted: on one machine, since one boot, in one pid namespace.
Where all of that agrees, a dead owner is recognised at once: its pid is gone, or now belongs to a
process that started later. Everything else (another host, a container beside this one, a reboot, no
/proc) is not certain: such an owner is believed until its lease ends.
"""

import os
import secrets
import socket
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

from pixmill.ledger.schema import now_micros

_UNKNOWN = "-"


def this_owner() -> str:
    """Return the owner text of this process, which a fork of it does not share."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> str:
    # Where no start can be read, pids of two machines may be the same, and nothing else
    # distinguishes the processes.
    start = _process_start(pid) or secrets.token_hex(6)
    return f"{_place(pid)}|{pid}|{start}"


def is_dead(
    owner: str, lease_until: int | None, clock: Callable[[], int] = now_micros
) -> bool:
    """Say whether the process named by `owner` can't be sending any more.

    `lease_until` is in microseconds, of the `clock` that the lease goes by.
    """
    if owner == this_owner():
        return False
    process, _, start = owner.rpartition("|")
    place, _, pid = process.rpartition("|")
    # Pids are looked up only where it is certain that they are counted here. An earlier version
    # wrote less of the place: its owner never seems to be here, and is believed until its lease
    # ends.
    here = _place(os.getpid())
    _, _, namespace, boot = here.rsplit("|", 3)
    is_here = place == here and _UNKNOWN not in (namespace, boot)
    found = _process_start(int(pid)) if is_here else None
    if found is not None:
        return found != start
    return lease_until is None or lease_until < clock()


@cache
def _place(_pid: int) -> str:
    """Return host name, machine, pid namespace and boot of this process.

    The name and the machine id of cloned machines and of containers may be the same, so that
    neither is enough by itself. `_pid` is this process's own: a fork has another one, so that it
    does not get the place that its parent has in the cache.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = _UNKNOWN
    machine = _read("/etc/machine-id")
    if machine != _UNKNOWN:
        # By itself it is confidential (machine-id(5)).
        machine = sha256(f"pixmill {machine}".encode()).hexdigest()[:12]
    return "|".join(
        (
            socket.gethostname(),
            machine,
            namespace,
            _read("/proc/sys/kernel/random/boot_id"),
        )
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip() or _UNKNOWN
    except (OSError, ValueError):
        return _UNKNOWN


def _process_start(pid: int) -> str | None:
    """Return a text that differs for two processes that had the same pid.

    It is empty where there is no such process, and `None` where this process can't tell.
    """
    try:
        if str(Path("/proc/self").readlink()) != str(os.getpid()):
            # What is mounted there counts the pids of another namespace.
            return None
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None if _exists(pid) else ""
    except OSError:
        # No file can be opened, or not that one.
        return None
    state, *fields = stat.rpartition(b")")[2].decode().split()
    # Field 22 of the line: start time in ticks since boot.
    return "" if state in ("Z", "X") else fields[18]


def _exists(pid: int) -> bool:
    """Whether there is such a process, be it one that is hidden from this one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
