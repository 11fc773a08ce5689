"""Ending a connection politely, but not for ever."""

import asyncio
from collections.abc import Awaitable

from aiohttp import web

CLOSE_S_MAX = 5.0


async def close_or_cut(request: web.BaseRequest, closing: Awaitable[object]) -> None:
    """Wait for a connection's last words, at most CLOSE_S_MAX; cut it when its client does not take them."""
    try:
        async with asyncio.timeout(CLOSE_S_MAX):
            await closing
    except (TimeoutError, ConnectionError):
        # A client that reads nothing does not read that either.
        if request.transport is not None:
            request.transport.abort()
