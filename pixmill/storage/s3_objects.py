"""Objects of a bucket, below one prefix: read, written under a condition, listed.

The only place that knows boto3.

A write is sent with its SHA-256, which the server checks and keeps. One whose answer is lost is
settled by looking: if the object is what was sent, it was written. Passing faults are tried again,
at most `BUCKET_ATTEMPTS` times in all.
"""

import logging
import tempfile
import time
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any, NamedTuple

from pixmill.config.bucket_address import BucketAddress, endpoint_problem
from pixmill.config.model import AUTO_CONCURRENCY
from pixmill.errors import ConfigError, StoreError, UserError
from pixmill.redaction import remember
from pixmill.storage.atomic_write import new_part
from pixmill.tuning import BUCKET_ATTEMPTS, BUCKET_BACKOFF

log = logging.getLogger(__name__)

PAGE = 1_000
"""Objects of one listing, which is what servers give at most."""

CONNECT_SECONDS = 10
"""To one address."""

READ_SECONDS = 60
"""Of silence."""

LINK_SECONDS = 600
"""How long a browser can fetch an image by the address that `pixmill view` sends it to: a page that
is open longer asks for new ones."""

LARGEST = 5 << 30
"""Bytes of one PUT: beyond that S3 wants a multipart upload, whose checksum is not that of the
content.
"""

_BLOCK = 1 << 20
"""Bytes that are read of a body at a time."""

_SHOWN_CHARACTERS = 300
"""Of what a server says."""

ABSENT: Mapping[str, str] = {"IfNoneMatch": "*"}
"""The condition that nothing has the name yet."""

_RIGHTS = {
    "look at": "s3:GetObject and s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "list": "s3:ListBucket",
    "remove": "s3:DeleteObject",
}
"""What a policy has to allow, by what is tried.

To look takes the listing too: without it S3 says 403, not 404.
"""


class PreconditionFailed(StoreError):
    """The object is not what the condition of a write says."""


class OutcomeUnknown(StoreError):
    """No answer, or one that passes by itself: a write may have happened."""


class WriteConflict(StoreError):
    """Another write to the same name was going on (409)."""


class _Absent(Exception):
    """There is no object of that name."""


class StoreRefused(StoreError, UserError):
    """The bucket is not there, or nothing may be done in it with these credentials."""


class Seen(NamedTuple):
    """An object as a server describes it."""

    etag: str
    """Changes with every write."""

    size: int

    sha256: str | None = None
    """In hex; missing where the server keeps none."""

    @property
    def unchanged(self) -> Mapping[str, str]:
        """The condition that the object is still this one."""
        return {"IfMatch": self.etag}


class Listed(NamedTuple):
    """A name below the prefix, as a listing has it."""

    name: str
    seen: Seen


class Objects:
    """The objects below `address`, by their names there. From any number of threads."""

    def __init__(self, address: BucketAddress) -> None:
        self.address = address
        self._client = _client(address.endpoint, address.region, address.virtual_hosts)

    def look(self, name: str) -> Seen | None:
        """Return the object `name` as the server describes it, `None` where there is none."""
        try:
            answer = self._ask(
                "look at", name, self._client.head_object, ChecksumMode="ENABLED"
            )
        except _Absent:
            return None
        return _seen(answer)

    def sha256(self, name: str, seen: Seen) -> str:
        """Return the SHA-256 of what was `seen`, as the server keeps it, else of all its bytes."""
        if seen.sha256:
            return seen.sha256
        # By a file, as an object may be larger than the memory.
        with tempfile.TemporaryFile() as file:
            if self._read(name, file) is None:
                return ""
            return file_digest(file, "sha256").hexdigest()

    def signed_link(self, name: str) -> str:
        """Return an address from which whoever has it can read the object for `LINK_SECONDS`."""
        where = {"Bucket": self.address.bucket, "Key": self.address.at(name).prefix}
        link = self._client.generate_presigned_url(
            "get_object", Params=where, ExpiresIn=LINK_SECONDS
        )
        return str(link)

    def fetch(self, name: str, path: Path, wanted: str | None = None) -> Seen | None:
        """Bring an object to the file `path`, whole or not at all; `None` where it is not there.

        With the SHA-256 that is `wanted` other content counts as not there.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new_part(path.parent) as (file, part):
                seen = self._read(name, file)
                if seen is None:
                    return None
                if (
                    wanted is not None
                    and file_digest(file, "sha256").hexdigest() != wanted
                ):
                    return None
                file.flush()
                # Not synced: what a power loss takes of a copy is brought again.
                part.replace(path)
                return seen
        except OSError as error:
            raise StoreError(
                f"no copy of {self._shown(name)} can be kept in {path.parent}: "
                f"{error.strerror or error}",
                hint="free disk space, or set XDG_CACHE_HOME to a folder with room",
            ) from None

    def put(
        self,
        name: str,
        body: bytes | Path,
        digest: str,
        condition: Mapping[str, str],
        kind: str,
    ) -> None:
        """Write an object whose SHA-256 is `digest`; it is there when this returns, or was there
        already.

        Raises PreconditionFailed where the condition does not hold and something else stands there.
        """
        # Refused here, where it is known what can be done about it.
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        if size > LARGEST:
            hint = "split the table into several configs"
            raise StoreError(
                f"{name} has {size:,} bytes; one write can hold at most {LARGEST:,}",
                hint=hint,
            )
        checked = {
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": b64encode(bytes.fromhex(digest)).decode(),
        }
        arguments = {**checked, **condition, "ContentType": kind}
        for attempt in range(1, BUCKET_ATTEMPTS + 1):
            try:
                if isinstance(body, bytes):
                    self._ask(
                        "write", name, self._client.put_object, Body=body, **arguments
                    )
                    return
                with body.open("rb") as file:
                    self._ask(
                        "write", name, self._client.put_object, Body=file, **arguments
                    )
                    return
            except _Absent:
                raise PreconditionFailed(f"{self._shown(name)} is gone") from None
            # S3 answers 409 where two conditional writes meet, and asks to try again.
            except WriteConflict as clash:
                problem: StoreError = clash
                time.sleep(BUCKET_BACKOFF.pause(attempt))
            except (PreconditionFailed, OutcomeUnknown):
                # boto tries again by itself: the first try may have written it and only its answer
                # been lost, so that the second one met its own object.
                if self._is_there(name, digest):
                    return
                raise
        raise problem

    def _is_there(self, name: str, digest: str) -> bool:
        try:
            seen = self.look(name)
            return seen is not None and self.sha256(name, seen) == digest
        except StoreError:
            return False

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with suppress(_Absent):
            self._ask("remove", name, self._client.delete_object)

    def list(self, folder: str = "") -> Iterator[Listed]:
        """Yield the objects whose names begin with `folder`, in order."""
        start = f"{self.address.prefix}/" if self.address.prefix else ""
        marker: dict[str, Any] = {"MaxKeys": PAGE}
        while True:
            page = self._ask(
                "list",
                folder,
                self._client.list_objects_v2,
                Key=None,
                Prefix=start + folder,
                **marker,
            )
            for one in page.get("Contents", ()):
                yield Listed(one["Key"][len(start) :], Seen(one["ETag"], one["Size"]))
            if not page.get("IsTruncated"):
                return
            marker["ContinuationToken"] = page["NextContinuationToken"]

    def _read(self, name: str, file: IO[bytes]) -> Seen | None:
        """Read an object into an empty file, which is at its beginning afterwards."""
        for attempt in range(1, BUCKET_ATTEMPTS + 1):
            try:
                answer = self._ask(
                    "read", name, self._client.get_object, ChecksumMode="ENABLED"
                )
            except _Absent:
                return None
            try:
                file.writelines(answer["Body"].iter_chunks(_BLOCK))
                file.seek(0)
                return _seen(answer)
            except _exceptions().BotoCoreError as error:
                # The body broke off, or is not what its checksum says.
                problem = type(error).__name__
                file.seek(0)
                file.truncate()
                time.sleep(BUCKET_BACKOFF.pause(attempt))
        raise OutcomeUnknown(f"can't read {self._shown(name)}: {problem}")

    def _ask(
        self, what: str, name: str, operation: Callable[..., Any], **arguments: Any
    ) -> Any:
        """Make one request. Raises _Absent for a 404, else StoreError."""
        key = {"Key": self.address.at(name).prefix, **arguments}
        key = {argument: value for argument, value in key.items() if value is not None}
        known = _exceptions()
        try:
            return operation(Bucket=self.address.bucket, **key)
        except known.ClientError as error:
            raise self._failure(what, name, error.response) from None
        except (
            known.NoCredentialsError,
            known.PartialCredentialsError,
            known.CredentialRetrievalError,
        ) as error:
            raise StoreRefused(
                f"can't {what} {self._shown(name)}: {_sentence(error)}",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
                "or give this machine a role",
            ) from None
        except known.BotoCoreError as error:
            hint = "check the endpoint, and that this machine can reach it"
            raise OutcomeUnknown(
                f"can't {what} {self._shown(name)}: {type(error).__name__}", hint=hint
            ) from None

    def _failure(self, what: str, name: str, answer: Mapping[str, Any]) -> Exception:
        """The error that an answer means, by its status: codes differ from server to server."""
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = answer.get("Error", {})
        code = str(said.get("Code", ""))
        text = str(said.get("Message", ""))[:_SHOWN_CHARACTERS]
        described = f"{status} {code}" if code and code != str(status) else str(status)
        problem = f"can't {what} {self._shown(name)}: the answer is {described}"
        if code == "NoSuchBucket":
            # A 404 as well, but of more than one object.
            return StoreRefused(
                f"there is no bucket {self.address.bucket!r}",
                hint="check its name and its endpoint",
            )
        if status == 404:
            return _Absent(name)
        if status == 412:
            return PreconditionFailed(problem)
        if status == 409:
            return WriteConflict(problem)
        if status in (401, 403):
            detail = f" ({text})" if text and text != "Forbidden" else ""
            hint = (
                f"it needs {_RIGHTS[what]}; a wrong key, or a clock that is wrong, "
                "is refused as well"
            )
            return StoreRefused(problem + detail, hint=hint)
        # Of these a write may have happened: the answer is then looked for, not assumed.
        passes = status >= 500 or status == 429
        kind = OutcomeUnknown if passes else StoreError
        return kind(f"{problem} ({text})" if text else problem)

    def _shown(self, name: str) -> str:
        return self.address.at(name).url


@lru_cache(32)
def _client(endpoint: str | None, region: str | None, virtual_hosts: bool) -> Any:
    """Make a client, for all threads.

    Raises UserError without boto3, ConfigError for a wrong endpoint or profile.
    """
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        raise UserError(
            "s3:// needs boto3, which is not installed",
            hint="pip install 'pixmill[s3]'",
        ) from None
    style = "auto"
    if virtual_hosts:
        style = "virtual"
    elif endpoint:
        # Few servers but S3's own have a host name for each bucket.
        style = "path"
    options = Config(
        retries={"mode": "standard", "total_max_attempts": BUCKET_ATTEMPTS},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=AUTO_CONCURRENCY,
        s3={"addressing_style": style},
        user_agent_extra="pixmill",
    )
    try:
        session = boto3.session.Session()
        client = session.client(
            "s3", endpoint_url=endpoint, region_name=region, config=options
        )
    except (_exceptions().BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"s3:// can't be used: {_sentence(error)}",
            hint="see AWS_PROFILE and AWS_REGION",
        ) from None
    if problem := endpoint_problem(client.meta.endpoint_url):
        raise ConfigError(
            f"the endpoint of s3:// {problem}",
            hint="see AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3",
        )
    # So that it is masked in logs. Where there are no keys, the first request says so.
    with suppress(Exception):
        remember(session.get_credentials().get_frozen_credentials().secret_key)
    return client


def _exceptions() -> Any:
    import botocore.exceptions

    return botocore.exceptions


def _seen(answer: Mapping[str, Any]) -> Seen:
    """Only the checksum of the whole content counts: one that ends in -2 is of the parts of a
    multipart upload.
    """
    try:
        digest = b64decode(answer.get("ChecksumSHA256") or "", validate=True)
    except BadBase64:
        digest = b""
    return Seen(
        answer["ETag"],
        int(answer["ContentLength"]),
        digest.hex() if len(digest) == 32 else None,
    )


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:_SHOWN_CHARACTERS]
