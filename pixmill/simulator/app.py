"""The ASGI application: both URL forms of the API, each with its own authentication, and the pictures."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from pixmill.simulator.authentication import verify
from pixmill.simulator.calls import ACTIONS
from pixmill.simulator.connection_faults import Receive, send_on_connection
from pixmill.simulator.image_urls import FAULT, is_image, token_of
from pixmill.simulator.inputs import KeptImages
from pixmill.simulator.recipe import unpack
from pixmill.simulator.responses import (
    SimulatedResponse,
    gateway_error,
    named_error,
    reseller_error,
)
from pixmill.simulator.service import Service
from pixmill.simulator.settings import Settings

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GATEWAY_PATH = "/volcv/v1"
_SIGNED_PATH = "/"
_VERSION = "2022-08-31"
_NOT_FOUND = reseller_error(404, "There is nothing at this address.", "not_found")
_GONE = SimulatedResponse(
    403, b"The image URL has expired or is not genuine.", "text/plain; charset=utf-8"
)


class Application:
    """The simulator as an ASGI application that is reached at `base_url`."""

    def __init__(
        self,
        settings: Settings,
        base_url: str,
    ) -> None:
        self._settings = settings
        self._bearer = f"Bearer {settings.bearer_key}".encode()
        # One thread: painting is bound by the CPU, and more of them would slow the calls.
        self._painters = ThreadPoolExecutor(max_workers=1, thread_name_prefix="painter")
        # For as long as a task can be asked for, and its URLs after that.
        life = settings.retention + settings.url_life
        self._inputs = KeptImages(settings.bill, life)
        self._service = Service(settings, base_url, self._render, self._inputs)
        # How often each image URL with a fault was fetched.
        self._faulty_fetches: Counter[str] = Counter()

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one HTTP request."""
        query_text = scope["query_string"].decode("latin-1")
        query = dict(parse_qsl(query_text, keep_blank_values=True))
        method = scope["method"]
        path = scope["path"]
        if method == "POST" and path in (_GATEWAY_PATH, _SIGNED_PATH):
            message = await receive()
            body: bytes = message.get("body", b"")
            while message.get("more_body"):
                message = await receive()
                body += message.get("body", b"")
            action = ACTIONS.get(query.get("Action", ""))
            if action is None or query.get("Version") != _VERSION:
                answer = gateway_error("InvalidActionOrVersion", query)
            else:
                refusal = self._check_credentials(scope, query, body)
                answer = refusal or await self._service.answer(action, body)
        elif method == "GET" and is_image(path):
            answer = await self._answer_image(path, query)
        else:
            answer = _NOT_FOUND
        if answer.connection:
            await send_on_connection(scope, receive, answer, answer.connection)
            return
        headers = [
            (name.encode(), value.encode()) for name, value in answer.fields().items()
        ]
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": headers,
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    def close(self) -> None:
        """Stop painting and close the bill."""
        self._painters.shutdown(cancel_futures=True)
        self._service.close()
        self._inputs.close()

    def _check_credentials(
        self,
        scope: Scope,
        query: Mapping[str, str],
        body: bytes,
    ) -> SimulatedResponse | None:
        """Return the answer to a call without valid credentials, None for one with them."""
        headers = dict(scope["headers"])
        if scope["path"] == _GATEWAY_PATH:
            sent = headers.get(b"authorization", b"")
            # In constant time, as for every key.
            if hmac.compare_digest(sent, self._bearer):
                return None
            return named_error("invalid_api_key")
        texts = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers.items()
        }
        error = verify(
            scope["method"],
            scope["path"],
            query,
            texts,
            body,
            access_key=self._settings.access_key,
            secret_key=self._settings.secret_key,
            session_token=self._settings.session_token,
            at=datetime.now(UTC),
        )
        return gateway_error(error, query) if error else None

    async def _answer_image(
        self,
        path: str,
        query: Mapping[str, str],
    ) -> SimulatedResponse:
        token = token_of(path, query)
        if token is None:
            return _GONE
        image = await self._render(token)
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        picture = SimulatedResponse(200, image, kind)
        fault = query.get(FAULT)
        if fault is None:
            return picture
        # pydantic would double the start-up time; it is there once a URL has a fault.
        from pixmill.simulator.fault_effects import ImageEffect

        effect = ImageEffect.unpack(fault)
        self._faulty_fetches[token + fault] += 1
        if effect.times and self._faulty_fetches[token + fault] > effect.times:
            return picture
        await asyncio.sleep(effect.delay)
        return effect.apply_to(picture)

    async def _render(self, token: str) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._painters,
            _paint,
            token,
            self._inputs,
        )


# A picture is often fetched right after it was asked for inline, or again after a fault.
@lru_cache(maxsize=64)
def _paint(token: str, inputs: KeptImages) -> bytes:
    # numpy and Pillow cost half of the start-up time, and some calls need no picture.
    from pixmill.simulator.painting.painter import paint

    recipe = unpack(token)
    images = []
    for name in recipe.inputs:
        image = inputs.read(name)
        # One that was dropped meanwhile leaves a scene of the prompt.
        if image is not None:
            images.append(image)
    return paint(recipe, images)
