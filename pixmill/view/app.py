"""Who may see the pages, and by which addresses: everything else is refused.

A page of a store is for the person who started it. The token in its address keeps other users of
the machine out, and the check of `Host` other pages of the same browser, whose names may lead here
as well. Nothing but the addresses below answers, and nothing is written.
"""

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pixmill.datasets.report.image_links import STORED
from pixmill.datasets.report.page import input_folders
from pixmill.errors import PixmillError
from pixmill.redaction import redact
from pixmill.storage import open_store
from pixmill.view.pictures import ThumbnailCache
from pixmill.view.site import Site, icon
from pixmill.view.stored_datasets import StoredDataset

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)

_THUMBNAIL = re.compile(r"thumbs/[0-9a-f]{2}/([0-9a-f]{64})\.webp")
_FOREVER = {"cache-control": "private, max-age=86400, immutable"}
"""Images are named by their content."""

_NEVER = {"cache-control": "no-store"}


def make_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class Guard:
    """Lets requests through that have the token and come to this server by its own name."""

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        port: int,
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request, or refuse it."""
        # Nothing here speaks WebSocket.
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        _, _, path = scope["path"][1:].partition("/")
        # The application knows nothing of the token, so that no page can give it away.
        inner = {**scope, "path": f"/{path}", "raw_path": None, "root_path": ""}
        await self._app(inner, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        if headers.get(b"host") not in self._hosts:
            return Response("not a name of this server", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return Response(
                "this page only shows",
                405,
                {"allow": "GET, HEAD"},
            )
        # As not found: who guesses is not told how near a guess was, nor by how long it takes.
        token, slash, _ = scope["path"][1:].partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self._token):
            return Response("not found", 404)
        return None


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            message["headers"] = [*headers, *HEADERS]  # type: ignore[misc]
        await send(message)

    return send_with_headers  # type: ignore[return-value]


def make_app(
    site: Site,
    token: str,
    port: int,
) -> ASGIApp:
    """Return the application that serves `site` on 127.0.0.1:`port` below `/token/`."""
    handlers = _Handlers(site)
    dataset = "/{kind:str}/{name:str}"
    routes = [
        Route("/", handlers.index),
        Route("/icon.svg", handlers.icon),
        Route(dataset, handlers.of_dataset(handlers.add_slash)),
        Route(f"{dataset}/", handlers.of_dataset(handlers.page)),
        Route(f"{dataset}/live", handlers.of_dataset(handlers.live)),
        Route(f"{dataset}/store/{{file:path}}", handlers.of_dataset(handlers.stored)),
        Route(f"{dataset}/inputs/{{version:str}}", handlers.of_dataset(handlers.input)),
    ]
    application = Starlette(routes=routes)
    # Its own redirects would lead to an address without the token.
    application.router.redirect_slashes = False
    return Guard(application, token, port)


Handler = Callable[[Request, StoredDataset], Response]


class _Handlers:
    """What is answered; on threads, as files and ledgers are read."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._thumbnails = ThumbnailCache()

    async def index(self, _: Request) -> Response:
        """Send the page of the store."""
        page = await run_in_threadpool(self._site.index_page)
        return HTMLResponse(page, headers=_NEVER)

    async def icon(self, _: Request) -> Response:
        """Send what a browser shows beside the title; it asks for one outside the token otherwise."""
        return Response(
            icon(),
            media_type="image/svg+xml",
            headers=_FOREVER,
        )

    def of_dataset(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler for a dataset that the address names; an unknown one is not found."""

        def answer(request: Request) -> Response:
            params = request.path_params
            key = f"{params['kind']}/{params['name']}"
            dataset = self._site.datasets.find(key)
            if dataset is None:
                return Response("not found", 404)
            try:
                return handler(request, dataset)
            except (PixmillError, OSError) as error:
                # A table that is being written, or a dataset that is just being replaced.
                words = f"{params['name']} can't be shown: {redact(str(error))}"
                return HTMLResponse(
                    f"<p>{escape(words)}</p>",
                    503,
                    _NEVER,
                )

        async def answer_on_thread(request: Request) -> Response:
            return await run_in_threadpool(answer, request)

        return answer_on_thread

    def add_slash(
        self,
        request: Request,
        _: StoredDataset,
    ) -> Response:
        """Send a browser to the page of a dataset whose address was typed without its last slash."""
        # Relative, as only the guard knows the token.
        place = f"./{quote(request.path_params['name'], safe='')}/"
        if request.url.query:
            place += f"?{request.url.query}"
        return RedirectResponse(place, 307, _NEVER)

    def page(
        self,
        request: Request,
        dataset: StoredDataset,
    ) -> Response:
        """Send a page of the jobs of a dataset."""
        text = self._site.dataset_page(dataset, _page_number(request))
        return HTMLResponse("".join(text), headers=_NEVER)

    def live(
        self,
        request: Request,
        dataset: StoredDataset,
    ) -> Response:
        """Send how far a run is, and the jobs of a page that have changed."""
        page = _page_number(request)
        text = self._site.live_state(
            dataset,
            page,
            _number(request, "seen", 0),
        )
        return Response(
            text,
            media_type="application/json",
            headers=_NEVER,
        )

    def stored(
        self,
        request: Request,
        dataset: StoredDataset,
    ) -> Response:
        """Send an image of the store, or its thumbnail."""
        name = request.path_params["file"]
        store = open_store(dataset.config)
        small = _THUMBNAIL.fullmatch(name)
        if small:
            return self._thumbnail(dataset, small[1])
        if not STORED.fullmatch(name):
            return Response("not found", 404)
        # The bucket itself sends them: they need not come by way of this machine.
        link = store.signed_link(name)
        if link:
            return RedirectResponse(link, 307, _NEVER)
        return _send_file(store.file(name))

    def input(
        self,
        request: Request,
        dataset: StoredDataset,
    ) -> Response:
        """Send a local input image that a page has named."""
        source = self._site.sources.find(request.path_params["version"])
        folders = input_folders(dataset.config)
        if not isinstance(source, Path) or not any(
            source.is_relative_to(folder) for folder in folders
        ):
            return Response("not found", 404)
        return _send_file(source)

    def _thumbnail(
        self,
        dataset: StoredDataset,
        digest: str,
    ) -> Response:
        source = self._site.sources.find(digest)
        made = None
        if source is not None:
            store = open_store(dataset.config)
            made = self._thumbnails.find(store, digest, source)
        if made is None:
            return Response("not found", 404)
        return Response(
            made,
            media_type="image/webp",
            headers=_FOREVER,
        )


def _send_file(file: Path) -> Response:
    if not file.is_file():
        return Response("not found", 404)
    return FileResponse(file, headers=_FOREVER)


def _page_number(request: Request) -> int:
    return max(1, _number(request, "page", 1))


def _number(
    request: Request,
    name: str,
    default: int,
) -> int:
    """Return a whole number of the query, at least 0; the default for what is none."""
    text = request.query_params.get(name, "")
    # Longer ones are no number of a page, and beyond what the ledger can compare with.
    return int(text) if text.isdecimal() and len(text) < 16 else default
