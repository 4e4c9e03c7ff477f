"""Names of exported images that people can read: row key, point and seed, safe for every file system."""

import re
import unicodedata

LONGEST = 80
"""Characters of a row key in a name: with the rest it stays far below 255 bytes, whatever its script."""

_UNSAFE = re.compile(r"[^\w.-]+")
# Names that Windows keeps for devices, with or without an ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class FileNames:
    """Gives each sample a name of its own."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        """Hashes of the names so far, as there may be millions."""

    def name(
        self, row_key: str, point: str | None, seed: int | None, number: int
    ) -> str:
        """Return a name without an ending: `cat-01_base_1283`, the second image of a job with `-2`.

        Names that are equal but for their case, or that only unsafe characters told apart, get
        a number behind them in the order in which they come.
        """
        name = f"{safe_part(row_key)}_{point or 'base'}"
        if seed is not None:
            name = f"{name}_{seed}"
        if number:
            name = f"{name}-{number + 1}"
        unique = name
        copies = 1
        while hash(unique.casefold()) in self._taken:
            copies += 1
            unique = f"{name}~{copies}"
        self._taken.add(hash(unique.casefold()))
        return unique


def safe_part(text: str) -> str:
    """Return a text as a part of a file name, with its letters of any script."""
    safe = _UNSAFE.sub("-", unicodedata.normalize("NFC", text))[:LONGEST]
    # A dot in front hides a file, and one at the end is lost on Windows.
    safe = safe.strip(".-") or "row"
    return f"_{safe}" if _DEVICES.fullmatch(safe) else safe
