"""Input tables in a bucket: brought to this machine once a version, then read as any other file.

A copy has the version of its object in its path, so that a run reads one version to its end, whatever becomes of the
object. Messages name the object.
"""

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pixmill.config.bucket_address import (
    BucketAddress,
    bucket_address,
    make_cache_folder,
)
from pixmill.errors import TableError
from pixmill.tables.cached_copies import use_copies

if TYPE_CHECKING:
    from pixmill.storage.s3_objects import Listed, Objects


def bring(
    url: str, is_table: Callable[[str], bool]
) -> tuple[dict[Path, str], tuple[str, ...]]:
    """Bring the objects that `url` means here: one, those that a pattern fits, or the tables directly below a prefix.

    Returns the URL of each file, in order, and the names of other objects directly below a prefix. Raises TableError
    where there are none, StoreError, and UserError where what a bucket needs is not installed.
    """
    from pixmill.storage.s3_objects import Objects  # not for tables of this machine

    try:
        place = bucket_address(url)
    except ValueError as error:
        raise TableError(f"{url} {error}") from None
    make_cache_folder()
    objects = Objects(place._replace(prefix=""))
    meant, skipped = _find(objects, place.prefix, is_table)
    found = sorted(meant, key=lambda one: one.name)
    if not found:
        hint = (
            "a folder is a prefix with tables directly below it, "
            "a pattern such as s3://bucket/tables/*.csv"
        )
        raise TableError(
            f"{place.url}: there is no such object, and no table below it", hint=hint
        )
    with use_copies() as used:
        brought = {
            _bring_version(objects, place, one): place._replace(prefix=one.name).url
            for one in found
        }
        used.update(path.parent for path in brought)
    return brought, skipped


@contextmanager
def name_objects(names: Mapping[Path, str]) -> Iterator[None]:
    """Let a TableError name objects instead of their copies."""
    try:
        yield
    except TableError as error:
        text = str(error)
        for path, url in names.items():
            text = text.replace(str(path), url)
        if text == str(error):
            raise
        raise TableError(text, hint=error.hint) from None


def _find(
    objects: "Objects", key: str, is_table: Callable[[str], bool]
) -> "tuple[list[Listed], tuple[str, ...]]":
    from pixmill.storage.s3_objects import Listed

    parts = key.split("/")
    plain = next((at for at, part in enumerate(parts) if glob.has_magic(part)), None)
    if plain is not None:
        below = "".join(f"{part}/" for part in parts[:plain])
        fitting = [
            one
            for one in objects.list(below)
            if _is_safe(one.name) and _fits(one.name.split("/"), parts)
        ]
        return fitting, ()
    # A key may be an object and the beginning of others' keys at once; the object is meant then.
    seen = objects.look(key)
    if seen:
        return [Listed(key, seen)], ()
    listed = (
        (one, one.name.removeprefix(f"{key}/"))
        for one in objects.list(f"{key}/")
        if _is_safe(one.name)
    )
    # As in a folder: hidden objects and the marks of other programs, such as _SUCCESS, are no part of the table.
    shown = {
        name: one
        for one, name in listed
        if "/" not in name and not name.startswith((".", "_"))
    }
    tables = [one for name, one in shown.items() if is_table(name)]
    return tables, tuple(name for name in shown if not is_table(name))


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a key fit those of a pattern, as in the `glob` of files."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    return (
        not hidden
        and fnmatchcase(parts[0], pattern[0])
        and _fits(parts[1:], pattern[1:])
    )


def _is_safe(key: str) -> bool:
    """Whether a key, which anybody may have chosen, is a path below a folder."""
    return (
        all(part not in ("", ".", "..") for part in key.split("/"))
        and key.isprintable()
    )


def _bring_version(objects: "Objects", place: BucketAddress, one: "Listed") -> Path:
    """Return the copy of an object, which is made where this version of it has none."""
    version = sha256(f"{one.seen.etag} {one.seen.size}".encode()).hexdigest()[:16]
    path = (
        place._replace(prefix=one.name).table_copies
        / version
        / PurePosixPath(one.name).name
    )
    if path.is_file() and path.stat().st_size == one.seen.size:
        return path
    # The object may have been replaced since it was listed: what came is another version then.
    seen = objects.fetch(one.name, path)
    if seen is None or seen.etag != one.seen.etag:
        path.unlink(missing_ok=True)
        raise TableError(
            f"{place._replace(prefix=one.name).url} changed while it was read",
            hint="run it again",
        )
    return path
