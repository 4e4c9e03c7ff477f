"""Where a ledger is: in a file, or in a database that a URL names. Reading a config loads no driver."""

from urllib.parse import parse_qs, urlsplit

SCHEME = "postgresql+psycopg"
_SECRETS = frozenset({"password", "sslpassword"})


def is_database_url(address: object) -> bool:
    """Whether `address` is meant as the URL of a database rather than as a path."""
    return str(address).lower().startswith("postgres") and "://" in str(address)


def database_url(url: str) -> str:
    """Return `url`. Raises ValueError where it can't lead to a ledger, or where it contains a password."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query).keys()
        has_password = parts.password is not None or bool(_SECRETS & options)
        has_scheme = parts.scheme == SCHEME and url.startswith(f"{SCHEME}://")
        is_usable = has_scheme and parts.port != 0
    except ValueError:
        # What can't be taken apart is not repeated: it may hold a password all the same.
        has_password = False
        is_usable = False
    if has_password:
        raise ValueError(
            "must not contain a password: set PGPASSWORD, or put it into ~/.pgpass, which the "
            "driver reads"
        )
    if not is_usable:
        raise ValueError(
            f"must be a database URL such as {SCHEME}://pixmill@db.example.com/pixmill"
        )
    return url
