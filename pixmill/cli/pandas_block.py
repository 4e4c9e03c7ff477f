"""Start-up without pandas: pyarrow's first array would import it, which takes over a second.

Commands that only look never need it. A flow may: then the block has to be gone, as it
holds for the whole process, for Prefect, its plugins and a user's own tasks included.
"""

import sys
from importlib.abc import MetaPathFinder


class _PandasBlock(MetaPathFinder):
    """Says that there is no pandas."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        """Refuse pandas, leave every other module to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError(
                "pandas is not imported while pixmill starts", name=fullname
            )


_block = _PandasBlock()


def block_pandas() -> None:
    """Let no import find pandas from now on."""
    sys.meta_path.insert(0, _block)


def allow_pandas() -> None:
    """Let imports find pandas again; pyarrow has given up looking for it by then."""
    if _block not in sys.meta_path:
        return
    import pyarrow as pa

    # It looks for pandas once in a process, with its first array, and remembers.
    pa.array([0])
    sys.meta_path.remove(_block)
