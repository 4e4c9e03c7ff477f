"""Finds the keys to a provider, in the environment and in files, and keeps them out of sight.

No message of this module holds a key or a line of a key file: it names the variable or file, and
what to do.
"""

import configparser
import hmac
import json
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pixmill.config.model import Provider
from pixmill.errors import ConfigError
from pixmill.redaction import remember

_log = logging.getLogger(__name__)

_ENV_NAMES = ("VOLC_ACCESSKEY", "VOLC_SECRETKEY")
_CREDENTIALS_FILE = "~/.volc/credentials"
_CONFIG_FILE = "~/.volc/config"
_KEY_FILE_BYTES = 64 * 1024
_SIMULATOR_KEY = "simulated"


class Secret:
    """A text that shows only where `reveal` is called: in no repr, format, traceback or pickle.

    From then on it is masked in log lines and on the terminal as well, should it come back from
    elsewhere.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        remember(value)

    def reveal(self) -> str:
        """Return the text itself, to be put into a request and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled: read it again where it is needed")


class VolcKeys(NamedTuple):
    """What signs Volcengine calls. The token is there for temporary keys only."""

    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None


def bearer_key(provider: Provider) -> Secret:
    """Return the Bearer key, from `api_key_file` if the config names one, else from `api_key_env`.

    The file goes first: a config names it on purpose, while the variable may be set for another
    gateway. Raises ConfigError when there is no key or it can't stand in a header.
    """
    if provider.api_key_file:
        place = f"the file {provider.api_key_file} (provider.api_key_file)"
        lines = _read(provider.api_key_file, place).strip().splitlines()
        if len(lines) != 1:
            problem = "contains more than one line" if lines else "is empty"
            raise ConfigError(
                f"{place} {problem}",
                hint="it must contain the API key on one line and nothing else",
            )
        return _check_key(lines[0].strip(), place)
    if key := os.environ.get(provider.api_key_env):
        return _check_key(key, f"the environment variable {provider.api_key_env}")
    raise ConfigError(
        f"no API key: the environment variable {provider.api_key_env} is not set",
        hint=f"export {provider.api_key_env}=… or name a file in provider.api_key_file",
    )


def simulator_key(provider: Provider) -> Secret:
    """Return the Bearer key for a simulator at an address of its own: a made-up one where none is
    set.
    """
    if provider.api_key_file or os.environ.get(provider.api_key_env):
        return bearer_key(provider)
    return Secret(_SIMULATOR_KEY)


def volc_keys() -> VolcKeys:
    """Return the Volcengine keys, looked for where the official SDK looks: environment, then
    `~/.volc`.

    As in the SDK, `~/.volc/config` counts only where there is no `~/.volc/credentials`. A session
    token is read from the environment, beside the keys that it belongs to. Raises ConfigError when
    there are none.
    """
    access_key, secret_key = (os.environ.get(name) or None for name in _ENV_NAMES)
    if access_key and secret_key:
        token = os.environ.get("VOLC_SESSION_TOKEN")
        return VolcKeys(
            _check_key(access_key, f"the environment variable {_ENV_NAMES[0]}"),
            _check_key(secret_key, f"the environment variable {_ENV_NAMES[1]}"),
            _check_key(token, "the environment variable VOLC_SESSION_TOKEN")
            if token
            else None,
        )
    if access_key or secret_key:
        # Half a pair is a mistake: going on to a file could spend from another account.
        there, missing = _ENV_NAMES if access_key else reversed(_ENV_NAMES)
        raise ConfigError(
            f"the environment variable {there} is set, but {missing} is not",
            hint=f"export {missing}=… too, or unset {there} to use {_CREDENTIALS_FILE}",
        )
    return _keys_from_files()


def _keys_from_files() -> VolcKeys:
    if _exists(_CREDENTIALS_FILE):
        parser = configparser.ConfigParser(interpolation=None)
        text = _read(_CREDENTIALS_FILE, _CREDENTIALS_FILE)
        # Swallowed, as a parser's error quotes the line: what is missing then is said in our words.
        with suppress(configparser.Error):
            parser.read_string(text)
        return _pair(
            _CREDENTIALS_FILE,
            parser["default"] if parser.has_section("default") else {},
            "access_key_id",
            "secret_access_key",
            "under [default]",
        )
    if _exists(_CONFIG_FILE):
        text = _read(_CONFIG_FILE, _CONFIG_FILE)
        parsed = None
        with suppress(ValueError, RecursionError):
            parsed = json.loads(text)
        keys = parsed if isinstance(parsed, dict) else {}
        return _pair(_CONFIG_FILE, keys, "ak", "sk", "as a JSON object")
    raise ConfigError(
        f"no Volcengine keys: {' and '.join(_ENV_NAMES)} are not set, and neither "
        f"{_CREDENTIALS_FILE} nor {_CONFIG_FILE} exists",
        hint=f"export {_ENV_NAMES[0]}=… {_ENV_NAMES[1]}=… "
        "(and VOLC_SESSION_TOKEN=… for temporary keys)",
    )


def _pair(
    path: str, values: Mapping[str, Any], access_name: str, secret_name: str, where: str
) -> VolcKeys:
    found = [values.get(access_name), values.get(secret_name)]
    if not all(isinstance(value, str) and value for value in found):
        raise ConfigError(
            f"{path} contains no keys",
            hint=f"it needs {access_name} and {secret_name} {where}",
        )
    return VolcKeys(*(_check_key(str(value), path) for value in found))


def _exists(path: str) -> bool:
    return Path(path).expanduser().exists()


def _read(name: str, place: str) -> str:
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            readable_by_all = os.fstat(file.fileno()).st_mode & stat.S_IROTH
            content = file.read(_KEY_FILE_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{place} can't be read: {error.strerror}",
            hint="check the path and its permissions",
        ) from None
    if readable_by_all:
        # No error: secrets that a container runtime mounts are readable by all, and alone in there.
        _log.warning(
            "%s can be read by every user of this machine; `chmod 600 %s` fixes that",
            place,
            name,
        )
    return content.decode("utf-8-sig", "replace")


def _check_key(key: str, place: str) -> Secret:
    # All but visible ASCII is a paste that went wrong, and a line break would begin another header.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"the key in {place} contains whitespace, a line break or a character outside ASCII",
            hint="write the bare key, without `Bearer` and without quotes around it",
        )
    return Secret(key)
