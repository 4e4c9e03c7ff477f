"""Watching a forked child's system calls: at each one that could change a disk or a wire it may die or fail.

The same that `strace -f -e inject=…:when=N` does, with three differences that matter here. Calls of all threads are
counted in one order, so the N-th call is one moment of the process. A seccomp filter stops the child at the watched
calls only, and no tracer process is started, so a kill costs milliseconds. And the watcher sees what is written, for
`tests.crash.disk`. Linux on x86-64: ptrace(2), seccomp(2).
"""

import ctypes
import os
import platform
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

KILL = -1
"""What a watcher returns to have the child killed in place of the call; an errno makes the call fail, 0 lets it go."""

CALLS = {
    1: "write",
    18: "pwrite64",
    20: "writev",
    40: "sendfile",
    44: "sendto",
    45: "recvfrom",
    46: "sendmsg",
    74: "fsync",
    75: "fdatasync",
    76: "truncate",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    257: "openat",
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    277: "sync_file_range",
    285: "fallocate",
    296: "pwritev",
    316: "renameat2",
    326: "copy_file_range",
}
"""The watched calls by their numbers on x86-64."""

_PATH_ARGUMENTS = {
    "truncate": (0,),
    "rename": (0, 1),
    "mkdir": (0,),
    "rmdir": (0,),
    "link": (0, 1),
    "unlink": (0,),
    "openat": (1,),
    "mkdirat": (1,),
    "unlinkat": (1,),
    "renameat": (1, 3),
    "linkat": (1, 3),
    "renameat2": (1, 3),
}
_CHANGING = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_TRACEME, _CONT, _GETREGS, _SETREGS, _SETOPTIONS = 0, 7, 12, 13, 0x4200
_OPTIONS = (
    0x8 | 0x80 | 0x100000
)  # follow threads, stop at filtered calls, no tracee outlives the tracer
_EVENT_SECCOMP = 7
_WAIT_ALL = 0x40000000
_REGISTERS = struct.Struct("27Q")
_RAX, _ORIG_RAX = 10, 15
_ARGUMENTS = (
    14,
    13,
    12,
    7,
    9,
    8,
)  # rdi rsi rdx r10 r8 r9, by their places in user_regs_struct
_NO_NEW_PRIVILEGES, _SET_SECCOMP = 38, 22


class Call(NamedTuple):
    """A call that is about to be made: its name, the paths that it is about, its raw arguments.

    A call on a file descriptor is about the path that this is open on; `socket:[…]` is one to the network.
    """

    pid: int
    name: str
    paths: tuple[str, ...]
    arguments: tuple[int, ...]

    def data(self) -> bytes:
        """The bytes that a write is about to write."""
        return _memory(self.pid, self.arguments[1], self.arguments[2])

    def offset(self) -> int:
        """Where a write begins."""
        if self.name == "pwrite64":
            return self.arguments[3]
        lines = (
            Path(f"/proc/{self.pid}/fdinfo/{self.arguments[0]}")
            .read_text()
            .splitlines()
        )
        fields = dict(
            line.split(":\t") for line in lines if line.startswith(("pos", "flags"))
        )
        appends = int(fields["flags"], 8) & os.O_APPEND
        return Path(self.paths[0]).stat().st_size if appends else int(fields["pos"])

    def changes(self) -> bool:
        """Whether it could change anything: opening a file to read it does not."""
        return self.name != "openat" or bool(self.arguments[2] & _CHANGING)


Watcher = Callable[[Call], int]


def why_not() -> str | None:
    """Why nothing can be watched here, if so. Forks a child to try."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "watching system calls is written for Linux on x86-64"
    seen: list[str] = []
    status = watched(
        lambda: os.mkdir("/proc/nothing"),  # noqa: PTH102
        lambda call: seen.append(call.name) or 17,
    )
    return None if seen and status == 1 else "ptrace is not permitted here"


def watched(work: Callable[[], object], watch: Watcher) -> int:
    """Run `work` in a forked child, asking `watch` at each call that changes something.

    Returns the exit code of the child, negative for a signal: 0 where `work` returned, 1 where it raised.
    """
    child = os.fork()
    if child == 0:
        _be_watched(work)
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    _ptrace(_CONT, child, 0)
    while True:
        thread, status = os.waitpid(-1, _WAIT_ALL)
        if not os.WIFSTOPPED(status):
            if thread == child:
                return os.waitstatus_to_exitcode(status)
        elif status >> 16 == _EVENT_SECCOMP:
            _decide(child, thread, watch)
        else:
            is_event = status >> 16 or os.WSTOPSIG(status) == signal.SIGSTOP
            _ptrace(_CONT, thread, 0 if is_event else os.WSTOPSIG(status))


def _decide(child: int, thread: int, watch: Watcher) -> None:
    buffer = ctypes.create_string_buffer(_REGISTERS.size)
    if not _ptrace(_GETREGS, thread, ctypes.addressof(buffer)):
        return  # it was killed meanwhile
    registers = list(_REGISTERS.unpack(buffer.raw))
    call = _call(
        child, CALLS[registers[_ORIG_RAX]], tuple(registers[at] for at in _ARGUMENTS)
    )
    fate = watch(call) if call.changes() else 0
    if fate == KILL:
        os.kill(child, signal.SIGKILL)
    elif fate:
        registers[_ORIG_RAX], registers[_RAX] = 2**64 - 1, 2**64 - fate
        buffer.raw = _REGISTERS.pack(*registers)
        _ptrace(_SETREGS, thread, ctypes.addressof(buffer))
    _ptrace(_CONT, thread, 0)


def _call(pid: int, name: str, arguments: tuple[int, ...]) -> Call:
    if name in _PATH_ARGUMENTS:
        paths = tuple(_text(pid, arguments[at]) for at in _PATH_ARGUMENTS[name])
    else:
        number = arguments[2 if name == "copy_file_range" else 0]
        paths = (_opened(pid, number),)
    return Call(pid, name, paths, arguments)


def _opened(pid: int, descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115
    except OSError:
        return ""


def _memory(pid: int, address: int, length: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        return os.pread(memory.fileno(), length, address)


def _text(pid: int, address: int) -> str:
    within_page = 4096 - address % 4096
    text = _memory(pid, address, within_page)
    if b"\0" not in text:
        text += _memory(pid, address + within_page, 4096)
    return os.fsdecode(text.partition(b"\0")[0])


def _ptrace(request: int, thread: int, data: int) -> bool:
    """Whether it could be done: a thread that is killed can't be asked any more."""
    return bool(_libc.ptrace(request, thread, None, data) >= 0)


def _be_watched(work: Callable[[], object]) -> None:
    """Never returns: the child ends here, whatever happens in it."""

    def watched_work() -> None:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _stop_at(sorted(CALLS))
        work()

    end_with(watched_work)


def end_with(work: Callable[[], object]) -> None:
    """Do `work` and end this process: 0 where it returned, 1 where it raised. Never returns."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _stop_at(numbers: list[int]) -> None:
    """Install a filter that stops this process, and its threads to come, at the calls `numbers`: BPF, seccomp(2)."""
    jump_if_equal, load, give = 0x15, 0x20, 0x06
    allow, trace = 0x7FFF0000, 0x7FF00000
    jumps = [
        (jump_if_equal, len(numbers) - at, 0, number)
        for at, number in enumerate(numbers)
    ]
    program = [(load, 0, 0, 0), *jumps, (give, 0, 0, allow), (give, 0, 0, trace)]
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *line) for line in program)
    )
    header = ctypes.create_string_buffer(
        struct.pack("H6xQ", len(program), ctypes.addressof(code))
    )
    zero = ctypes.c_ulong(0)
    _libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero)
    if _libc.prctl(
        _SET_SECCOMP,
        ctypes.c_ulong(2),
        ctypes.c_void_p(ctypes.addressof(header)),
        zero,
        zero,
    ):
        raise OSError(ctypes.get_errno(), "no filter of system calls can be installed")
