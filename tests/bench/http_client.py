"""A keep-alive HTTP/1.1 client that costs a few microseconds per request: the load shares its cores with the system."""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
# What a callback gets as the head when the connection ended before the answer.
LOST = b"HTTP/1.1 000 connection lost"

Answered = Callable[[bytes, bytes], None]


class CallFailed(Exception):
    """A call of the preparation was refused; the message is the answer."""


class Connection(asyncio.Protocol):
    """One connection with at most one request under way. Bodies need a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of what they are.
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, answered: Answered) -> None:
        """Send a request; `answered(head, body)` is called with the answer."""
        assert self._transport is not None
        self._answered = answered
        if self._transport.is_closing():
            self.connection_lost(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(HEAD_END)
        if end < 0:
            return
        head = buffer[:end]
        body_end = end + len(HEAD_END) + _length(head)
        if len(buffer) < body_end:
            return
        self._buffer = buffer[body_end:]
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(head, buffer[end + len(HEAD_END) : body_end])

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(LOST, b"")

    def close(self) -> None:
        """End the connection; an answer that is still to come is not waited for."""
        self._answered = None
        if self._transport is not None:
            self._transport.close()


class Api:
    """The HTTP API as one logged-in user: calls for the preparation, raw requests for the load."""

    def __init__(self, base_url: str, *, token: str = "") -> None:
        self._token = token
        parts = urlsplit(base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port, self._cookie = parts.hostname, parts.port, ""
        self._spare: Connection | None = None

    async def login(self, email: str, password: str) -> None:
        """Open a session; later requests carry its cookie."""
        head, _ = await self._exchange("POST", "/api/auth/login", {"email": email, "password": password})
        lines = head.decode().split("\r\n")
        cookies = [line.split(":", 1)[1] for line in lines if line.lower().startswith("set-cookie:")]
        self._cookie = "; ".join(cookie.split(";")[0].strip() for cookie in cookies)

    async def connect(self) -> Connection:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port)
        return connection

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the bytes of a request, to be sent any number of times."""
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            f"Content-Length: {len(content)}",
        ]
        if content:
            lines.append("Content-Type: application/json")
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        if self._cookie:
            lines.append(f"Cookie: {self._cookie}")
        return "\r\n".join(lines).encode() + HEAD_END + content

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the JSON of its answer. Raises CallFailed when it is not 2xx."""
        return msgspec.json.decode((await self._exchange(method, path, body))[1])

    async def close(self) -> None:
        """End the connection of the preparation."""
        if self._spare is not None:
            self._spare.close()

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[bytes, bytes]:
        connection, self._spare = self._spare or await self.connect(), None
        answer: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        connection.ask(
            self.request(method, path, body), lambda head, content: answer.set_result((head, content))
        )
        head, content = await answer
        if head is LOST:
            raise CallFailed(f"{method} {path}: the connection was lost")
        self._spare = connection
        if not head.startswith(b"HTTP/1.1 2"):
            raise CallFailed(
                f"{method} {path}: {head.splitlines()[0].decode()}: {content.decode(errors='replace')}"
            )
        return head, content


def _length(head: bytes) -> int:
    head = head.lower()
    start = head.find(LENGTH)
    if start < 0:
        return 0
    start += len(LENGTH)
    end = head.find(b"\r", start)
    return int(head[start:] if end < 0 else head[start:end])
