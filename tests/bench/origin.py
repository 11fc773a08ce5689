"""The other end of the steps with effects: a server that answers every request with the same few bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

BODY = b'{"ok":true}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


class _Origin(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # The steps send GET without a body, so the end of a head is the end of a request.
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


@asynccontextmanager
async def origin() -> AsyncIterator[str]:
    """Serve on any free port of 127.0.0.1 until the end of the block, and yield the URL."""
    server = await asyncio.get_running_loop().create_server(_Origin, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/"
    finally:
        server.close()
