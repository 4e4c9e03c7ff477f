"""How pixmill's own processes take memory: what is freed goes back to the system.

Arrow's usual pool and the C library's arenas, one for each few threads, keep what they were given
for the next time. A run that streams a large table through many threads would hold several times
what it ever needs at once.
"""

import ctypes
import os
import sys

_MALLOC_OPTIONS = {
    # One arena for the interpreter's threads, which take turns anyway, and one for those of
    # libraries: each keeps what was freed in it.
    "MALLOC_ARENA_MAX": (-8, 2),
    # What is larger goes back to the system when it is freed. Left alone, the limit grows with the
    # largest block that was freed: after the 16 MB of a large plan, all texts and columns of
    # batches would lie scattered in the arenas.
    "MALLOC_MMAP_THRESHOLD_": (-3, 1 << 20),
    # With a limit of one's own, malloc would give back each 128 KB at the end of an arena, and take
    # them again.
    "MALLOC_TRIM_THRESHOLD_": (-1, 16 << 20),
}
"""How glibc's malloc is set, by the variable of the environment that has precedence: the number by
which `mallopt` knows the option, and its value."""

_BLOCK_WHILE_PAYING = 256 << 10


def keep_little_memory() -> None:
    """Let this process, and those that it starts, give back what they free.

    For processes that are pixmill's alone: it changes how every other library in them takes memory.
    To be called before threads are started; a pool that the environment names stays.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        # Read when pyarrow is imported.
        os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
        if "pyarrow" in sys.modules:
            # Here and now, as commands that need no table do without it.
            import pyarrow as pa

            pa.set_memory_pool(pa.system_memory_pool())
    for variable, (option, value) in _MALLOC_OPTIONS.items():
        _set_option(variable, option, value)


def keep_less_memory() -> None:
    """Let a process that pays keep less memory than `keep_little_memory` does.

    It holds Prefect as well, some 100 MB, and publishes at the end. Blocks from 256 KB on go back at
    once, for which the system needs a tenth of a publication's time.
    """
    variable = "MALLOC_MMAP_THRESHOLD_"
    option, _ = _MALLOC_OPTIONS[variable]
    _set_option(variable, option, _BLOCK_WHILE_PAYING)


def _set_option(variable: str, option: int, value: int) -> None:
    if sys.platform == "linux" and variable not in os.environ:
        # Other C libraries than glibc have no such options.
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option:
            set_option(option, value)


def give_back() -> None:
    """Return to the system what was freed since, where the C library can.

    It keeps what lies between blocks in use: after thousands of batches, each of texts and arrays of
    other sizes, that is more than all that is in use. It takes some milliseconds, in which no
    thread can take memory.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
