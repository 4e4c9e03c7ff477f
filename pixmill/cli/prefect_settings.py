"""What Prefect and what it builds on read from environment and files, before anything
of it is imported.

A user's Prefect may be set up for other work: servers, keys, certificates, logging,
proxies. Where a run has a server of its own none of that is about it, and some of it
would keep client and server apart.
"""

import logging
import os
import re
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pixmill.config.bucket_address import is_loopback
from pixmill.errors import ConfigError

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

API_URL = "PREFECT_API_URL"

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
_SILENT = (
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_LOGGING_ROOT_LEVEL",
    "PREFECT_LOGGING_INTERNAL_LEVEL",
)
_OF_THIS_RUN = (*_SILENT, "PREFECT_CLIENT_MAX_RETRIES", "PREFECT_API_REQUEST_TIMEOUT")
"""What a user may set for the client of a run's own server too."""

_ALONE = {
    "PREFECT_API_AUTH_STRING": "",
    "PREFECT_API_KEY": "",
    "PREFECT_API_SSL_CERT_FILE": "",
    "PREFECT_CLIENT_CUSTOM_HEADERS": "{}",
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
    "PREFECT_DEBUG_MODE": "false",
    "PREFECT_FLOWS_DEFAULT_RETRIES": "0",
    "PREFECT_PLUGINS_ENABLED": "false",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_TESTING_TEST_MODE": "false",
}
"""Said outright, as Prefect also reads `.env`, `prefect.toml` and `pyproject.toml` of
the working directory.
"""

_SYSTEM = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TZDIR|TMPDIR|TEMP|TMP|SYSTEMROOT"
    r"|(LD|DYLD)_LIBRARY_PATH|DYLD_FALLBACK_LIBRARY_PATH|NIX_\w+"
)
"""What any program needs of its environment, and holds no key."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = re.compile(r"[\w.*:/-]+")


def configured_api(
    environment: Mapping[str, str] = os.environ, folder: Path | None = None
) -> str | None:
    """Return the URL of the API that Prefect would use in `folder` (the working
    directory), `None` without one.

    It is looked for where Prefect looks, the first that names one counts, an empty one
    too: the environment, `.env`, `prefect.toml`, `pyproject.toml`, the active profile.
    Raises ConfigError for a file that Prefect can't read.
    """
    here = Path() if folder is None else folder
    of_environment = {name.upper(): value for name, value in environment.items()}
    # An empty one counts, too: Prefect takes it for "no server".
    named = (url for url in _named(of_environment, here) if url is not None)
    return next(named, None) or None


def configure_prefect(*, embedded: bool = False) -> None:
    """Set the environment in which a command imports Prefect: no telemetry, and on the
    terminal only our own words.

    With an `embedded` server its client gives up after seconds: one that died does not
    come back.
    """
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates:
        try:
            ssl.create_default_context(cafile=certificates)
        except OSError as error:  # `ssl.SSLError` is one as well
            # Prefect can't even be imported with it.
            log.warning(
                "SSL_CERT_FILE is left out, as %s holds no certificates: %s",
                certificates,
                error.strerror,
            )
            del os.environ["SSL_CERT_FILE"]
    # Nothing here is traced, and a propagator that is not installed is fatal.
    os.environ.pop("OTEL_PROPAGATORS", None)
    brief = {"PREFECT_CLIENT_MAX_RETRIES": "2"} if embedded else {}
    for name, value in {**QUIET, **dict.fromkeys(_SILENT, "CRITICAL"), **brief}.items():
        os.environ.setdefault(name, value)


def check_settings() -> None:
    """Let Prefect read its settings. Raises ConfigError with the names of those that are not valid.

    Prefect does so when it is imported, and would end in a traceback of its own.
    """
    from pydantic import ValidationError

    try:
        from prefect.logging.configuration import setup_logging

        # A level that is not one may be found only here.
        setup_logging()
    except ValidationError as error:
        found = []
        for problem in error.errors():
            # What follows from another mistake is none.
            if problem["type"] == "default_factory_not_called":
                continue
            value = str(problem["input"]).casefold()
            named = [
                name
                for name, text in os.environ.items()
                if name.upper().startswith("PREFECT_") and text.casefold() == value
            ]
            # A value may also be from `.env`, `prefect.toml` or a profile.
            where = ".".join((error.title, *map(str, problem["loc"])))
            found.append(f"{' or '.join(named) or where}: {problem['msg']}")
        raise ConfigError(
            f"Prefect's settings are not valid: {'; '.join(found)}",
            hint="correct or unset them; nothing was sent",
        ) from None


def client_settings(home: Path, api_url: str) -> dict[str, str]:
    """Return the PREFECT_ variables of a client whose server keeps its files in `home`,
    in place of all others.
    """
    kept = {
        name: os.environ[name] for name in (*_OF_THIS_RUN, *QUIET) if name in os.environ
    }
    return {**_ALONE, **_files(home), **kept, API_URL: api_url}


def server_environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server that keeps its files in `home`: the system's,
    and its own `settings`.

    Nothing else of this process is handed on: no key of whatever name, and no other
    server's settings.
    """
    system = {
        name: value for name, value in os.environ.items() if _SYSTEM.fullmatch(name)
    }
    return {**system, **QUIET, **_files(home), **settings}


def keep_loopback_off_proxies() -> None:
    """Let no proxy of the environment stand between Prefect's client and a server on
    this machine.

    Its client looks at every proxy variable when it is made, and fails for one that it
    can't use, whatever NO_PROXY says. The ones that it can are left for buckets.
    """
    for name in list(os.environ):
        if _is_proxy(name) and (name.lower() == "all_proxy" or not _is_usable(name)):
            del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):
        hosts = (host.strip() for host in os.environ.get(name, "").split(","))
        plain = (host.strip("[]") for host in hosts)
        known = [host for host in plain if _NO_PROXY.fullmatch(host)]
        os.environ[name] = ",".join(dict.fromkeys([*known, "127.0.0.1", "localhost"]))


def check_proxies() -> None:
    """Raise ConfigError where the environment names a proxy that Prefect's client can't use.

    An API on another machine is reached through it: it can't be left out there.
    """
    from httpx import Client, InvalidURL

    try:
        Client().close()
    except (ImportError, ValueError, InvalidURL):
        odd = [name for name in os.environ if _is_proxy(name) and not _is_usable(name)]
        raise ConfigError(
            f"Prefect's client can't use the proxy in {' or '.join(sorted(odd) or ['NO_PROXY'])}",
            hint="name an http:// proxy there, or unset it (a socks5:// one needs the package "
            "socksio); nothing was sent",
        ) from None


def is_on_this_machine(url: str) -> bool:
    """Whether an API is reached over loopback."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _is_proxy(name: str) -> bool:
    return name.lower() in _PROXIES


def _is_usable(name: str) -> bool:
    """Whether a proxy variable names an HTTP proxy, as `host:port` or as a URL."""
    value = os.environ[name]
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return not value or (parts.scheme in ("http", "https") and is_address)


def _files(home: Path) -> dict[str, str]:
    """The files that Prefect reads and writes: those in `home`, where no user's profile
    or logging is.
    """
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_LOGGING_CONFIG_PATH": str(home / "logging.yml"),
    }


def _named(environment: Mapping[str, str], folder: Path) -> Iterator[str | None]:
    """Yield what each place says of the API's URL, in Prefect's order."""
    in_file = _dotenv(folder / ".env")
    project = _toml(folder / "pyproject.toml")
    tables = [
        _toml(folder / "prefect.toml"),
        _table(_table(project, "tool"), "prefect"),
    ]
    yield environment.get(API_URL)
    yield in_file.get(API_URL)
    for table in tables:
        yield _text(_table(table, "api").get("url"))
    name = "PREFECT_PROFILES_PATH"
    named = [environment.get(name), in_file.get(name)]
    named += [_text(table.get("profiles_path")) for table in tables]
    home = Path(environment.get("PREFECT_HOME") or "~/.prefect")
    path = next((Path(place) for place in named if place), home / "profiles.toml")
    profiles = _toml(path.expanduser())
    active = environment.get("PREFECT_PROFILE") or _text(profiles.get("active")) or ""
    yield _text(_table(_table(profiles, "profiles"), active).get(API_URL))


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # what Prefect reads it with

    try:
        values = dotenv_values(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return {name.upper(): value for name, value in values.items() if value is not None}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} can't be read, in which Prefect looks for its settings: {error}",
        hint="fix it, or run from another folder",
    )
