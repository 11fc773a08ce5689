"""A run as Server-Sent Events, from its beginning to its end (spec flow-like section 8.4)."""

import asyncio

from aiohttp import web

from libs.common.errors import HeadraceError, Unavailable
from services.gateway.cors import Origins
from services.gateway.flow_like.run_events import event_text
from services.gateway.flow_like.run_feed import RunFeed
from services.gateway.parts import Parts
from services.gateway.routes.events import STREAM_HEADERS
from services.gateway.streams import WRITE_S_MAX, comment_text

# A comment after so long without an event, so that whoever is between us does not hang up.
KEEPALIVE_S = 1.0


class RunStreams:
    """Sends callers the runs that they started."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._origins = Origins(parts.config.allowed_origins)

    def check(self) -> None:
        """Raise Unavailable when this gateway is about to stop."""
        if self._parts.feeds.draining:
            raise Unavailable("this gateway is about to stop")

    async def send(
        self, request: web.BaseRequest, feed: RunFeed, *, with_state: bool = True
    ) -> web.StreamResponse:
        """Stream a run until it has ended; without `with_state` nothing is said of single nodes."""
        response = web.StreamResponse(headers=STREAM_HEADERS)
        self._origins.allow(request, response, request.path)
        await response.prepare(request)
        while not feed.ended:
            try:
                events = await feed.next(KEEPALIVE_S)
                self.check()
            except HeadraceError as error:
                # The status is sent already; the run can be read by its id.
                await _write(response, comment_text(error.message))
                return response
            shown = [event for event in events if with_state or not event.event_type.startswith("run:")]
            await _write(response, b"".join(map(event_text, shown)) if events else comment_text("alive"))
        return response


async def _write(response: web.StreamResponse, text: bytes) -> None:
    if not text:
        return
    try:
        async with asyncio.timeout(WRITE_S_MAX):
            await response.write(text)
    except TimeoutError as error:
        raise ConnectionResetError("the client reads nothing") from error
