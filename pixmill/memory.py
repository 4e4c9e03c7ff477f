"""How pixmill's own processes take memory: what is freed goes back to the system.

Arrow's usual pool and the C library's arenas, one for each few threads, keep what they were given for the next time.
A run that streams a large table through many threads would hold several times what it ever needs at once.
"""

import ctypes
import os
import sys

_ARENAS = 2
"""One for the interpreter's threads, which take turns anyway, and one for those of libraries."""

_M_ARENA_MAX = -8
"""The number by which glibc's `mallopt` knows the limit of arenas."""


def keep_little() -> None:
    """Let this process, and those that it starts, give back what they free.

    For processes that are pixmill's alone: it changes how every other library in them takes memory. To be called
    before threads are started; a pool that the environment names stays.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        # Read when pyarrow is imported.
        os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
        if "pyarrow" in sys.modules:
            # Here and now, as commands that need no table do without it.
            import pyarrow as pa

            pa.set_memory_pool(pa.system_memory_pool())
    if "MALLOC_ARENA_MAX" not in os.environ and sys.platform == "linux":
        # Other C libraries than glibc have no arenas.
        limit = getattr(ctypes.CDLL(None), "mallopt", None)
        if limit:
            limit(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return to the system what was freed since, where the C library can.

    It keeps what lies between blocks in use: after thousands of batches, each of texts and arrays of other sizes, that
    is more than all that is in use. It takes some milliseconds, in which no thread can take memory.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
