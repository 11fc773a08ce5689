"""Connections of our HTTP servers."""

import asyncio
from typing import ClassVar

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from services.gateway import problems

log = structlog.get_logger(__name__)


class Connection(RequestHandler):
    """One connection: past the limit it is closed, and what is not even HTTP is answered in the format of errors."""

    connections_max: ClassVar[int]
    # What is logged past the limit.
    full: ClassVar[str]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > self.connections_max:
            log.warning(self.full, connections=self.connections_max)
            transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer for a request that no handler could be given.

        Raises ConnectionError, which ends the connection, when a part of another answer is on its way.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        log.debug("request_malformed", status=status, reason=str(exc))
        first_line = (message or "the request is not HTTP").strip().partition("\n")[0]
        response = problems.malformed(status, first_line)
        response.force_close()
        return response
