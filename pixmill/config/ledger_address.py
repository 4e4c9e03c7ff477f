"""Where a ledger is: in a file, or in a database that a URL names. Apart, so that a config is read without a driver."""

from urllib.parse import parse_qs, urlsplit

SCHEME = "postgresql+psycopg"
_SECRETS = frozenset({"password", "sslpassword"})


def is_database_url(address: object) -> bool:
    """Whether `address` is meant as the URL of a database rather than as a path."""
    return str(address).lower().startswith("postgres") and "://" in str(address)


def database_url(url: str) -> str:
    """Return `url`. Raises ValueError where no ledger can be behind it, or where it holds a password."""
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or bool(
            _SECRETS & parse_qs(parts.query).keys()
        )
        is_usable = (
            parts.scheme == SCHEME
            and url.startswith(f"{SCHEME}://")
            and (parts.port or 1) > 0
        )
    except ValueError:
        has_password = False
        is_usable = False
    if has_password:
        raise ValueError(
            "must not contain a password: set PGPASSWORD, or put it into ~/.pgpass, which the driver reads"
        )
    if not is_usable:
        raise ValueError(
            f"must be a database URL such as {SCHEME}://pixmill@db.example.com/pixmill"
        )
    return url
