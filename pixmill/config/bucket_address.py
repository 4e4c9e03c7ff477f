"""Where a bucket is: the `s3://` URLs of a config. Apart from the client: reading a config loads no boto3."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pixmill.errors import ConfigError
from pixmill.local_paths import local_path

SCHEME = "s3://"
_OPTIONS = ("endpoint_override", "region", "scheme", "force_virtual_addressing")
"""As pyarrow spells them, so that one URL is good for both."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_QUERY = re.compile(r"\?(?=[A-Za-z_]+=[^/?]*)(.*)$", re.DOTALL)
_HINT = (
    "an example is s3://bucket/prefix, or "
    "s3://bucket/prefix?endpoint_override=https://minio.example.com"
)


class BucketAddress(NamedTuple):
    """A place in a bucket: `prefix` begins and ends without a slash, and is empty for the bucket as a whole."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    virtual_hosts: bool = False

    @property
    def url(self) -> str:
        """The place without what says how to reach it."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def at(self, name: str) -> "BucketAddress":
        """Return the place `name` below this one."""
        return self._replace(prefix="/".join(filter(None, (self.prefix, name))))

    @property
    def parent(self) -> "BucketAddress":
        """The place above this one."""
        return self._replace(prefix=self.prefix.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.prefix.rpartition("/")[2]

    @property
    def working_copy(self) -> Path:
        """The folder of this machine that holds copies of a store there."""
        return self._copies("stores")

    @property
    def table_copies(self) -> Path:
        """The folder of this machine for copies of an input table there."""
        return self._copies("tables")

    def _copies(self, kind: str) -> Path:
        """Return the folder for copies of one kind; each server has its own, as bucket names are unique only there."""
        endpoint = (
            self.endpoint
            or os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
        )
        server = "aws"
        if endpoint:
            host = unquote(urlsplit(endpoint).netloc)
            server = re.sub(r"[^A-Za-z0-9.-]", "_", host)
        return cache_folder() / kind / server / self.bucket / self.prefix


def is_bucket_url(text: object) -> bool:
    """Whether `text` is meant as a place in a bucket."""
    return str(text).lower().startswith(SCHEME)


def bucket_address(url: str) -> BucketAddress:
    """Read an `s3://` URL. Raises ValueError with what is wrong with it, which never repeats a secret.

    bucket_address("s3://b/pets?region=eu-1")    # BucketAddress("b", "pets", None, "eu-1", False)
    """
    # Not urlsplit: a `?` and a `#` may be part of a key, and only a query with `name=` is one.
    query = _QUERY.search(url)
    place = url[len(SCHEME) : query.start() if query else None]
    bucket, _, key = place.partition("/")
    is_bucket = _BUCKET.fullmatch(bucket) is not None
    if "@" in bucket or (":" in bucket and not is_bucket):
        raise ValueError(
            "must not contain credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE"
        )
    if not is_bucket:
        raise ValueError(f"does not name a bucket; {_HINT}")
    prefix = key.strip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise ValueError("must not contain an empty part, '.' or '..'")

    options = dict(parse_qsl(query[1], keep_blank_values=True)) if query else {}
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise ValueError(
            f"has no option {unknown[0]!r}, and must not contain keys; the options are "
            f"{', '.join(_OPTIONS)}"
        )
    virtual = options.get("force_virtual_addressing", "false").lower()
    return BucketAddress(
        bucket,
        prefix,
        endpoint=_read_endpoint(options),
        region=options.get("region") or None,
        virtual_hosts=virtual in ("true", "1"),
    )


def _read_endpoint(options: Mapping[str, str]) -> str | None:
    """Return the server that the options of a URL name. Raises ValueError where requests must not go to it."""
    endpoint = options.get("endpoint_override")
    if not endpoint:
        return None
    if "://" not in endpoint:
        # As pyarrow writes it: host and port, and the scheme as an option of its own.
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    problem = endpoint_problem(endpoint)
    if problem:
        raise ValueError(f"endpoint_override {problem}")
    return endpoint


def store_url(text: str) -> str:
    """Return the store `text`, a folder or a place in a bucket. Raises ValueError where it can be neither."""
    if is_bucket_url(text):
        bucket_address(text)
        return text
    return local_path(text, "a folder or s3://bucket/prefix")


def input_url(text: str) -> str:
    """Return the input path `text`, of this machine or in a bucket. Raises ValueError where it can be neither."""
    if not is_bucket_url(text):
        return local_path(text, "a path of this machine or s3://bucket/key")
    if not bucket_address(text).prefix:
        raise ValueError(
            "does not name an object; write s3://bucket/table.csv, s3://bucket/folder/ or "
            "s3://bucket/*.csv"
        )
    return text


def endpoint_problem(url: str) -> str | None:
    """Say why requests, and with them the images, must not be sent to `url`; `None` where they may."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_address = parts.scheme in ("http", "https") and host and parts.port != 0
    except ValueError:
        # Brackets without an IPv6 address, or a port that is not one.
        is_address = False
    if not is_address:
        return "must be an address such as https://minio.example.com"
    if parts.username or parts.password:
        return "must not contain credentials"
    if parts.scheme == "http" and not is_loopback(host):
        return "must be https: plain http is for loopback only, as it would expose the images"
    return None


def cache_folder() -> Path:
    """The folder below which all working copies are. Raises ConfigError where this user has none."""
    named = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says to ignore a relative path.
    if named and Path(named).is_absolute():
        return Path(named) / "pixmill"
    try:
        return Path.home() / ".cache" / "pixmill"
    except RuntimeError:
        raise ConfigError(
            "there is no folder for copies of the bucket's objects",
            hint="set XDG_CACHE_HOME to a folder",
        ) from None


def make_cache_folder() -> None:
    """Create the folder of copies, for this user only. Raises ConfigError where it can't be created."""
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"copies of the bucket's objects can't be kept in {folder}: {error.strerror or error}",
            hint="set XDG_CACHE_HOME to a folder with room for them",
        ) from None


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, to which plain http may go."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
