"""A model of a disk without power: it keeps what was synced, and any part of what was not.

It is told the calls that change the files under a folder, in their order. A write survives a power loss once its file
was synced; before that, each of its 512-byte sectors may or may not be there. A name that was made, changed or removed
is so for sure once its folder was synced; before that it may or may not be. That is stricter than any one file system,
and what POSIX promises.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.crash.tracing import Call

SECTOR = 512


class Change(NamedTuple):
    """A call that changes the disk: paths are relative to the folder; `at` is an offset or a length."""

    name: str
    path: str
    at: int = 0
    data: bytes = b""
    new_path: str = ""


def change(call: Call, folder: str) -> Change:
    """What a call does to the disk. Raises where the model does not know it."""
    paths = [
        os.path.relpath(path.removesuffix(" (deleted)"), folder) for path in call.paths
    ]
    match call.name:
        case "write" | "pwrite64":
            return Change("write", paths[0], call.offset(), call.data())
        case "ftruncate":
            return Change("resize", paths[0], call.arguments[1])
        case "fsync" | "fdatasync":
            return Change("sync", paths[0])
        case "openat":
            return Change("open", paths[0], call.arguments[2])
        case "mkdir" | "unlink":
            return Change(call.name, paths[0])
        case "rename" | "link":
            return Change(call.name, paths[0], new_path=paths[1])
    raise NotImplementedError(
        f"the model of a disk does not know {call.name} on {paths}"
    )


class _File:
    """The content of a file as it was synced, and what was done to it since."""

    def __init__(self, synced: bytes = b"") -> None:
        self.synced = synced
        self.since: list[Change] = []

    def sync(self) -> None:
        self.synced, self.since = _applied(self.synced, self.since), []

    def after_loss(self, random: Random, kept: float) -> bytes:
        return _applied(
            self.synced,
            [piece for each in self.since for piece in _pieces(each, random, kept)],
        )


FOLDER = _File()
"""What the name of a folder stands for."""

_Names = dict[str, _File | None]
"""What a change of names does: the file that a path is given, or that it is gone."""


class Disk:
    """The files under a folder. What it holds `before`, files and folders (`None`), is on disk for sure."""

    def __init__(self, before: Mapping[str, bytes | None]) -> None:
        self._synced = {
            path: FOLDER if data is None else _File(data)
            for path, data in before.items()
        }
        self._names = dict(self._synced)
        self._since: list[_Names] = []

    def apply(self, what: Change) -> None:
        """Take a change. What the operating system refuses, such as removing what is not there, changes nothing."""
        file = self._names.get(what.path)
        match what.name:
            case "open" if what.at & os.O_CREAT and not file:
                self._rename({what.path: _File()})
            case "open" if what.at & os.O_TRUNC and file:
                file.since.append(Change("resize", what.path, 0))
            case "write" | "resize" if file:
                file.since.append(what)
            case "sync":
                self._sync(what.path)
            case "mkdir" if not file:
                self._rename({what.path: FOLDER})
            case "unlink" if file:
                self._rename({what.path: None})
            case "link" if file and what.new_path not in self._names:
                self._rename({what.new_path: file})
            case "rename" if file:
                self._rename({what.path: None, what.new_path: file})

    def after_loss(self, random: Random) -> dict[str, bytes]:
        """The files that are there when the power is back; of a folder that is not, nothing is."""
        kept = random.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        names = dict(self._synced)
        for each in self._since:
            if random.random() < kept:
                _rename(names, each)
        return {
            path: file.after_loss(random, kept)
            for path, file in names.items()
            if file is not FOLDER
            and all(str(parent) in names for parent in list(Path(path).parents)[:-1])
        }

    def _rename(self, names: _Names) -> None:
        self._since.append(names)
        _rename(self._names, names)

    def _sync(self, path: str) -> None:
        file = self._names.get(path)
        if file and file is not FOLDER:
            file.sync()
            return
        for names in [names for names in self._since if _folder(names) == path]:
            self._since.remove(names)
            _rename(self._synced, names)


def _folder(names: _Names) -> str:
    return str(Path(next(iter(names))).parent)


def _rename(all_names: dict[str, _File], names: _Names) -> None:
    for path, file in names.items():
        if file:
            all_names[path] = file
        else:
            all_names.pop(path, None)


def _applied(content: bytes, changes: Iterable[Change]) -> bytes:
    data = bytearray(content)
    for each in changes:
        end = each.at + len(each.data)
        if each.name == "resize":
            del data[each.at :]
        data.extend(bytes(max(0, end - len(data))))
        data[each.at : end] = each.data
    return bytes(data)


def _pieces(what: Change, random: Random, kept: float) -> Iterator[Change]:
    """What is left of a change: any of the sectors of a write."""
    if what.name == "resize" and random.random() < kept:
        yield what
    for start in range(0, len(what.data), SECTOR):
        if random.random() < kept:
            yield what._replace(
                at=what.at + start, data=what.data[start : start + SECTOR]
            )
