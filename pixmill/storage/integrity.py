"""Whether files are what their names and manifests say: images carry the hash of their content in
their name.
"""

import json
import re
import stat
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

THREADS = 8
"""Files that are hashed at a time: hashing needs no interpreter, so that disk and cores have work.
"""

PROBLEMS = {
    "missing": "is not there",
    "no_file": "is not a regular file",
    "unreadable": "can't be read",
    "wrong_size": "does not have the size that was stored",
    "damaged": "its content does not match its name",
    "foreign_name": "is not a valid name of a stored image",
}
"""What can be wrong with the file of an image."""

_NAME = re.compile(r"images/([0-9a-f]{2})/(\1[0-9a-f]{62})\.(?:jpg|png|webp)")


class NamedImage(NamedTuple):
    """An image file as dataset or ledger name it, relative to the store, and its size in bytes
    where that is known.
    """

    name: str
    size: int | None


def file_problem(store: Path, image: NamedImage) -> str | None:
    """Return which of `PROBLEMS` an image file has, `None` where none; its bytes are hashed."""
    digest = hash_in(image.name)
    if not digest:
        return "foreign_name"
    path = store / image.name
    try:
        seen = path.lstat()
        if not stat.S_ISREG(seen.st_mode):
            return "no_file"
        if image.size is not None and seen.st_size != image.size:
            return "wrong_size"
        return None if hash_of(path) == digest else "damaged"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        # Not missing: nobody is to pay for it again because of a permission or a failing disk.
        return "unreadable"


def manifest_problem(path: Path, manifest: Mapping[str, Any]) -> str | None:
    """Say in which way the file at `path` is not the one that `manifest` describes, if in any."""
    size = path.stat().st_size
    if size != manifest.get("bytes"):
        return f"has {size:,} bytes where its manifest says {manifest.get('bytes')}"
    return (
        None
        if hash_of(path) == manifest.get("sha256")
        else "its SHA-256 is not the one in its manifest"
    )


def manifest_at(path: Path) -> dict[str, Any]:
    """Return the manifest in the file `path`, empty where there is none."""
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def hash_in(name: str) -> str | None:
    """Return the SHA-256 in the name of an image of a store, `None` where it is no such name."""
    named = _NAME.fullmatch(name)
    return named[2] if named else None


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
