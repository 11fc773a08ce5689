"""The API as the command line calls it: one session, errors as sentences."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import aiohttp

from libs.cli.errors import FAILED, LOGGED_OUT, UNREACHABLE, Answered, CommandFailed
from libs.cli.places import COOKIE

CONNECT_S_MAX = 5.0
# Above the longest `?wait=` of a run.
CALL_S_MAX = 90.0
PAGE_SIZE = 100
# The gateway pings every 15 s; silence of three pings is a connection that is gone.
SOCKET_SILENCE_S_MAX = 45.0
FRAME_BYTES_MAX = 64 * 1024 * 1024
STATUSES_REFUSED = frozenset({400, 401, 403, 404})
Json = Any
Query = Mapping[str, str | int | float | None]


class LoggedIn(NamedTuple):
    """A session that was opened, and whose it is."""

    secret: str
    user: Json


class Client:
    """Calls of one system. Make it with `connected`."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, credential: Mapping[str, str]) -> AsyncIterator[Self]:
        """Call this system, with this header that tells who calls (or none), until the end of the block."""
        timeout = aiohttp.ClientTimeout(total=CALL_S_MAX, sock_connect=CONNECT_S_MAX)
        # No jar: a cookie goes where it was opened, and nowhere else.
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(headers=credential, timeout=timeout, cookie_jar=jar) as http:
            yield cls(url, http)

    async def call(self, method: str, path: str, body: Json = None, query: Query | None = None) -> Json:
        """Return what the API answers. Raises Answered when it refuses, CommandFailed when it cannot be reached."""
        return (await self._call(method, path, body, query))[0]

    async def pages(self, path: str, query: Query | None = None, *, limit: int | None = None) -> list[Json]:
        """Return the entries of a list, from all its pages, at most `limit`."""
        found: list[Json] = []
        page = 0
        while True:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit)
            answer = await self.call("GET", path, query={**(query or {}), "page": page, "size": size})
            found += answer["data"]
            page += 1
            if page >= answer["pages"] or (limit is not None and len(found) >= limit):
                return found[:limit]

    async def log_in(self, email: str, password: str) -> LoggedIn:
        """Open a session. Raises as `call`."""
        user, cookies = await self._call("POST", "/api/auth/login", {"email": email, "password": password})
        return LoggedIn(cookies[COOKIE], user)

    @asynccontextmanager
    async def socket(self, query: Query) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open the socket of live events until the end of the block. Raises as `call`."""
        timeout = aiohttp.ClientWSTimeout(ws_receive=SOCKET_SILENCE_S_MAX, ws_close=CONNECT_S_MAX)
        try:
            connection = await self._http.ws_connect(
                f"{self.url}/api/ws", params=_query(query), timeout=timeout, max_msg_size=FRAME_BYTES_MAX
            )
        except aiohttp.WSServerHandshakeError as error:
            # The handshake's error carries no body; a plain call of the same path tells what is wrong.
            if error.status in STATUSES_REFUSED:
                await self.call("GET", "/api/ws", query=query)
            raise self._away(error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error
        async with connection:
            yield connection

    async def _call(
        self, method: str, path: str, body: Json = None, query: Query | None = None
    ) -> tuple[Json, dict[str, str]]:
        try:
            async with self._http.request(
                method,
                self.url + path,
                params=_query(query or {}),
                data=None if body is None else json.dumps(body).encode(),
                allow_redirects=False,
            ) as response:
                content = await response.read()
                cookies = {name: morsel.value for name, morsel in response.cookies.items()}
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error
        return self._good(response.status, content), cookies

    def _good(self, status: int, content: bytes) -> Json:
        try:
            answer = json.loads(content)
            if 200 <= status < 300:
                return answer
            code, message = str(answer["error"]), str(answer["message"])
        except (ValueError, TypeError, KeyError) as error:
            raise CommandFailed(
                f"{self.url} answers {status}, and not as Headrace does", UNREACHABLE
            ) from error
        match status:
            case 401:
                raise Answered(status, code, f"{message}: run `headrace login`", LOGGED_OUT)
            case 503:
                raise Answered(status, code, message, UNREACHABLE)
            case _:
                raise Answered(status, code, message, FAILED)

    def _away(self, error: Exception) -> CommandFailed:
        reason = str(error) or type(error).__name__
        return CommandFailed(
            f"cannot reach {self.url}: {reason}\n"
            "start a system on this machine with `headrace up`, or name another with --url",
            UNREACHABLE,
        )


def _query(query: Query) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}
