"""Paths of this machine as people write them, in a config and after a command: each becomes the
path that is meant.

A shell fills in `~` and `$HOME`, but not in a file that it never reads nor behind `--out=`. What
would silently be another place than the one that was meant is a mistake.
"""

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pixmill.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_FILE_URL = re.compile(r"file:", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{[^{}/]*\})")


def local_path(text: str, instead: str = "a path of this machine") -> str:
    """Return the path that `text` means, with `~` and `~user` filled in; all else stays.

    `instead` is what may be written in place of a URL. Raises ValueError, in words that follow a
    name, for what is no path of this machine: nothing, a URL, the name of an environment variable,
    the home of a user that there is not.
    """
    if not text.strip():
        raise ValueError("is empty; write a path, such as . for the working directory")
    if "\0" in text:
        raise ValueError("contains a NUL character, which a path can't")
    if os.path.lexists(text):
        if text.startswith("~"):
            raise ValueError(
                f"could mean {Path(text).absolute()}, which is there, or {_at_home(text)}: "
                f"write ./{text} for the first, or move it to the second"
            )
        return text
    if _FILE_URL.match(text):
        meant = unquote(urlsplit(text).path)
        raise ValueError(
            f"must be a path, not a file:// URL: write {meant or '/the/path'}"
        )
    if url := _URL.match(text):
        raise ValueError(f"{url[1]}:// is not supported; write {instead}")
    if variable := _VARIABLE.search(text):
        raise ValueError(
            f"contains {variable[0]}, which is not expanded: write the path itself (in a config "
            "${NAME} is an environment variable)"
        )
    return str(_at_home(text)) if text.startswith("~") else text


def given_path(text: str | Path) -> Path:
    """Return the path that a person gave to a command or a function; see `local_path`.

    Raises UserError.
    """
    try:
        return Path(local_path(str(text)))
    except ValueError as error:
        raise UserError(
            f"{text} {error}" if str(text).strip() else f"the path {error}"
        ) from None


def folder_problem(path: Path) -> str | None:
    """Why there can't be a folder at `path`: something else stands there, or above it.

    `None` where there can.
    """
    there = next(
        place for place in (path, *path.absolute().parents) if os.path.lexists(place)
    )
    if there.is_dir():
        return None
    return "is a file" if there == path else f"leads through {there}, which is a file"


def _at_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.partition("/")[0].removeprefix("~")
        whose = f"of a user {user!r}" if user else "of this user"
        raise ValueError(
            f"begins with ~, and there is no home folder {whose}"
        ) from None


def named_path(folder: Path, name: str) -> Path:
    """Return the path below `folder` that a cell means by `name`: as it stands, else as other
    systems spell it.

    Windows separates folders by backslashes. macOS writes é as two characters into archives and
    tables, most others as one. Raises OSError, RuntimeError (a link that leads back to itself) and
    ValueError (NUL) for names that no file can have.
    """
    forms = dict.fromkeys(
        unicodedata.normalize(form, spelled)
        for spelled in (name, name.replace("\\", "/"))
        for form in ("NFC", "NFD")
    )
    spellings = [folder / spelled for spelled in (name, *forms)]
    return next((path for path in spellings if path.exists()), spellings[0]).resolve()


def named_file(folder: Path, name: str) -> Path | None:
    """Return the file below `folder` that a cell means by `name`, `None` where there is none."""
    try:
        path = named_path(folder, name)
        return path if path.is_relative_to(folder) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None
