"""The ASGI application: both URL forms of the API with their own way to authenticate, and the pictures."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from pixmill.provider.signing import verify
from pixmill.simulator.connection_faults import Receive, send_on_wire
from pixmill.simulator.image_urls import FAULT, is_image, token_of
from pixmill.simulator.recipe import unpack
from pixmill.simulator.responses import SimulatedResponse, gateway_error, reseller_error
from pixmill.simulator.service import Service
from pixmill.simulator.settings import Settings

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GATEWAY_PATH = "/volcv/v1"
_SIGNED_PATH = "/"
_ACTION = {"Action": "CVProcess", "Version": "2022-08-31"}
_NOT_FOUND = reseller_error(404, "There is nothing at this address.", "not_found")
_GONE = SimulatedResponse(
    403, b"The image URL has expired or is not genuine.", "text/plain; charset=utf-8"
)


class Application:
    """The simulator as an ASGI application that is reached at `base_url`."""

    def __init__(self, settings: Settings, base_url: str) -> None:
        self._settings = settings
        self._bearer = f"Bearer {settings.bearer_key}".encode()
        # One thread: painting is bound by the CPU, and more of them would slow the calls down.
        self._painters = ThreadPoolExecutor(max_workers=1, thread_name_prefix="painter")
        self._service = Service(settings, base_url, self._render)
        self._faulty_fetches: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        query = dict(
            parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        )
        if scope["method"] == "POST" and scope["path"] in (_GATEWAY_PATH, _SIGNED_PATH):
            answer = await self._call(scope, query, await _body(receive))
        elif scope["method"] == "GET" and is_image(scope["path"]):
            answer = await self._picture(scope["path"], query)
        else:
            answer = _NOT_FOUND
        if answer.wire:
            await send_on_wire(scope, receive, answer, answer.wire)
        else:
            await _send(send, answer)

    def close(self) -> None:
        """Stop painting and close the bill."""
        self._painters.shutdown(cancel_futures=True)
        self._service.close()

    async def _call(
        self, scope: Scope, query: Mapping[str, str], body: bytes
    ) -> SimulatedResponse:
        if not _ACTION.items() <= query.items():
            return gateway_error("InvalidActionOrVersion", query)
        return self._refusal(scope, query, body) or await self._service.answer(body)

    def _refusal(
        self, scope: Scope, query: Mapping[str, str], body: bytes
    ) -> SimulatedResponse | None:
        headers = dict(scope["headers"])
        if scope["path"] == _GATEWAY_PATH:
            if hmac.compare_digest(headers.get(b"authorization", b""), self._bearer):
                return None
            return reseller_error(
                401, "The API key is missing or not valid.", "invalid_api_key"
            )
        error = verify(
            scope["method"],
            scope["path"],
            query,
            {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in headers.items()
            },
            body,
            access_key=self._settings.access_key,
            secret_key=self._settings.secret_key,
            session_token=self._settings.session_token,
            at=datetime.now(UTC),
        )
        return gateway_error(error, query) if error else None

    async def _picture(self, path: str, query: Mapping[str, str]) -> SimulatedResponse:
        token = token_of(path, query)
        if token is None:
            return _GONE
        picture = SimulatedResponse(200, await self._render(token), "image/jpeg")
        return (
            await self._spoilt(picture, token, query[FAULT])
            if FAULT in query
            else picture
        )

    async def _spoilt(
        self, picture: SimulatedResponse, token: str, fault: str
    ) -> SimulatedResponse:
        from pixmill.simulator.fault_effects import (
            ImageEffect,  # see the service: pydantic is slow to import
        )

        effect = ImageEffect.unpack(fault)
        self._faulty_fetches[token + fault] += 1
        if effect.times and self._faulty_fetches[token + fault] > effect.times:
            return picture
        await asyncio.sleep(effect.delay)
        return effect.on(picture)

    async def _render(self, token: str) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(
            self._painters, _painted, token
        )


@lru_cache(maxsize=64)
def _painted(token: str) -> bytes:
    from pixmill.simulator.painting.painter import (
        paint,  # numpy and Pillow cost half of the start-up time
    )

    return paint(unpack(token))


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _send(send: Send, answer: SimulatedResponse) -> None:
    headers = [
        (name.encode(), value.encode()) for name, value in answer.fields().items()
    ]
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": headers}
    )
    await send({"type": "http.response.body", "body": answer.body})
