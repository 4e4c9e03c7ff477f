"""The provider client: one call is one HTTP attempt, and whatever comes of it is a `Response`."""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit

from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from pixmill.config.model import CodeRules, Limits, Provider
from pixmill.errors import AnswerUnknown, ConfigError, NotSent
from pixmill.http.transport import Reply, Transport
from pixmill.provider.credentials import (
    Secret,
    VolcKeys,
    bearer_key,
    simulator_key,
    volc_keys,
)
from pixmill.provider.error_codes import CodeTable, Verdict, code_table
from pixmill.provider.responses import Response, no_answer, not_sent, read_answer
from pixmill.provider.signing import sign
from pixmill.provider.task_responses import read_result, read_submit
from pixmill.redaction import MASK, SHORTEST, mask_secrets

API_VERSION = "2022-08-31"
VOLCENGINE_PATH = "/"
VOLCENGINE_URL = "https://visual.volcengineapi.com"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of one answer, which may hold images as Base64."""

_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "pixmill",
}
_REJECTING = (401, 403)
"""Statuses that may mean that a key has expired."""

_TEXTS = ("code", "message", "request_id", "rephraser_result")
"""Fields of a response that hold what the provider says."""


class Action(StrEnum):
    """What a call asks the service to do, as its query says it."""

    PROCESS = "CVProcess"
    """Answer with the images."""
    SUBMIT = "CVSync2AsyncSubmitTask"
    """Start a task, and answer with its id."""
    RESULT = "CVSync2AsyncGetResult"
    """Say what became of a task."""

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters of a call."""
        return {"Action": str(self), "Version": API_VERSION}


Reader: TypeAlias = Callable[[Reply, CodeTable], Response]
"""Says what a reply means under the table of an operation."""


@dataclass(frozen=True)
class Bearer:
    """A gateway's key."""

    key: Secret

    @property
    def sent_secrets(self) -> tuple[Secret, ...]:
        """What goes over the wire as it is, so that an answer may repeat it."""
        return (self.key,)

    def headers(self, _action: Action, _body: bytes) -> Mapping[str, str]:
        """Return the Authorization header, which is the same for every call."""
        return {"Authorization": f"Bearer {self.key.reveal()}"}


@dataclass(frozen=True)
class Signature:
    """Volcengine keys, and the address that they sign for."""

    keys: VolcKeys
    host: str
    path: str

    @property
    def sent_secrets(self) -> tuple[Secret, ...]:
        """What goes over the wire as it is, so that an answer may repeat it; the secret key never
        does.
        """
        access_key, _, token = self.keys
        return (access_key, token) if token else (access_key,)

    def headers(self, action: Action, body: bytes) -> Mapping[str, str]:
        """Return headers whose signature covers exactly `action` and `body`, for some minutes."""
        access_key, secret_key, token = self.keys
        return sign(
            "POST",
            self.host,
            self.path,
            action.query,
            body,
            access_key=access_key.reveal(),
            secret_key=secret_key.reveal(),
            session_token=token.reveal() if token else None,
            at=datetime.now(UTC),
        )


AuthScheme: TypeAlias = Bearer | Signature
"""What lets a request in."""


class Client:
    """Calls one provider at `url`, without a query. Threads may share it; `open_client` makes it.

    `load_auth` finds the keys: when the client is made, and again when they are refused. `codes` is
    `retry.codes`, `operation_file` may say more of the operation's codes.
    """

    def __init__(
        self,
        url: str,
        load_auth: Callable[[], AuthScheme],
        timeout: float,
        codes: Mapping[str, CodeRules] | None = None,
        *,
        connections: int,
        operation_file: str | None = None,
    ) -> None:
        self.url = url
        self._load_auth = load_auth
        self._auth = load_auth()
        self._transport = Transport(connections=connections)
        self._reloading = threading.Lock()
        self._timeout = timeout
        self._table = lru_cache(
            partial(code_table, codes=codes, operation_file=operation_file)
        )

    def call(self, body: bytes, req_key: str) -> Response:
        """Send the JSON `body` once and return what came of it by the codes of `req_key`.

        No fault of provider or network raises. Where a refused key has been replaced since, the
        verdict is to retry.
        """
        return self._ask(Action.PROCESS, body, req_key, read_answer)

    def submit(self, body: bytes, req_key: str) -> Response:
        """Start a task once and return what came of that, as `call` does.

        The verdict is SUBMITTED where the provider has given the task an id.
        """
        return self._ask(Action.SUBMIT, body, req_key, read_submit)

    def poll(self, req_key: str, task_id: str, options: str) -> Response:
        """Ask what became of a task, which is free to repeat, and return the answer.

        `options` is a JSON object: how the images are delivered. The verdict is RUNNING where
        nothing says that the task has ended.
        """
        # The service wants these options as a text that holds JSON.
        asked = {"req_key": req_key, "task_id": task_id, "req_json": options}
        body = json.dumps(asked, allow_nan=False).encode()
        read = partial(read_result, task_id=task_id)
        answer = self._ask(Action.RESULT, body, req_key, read)
        has_new_key = (
            answer.verdict is Verdict.RETRY and answer.http_status in _REJECTING
        )
        # Without an answer, or with one to a key that has been replaced since, nothing is known.
        if answer.http_status is None or has_new_key:
            return replace(answer, verdict=Verdict.RUNNING, task_id=task_id)
        return answer

    def _ask(self, action: Action, body: bytes, req_key: str, read: Reader) -> Response:
        # Kept for this call: another thread may load other keys while it is under way.
        auth = self._auth
        request = self._request(action, body, auth)
        try:
            reply = self._transport.send(
                request, deadline=self._timeout, max_bytes=MAX_ANSWER_BYTES
            )
        except NotSent as error:
            return not_sent(error)
        except AnswerUnknown as error:
            return no_answer(error)
        response = _read_masked(reply, auth, read, self._table(req_key))
        is_rejected = (
            response.verdict is Verdict.STOP
            and response.http_status in _REJECTING
            and response.charged == "no"
        )
        # Keys of a role last for hours, a run may last for days.
        if is_rejected and self._reload_auth(auth):
            return replace(response, verdict=Verdict.RETRY)
        return response

    def close(self) -> None:
        """Close the connections; for when no call is under way."""
        self._transport.close()

    def _request(
        self, action: Action, body: bytes, auth: AuthScheme
    ) -> PreparedRequest:
        # Filled in by hand: `prepare` spends longer on URL, hooks and cookies than all the rest
        # here takes.
        request = PreparedRequest()
        request.method = "POST"
        request.url = f"{self.url}?{urlencode(action.query)}"
        request.body = body
        headers = {
            **_HEADERS,
            **auth.headers(action, body),
            "Content-Length": str(len(body)),
        }
        request.headers = CaseInsensitiveDict(headers)
        return request

    def _reload_auth(self, refused: AuthScheme) -> bool:
        """Whether other keys than the `refused` ones are there by now, which the next calls then
        use.
        """
        with self._reloading:
            # The file may be gone or half written: then the refusal stands, as it is what is to be
            # said.
            with suppress(ConfigError):
                self._auth = self._load_auth()
            return self._auth != refused


def _read_masked(
    reply: Reply, auth: AuthScheme, read: Reader, table: CodeTable
) -> Response:
    """Read an answer without the secrets in it: gateways quote a key that they refuse, and what they
    say is stored and shown.
    """
    body = reply.body
    for secret in (secret.reveal() for secret in auth.sent_secrets):
        if len(secret) >= SHORTEST:
            body = body.replace(secret.encode(), MASK.encode())
    response = read(reply._replace(body=body), table)
    # Escaped ones only show once the JSON is parsed. Not in the whole body, whose images are
    # megabytes.
    texts = {name: getattr(response, name) for name in _TEXTS}
    masked: dict[str, Any] = {
        name: text and mask_secrets(text) for name, text in texts.items()
    }
    # As Latin-1 every byte is a character, and stays what it is.
    raw = mask_secrets(response.raw.decode("latin-1")).encode("latin-1")
    return replace(response, **masked, raw=raw)


def open_client(
    provider: Provider,
    limits: Limits,
    *,
    concurrency: int,
    base_url: str | None = None,
    api_key: Secret | str | None = None,
    codes: Mapping[str, CodeRules] | None = None,
    operation_file: str | None = None,
) -> Client:
    """Return a client with connections for `concurrency` threads.

    `base_url` and the Bearer key `api_key` take the place of what the config says: the embedded
    simulator has its own. `codes` is `retry.codes`, `operation_file` that of the request. Raises
    ConfigError where an address or a key is
    missing or unusable.
    """
    base = base_url or provider.base_url
    path = provider.path
    if provider.kind == "volcengine":
        base = base or VOLCENGINE_URL
        path = VOLCENGINE_PATH
    if not base:
        raise ConfigError(
            f"provider.base_url is not set, and a {provider.kind} has no default address",
            hint="provider: {kind: gateway, base_url: https://gateway.example.com}",
        )
    url = base.rstrip("/") + path
    load_auth = partial(_load_auth, provider, url, api_key)
    return Client(
        url,
        load_auth,
        limits.timeout_seconds,
        codes,
        connections=concurrency,
        operation_file=operation_file,
    )


def _load_auth(
    provider: Provider, url: str, api_key: Secret | str | None
) -> AuthScheme:
    if provider.kind == "volcengine":
        parts = urlsplit(url)
        return Signature(volc_keys(), parts.netloc, parts.path)
    if api_key is not None:
        return Bearer(api_key if isinstance(api_key, Secret) else Secret(api_key))
    if provider.kind == "simulator":
        return Bearer(simulator_key(provider))
    return Bearer(bearer_key(provider))
