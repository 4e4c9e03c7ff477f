"""How pixmill's own processes take memory: what is freed goes back to the system.

Arrow's usual pool and the C library's arenas, one for each few threads, keep what they were given for the next time.
A run that streams a large table through many threads would hold several times what it ever needs at once.
"""

import ctypes
import os
import sys

_ARENAS = 2
_M_ARENA_MAX = -8
"""The number by which glibc's `mallopt` knows the limit of arenas."""


def keep_little() -> None:
    """Let this process, and those that it starts, give back what they free.

    For processes that are pixmill's alone: it changes how every other library in them takes memory. To be called
    before threads are started; a pool that the environment names stays.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        os.environ["ARROW_DEFAULT_MEMORY_POOL"] = (
            "system"  # read when pyarrow is imported
        )
        if "pyarrow" in sys.modules:
            import pyarrow as pa  # here and now, as commands that need no table do without it

            pa.set_memory_pool(pa.system_memory_pool())
    if "MALLOC_ARENA_MAX" not in os.environ and sys.platform == "linux":
        limit = getattr(
            ctypes.CDLL(None), "mallopt", None
        )  # other C libraries have no arenas
        if limit:
            limit(_M_ARENA_MAX, _ARENAS)
