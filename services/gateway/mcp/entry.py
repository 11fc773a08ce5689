"""Who may speak MCP with us: path, host and origin, API key, size; and nobody longer than their key holds.

Spec flow8 sections 4 and 14.3; the MCP specification, "Streamable HTTP", security warning.
"""

import asyncio
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import metrics
from libs.common.config import Config
from libs.common.errors import Forbidden, HeadraceError, Invalid, NotFound, TooLarge, Unauthorized
from services.gateway import bodies
from services.gateway.keys import ApiKeys
from services.gateway.mcp.server import CALLER
from services.gateway.mcp.sessions import Sessions
from services.gateway.principal import Principal
from services.gateway.problems import Problem

PATHS = frozenset({"/", "/mcp"})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
BODY_S_MAX = 30.0
PARSE_ERROR = -32700
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": "*, Authorization",
    "access-control-max-age": "600",
}
_any = msgspec.json.Decoder(Any)


class _Misdirected(HeadraceError):
    """The request names a host that is not here (RFC 9110 section 15.5.20)."""

    status = 421
    default_code = "MISDIRECTED"


class _TooSlow(HeadraceError):
    """The body did not come in time (RFC 9110 section 15.5.9)."""

    status = 408
    default_code = "TIMEOUT"


class _Reply:
    """What was sent of an answer, so that it can be ended from outside."""

    def __init__(self, send: Send, method: str, headers: Mapping[str, str]) -> None:
        self._send = send
        self._method = method
        # Those that every answer has.
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.status = 0
        self.session_id = ""
        self._complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            self.session_id = _session_of(message["headers"])
            message = {**message, "headers": [*message["headers"], *self._headers]}
            metrics.REQUESTS.labels(self._method, "/mcp", str(self.status)).inc()
        elif not message.get("more_body", False):
            self._complete = True
        await self._send(message)

    async def end(self, error: HeadraceError | None) -> None:
        """End the answer: its stream where one was begun, else with this error."""
        if self.status:
            if not self._complete:
                await self({"type": "http.response.body", "body": b""})
        elif error is not None:
            await self.refuse(error)

    async def refuse(self, error: HeadraceError) -> None:
        """Answer with an error in the API's own format."""
        body = msgspec.json.encode(Problem(error.code, error.message, error.status))
        await self.json(error.status, body, {"www-authenticate": "Bearer"} if error.status == 401 else {})

    async def json(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON."""
        told = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        lines = [(name.encode(), value.encode()) for name, value in told.items()]
        await self({"type": "http.response.start", "status": status, "headers": lines})
        await self({"type": "http.response.body", "body": body})


class _Flight:
    """A request that is being answered, for as long as its token holds."""

    def __init__(self, token: str, session_id: str, task: "asyncio.Task[None]") -> None:
        self.token = token
        self.session_id = session_id
        self.task = task
        self.end: HeadraceError | None = None
        self.ended = False


class Entry:
    """Lets MCP clients in."""

    def __init__(self, config: Config, keys: ApiKeys, sessions: Sessions, inside: ASGIApp) -> None:
        self._keys = keys
        self._sessions = sessions
        self._inside = inside
        self._body_bytes_max = config.body_bytes_max
        given = [origin.strip().rstrip("/") for origin in config.allowed_origins.split(",")]
        self._origins = frozenset(origin for origin in given if origin)
        names = {urlsplit(origin).hostname or "" for origin in self._origins}
        # Whoever listens to this machine alone is called by no other name (DNS rebinding).
        self._hosts = LOOPBACK | names if config.host in LOOPBACK else None
        self._flights: set[_Flight] = set()
        self._bell = asyncio.Event()
        keys.on_changed(self._bell.set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reply = _Reply(send, scope["method"], self._shared(headers.get("origin", "")))
        try:
            self._check_place(scope["path"], headers)
            if scope["method"] == "OPTIONS" and headers.get("origin"):
                # A browser asks before it sends a key; the origin is one of ours.
                await reply.json(200, b"{}", PREFLIGHT)
                return
            token = _token(headers)
            scope[CALLER] = caller = await self._caller(token)
            body = await self._body(headers, receive)
        except HeadraceError as error:
            await reply.refuse(error)
            return
        if scope["method"] == "POST" and (problem := _unreadable(body)):
            await reply.json(400, problem)
            return
        # The SDK holds a session to the credential that opened it.
        key = AccessToken(token="", client_id=caller.key_id, scopes=[], subject=caller.user_id)
        scope["user"] = owner = AuthenticatedUser(key)
        session_id = headers.get(MCP_SESSION_ID_HEADER, "")
        await self._fly(token, session_id, scope, _replayed(body, receive), reply)
        if session_id:
            self._note(scope["method"], session_id, reply.status)
        elif reply.session_id and reply.status < 400:
            self._sessions.opened(reply.session_id, caller.company_id, owner)
            await self._make_room(caller.company_id)

    async def watch(self) -> None:
        """End the answers whose key holds no longer, for ever."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            for flight in list(self._flights):
                try:
                    await self._caller(flight.token)
                except (Unauthorized, Forbidden) as error:
                    _end(flight, error)
                except HeadraceError:
                    # The log is away; the bell rings again when it is back.
                    break

    def stop(self) -> None:
        """End the streams that would go on for ever; calls that run are answered by themselves."""
        for flight in list(self._flights):
            if flight.task.get_name() == "GET":
                _end(flight, None)

    def _shared(self, origin: str) -> Mapping[str, str]:
        """Return what lets a browser show an answer to a page of an allowed origin (fetch standard, CORS)."""
        if origin not in self._origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": MCP_SESSION_ID_HEADER,
            "vary": "Origin",
        }

    def _check_place(self, path: str, headers: Mapping[str, str]) -> None:
        if path not in PATHS:
            raise NotFound(f"MCP is at {' and '.join(sorted(PATHS))}")
        host = _host(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            raise _Misdirected("the Host header names another machine")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            raise Forbidden("pages of this origin may not call; name it in HEADRACE_ALLOWED_ORIGINS")

    async def _caller(self, token: str) -> Principal:
        caller = await self._keys.holder(token)
        if "mcp" not in caller.scopes:
            raise Forbidden("this API key is not for MCP")
        return caller

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared[:20]) > self._body_bytes_max:
            raise TooLarge(f"a body has at most {self._body_bytes_max} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S_MAX):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Invalid("the client has left")
                    body += message.get("body", b"")
                    if len(body) > self._body_bytes_max:
                        raise TooLarge(f"a body has at most {self._body_bytes_max} bytes")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise _TooSlow(f"the body did not come within {BODY_S_MAX:g} s") from error

    async def _make_room(self, company_id: str) -> None:
        busy = {flight.session_id for flight in self._flights}
        surplus = self._sessions.too_many(company_id, busy)
        if surplus is None:
            return
        session_id, owner = surplus
        self._sessions.over(session_id)
        # As its client would end it.
        scope = {
            "type": "http", "http_version": "1.1", "method": "DELETE", "path": "/mcp", "raw_path": b"/mcp",
            "query_string": b"", "headers": [(MCP_SESSION_ID_HEADER.encode(), session_id.encode())], "user": owner,
        }  # fmt: skip
        await self._inside(scope, _replayed(b"", _nothing), _unheard)

    async def _fly(self, token: str, session_id: str, scope: Scope, receive: Receive, reply: _Reply) -> None:
        task = asyncio.create_task(self._answer(scope, receive, reply), name=scope["method"])
        flight = _Flight(token, session_id, task)
        self._flights.add(flight)
        try:
            await task
        except asyncio.CancelledError:
            if not flight.ended:
                raise
            await reply.end(flight.end)
        finally:
            self._flights.discard(flight)

    async def _answer(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        await self._inside(scope, receive, reply)

    def _note(self, method: str, session_id: str, status: int) -> None:
        if method == "DELETE" or status == 404:
            self._sessions.over(session_id)
        else:
            self._sessions.used(session_id)


def _end(flight: _Flight, error: HeadraceError | None) -> None:
    flight.ended, flight.end = True, error
    flight.task.cancel()


def _session_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    name = MCP_SESSION_ID_HEADER.encode()
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _unheard(_: Message) -> None:
    return


def _token(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthorized("bring an API key with the scope mcp: Authorization: Bearer …")
    return token.strip()


def _host(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _unreadable(body: bytes) -> bytes | None:
    """Return the JSON-RPC error for what the API would not read either, None when it would."""
    try:
        bodies.parse(body, _any)
    except Invalid as error:
        told = {"code": PARSE_ERROR, "message": f"Parse error: {error.message}"}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": told})
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    left: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
