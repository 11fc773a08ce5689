"""`/openapi.json`, `/asyncapi.json` and `/docs`: what this gateway serves, for programs and for people."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from services.gateway import asyncapi, openapi
from services.gateway.auth import COOKIE
from services.gateway.operations import JSON, operation
from services.gateway.routing import Call, Route

PAGE = Path(__file__).parent.parent / "pages" / "docs.html"
HTML = "text/html"
HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
# The page is one file and asks nobody but us.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocumentRoutes:
    """The API's documents, made from the routes when they are first asked for."""

    def __init__(self, served: Sequence[Route]) -> None:
        self._served = served

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/openapi.json", self._openapi, None),
            Route("GET", "/asyncapi.json", self._asyncapi, None),
            Route("GET", "/docs", self._page, None),
        ]

    @operation(dict[str, Any])
    async def _openapi(self, _call: Call) -> web.Response:
        """Return this document: the HTTP API in OpenAPI 3.1."""
        return web.Response(body=self._openapi_body, content_type=JSON, headers=HEADERS)

    @operation(dict[str, Any])
    async def _asyncapi(self, _call: Call) -> web.Response:
        """Return the socket, the event streams and the bus in AsyncAPI 3.0."""
        return web.Response(body=self._asyncapi_body, content_type=JSON, headers=HEADERS)

    @operation(str, media_type=HTML)
    async def _page(self, call: Call) -> web.Response:
        """Return the page that shows the HTTP API and tries it."""
        headers = {**HEADERS, "Content-Security-Policy": PAGE_POLICY}
        body = self._page_body
        if COOKIE in call.request.cookies:
            # Its scripts cannot see the cookie, and should not ask whose it is where there is none.
            body = body.replace(b"<html ", b"<html data-session ", 1)
        return web.Response(body=body, content_type=HTML, charset="utf-8", headers=headers)

    @functools.cached_property
    def _openapi_body(self) -> bytes:
        return msgspec.json.encode(openapi.document(self._served))

    @functools.cached_property
    def _asyncapi_body(self) -> bytes:
        return msgspec.json.encode(asyncapi.document())

    @functools.cached_property
    def _page_body(self) -> bytes:
        return PAGE.read_bytes()
