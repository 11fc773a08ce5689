"""Messages as they come off the wire, and nats-py as the bus uses it (docs/adr).

Of the whole project only this module and `connection` know nats-py.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import PING_PROTO, Client

from libs.common.errors import Unavailable

CONNECT_PROBE_INTERVAL_S = 0.02


class Message:
    """One message as it came off the wire; headers are parsed when asked for."""

    __slots__ = ("_headers", "data", "raw_headers", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, raw_headers: bytes | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.raw_headers = raw_headers
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers; a header that comes twice keeps its last value."""
        if self._headers is None:
            self._headers = parse_headers(self.raw_headers)
        return self._headers

    @property
    def status(self) -> int:
        """Return the inline status (404, 408, 503 …), 0 for an ordinary message."""
        raw = self.raw_headers
        if raw is None or len(raw) < 12 or raw[8:9] != b" ":
            return 0
        return int(raw[9:12])


Handler = Callable[[Message], None]


def delivered_as(reply: str) -> list[str]:
    """Return what the reply subject of a delivery says of it, in digits.

    How often it was delivered, its sequence in the stream and in the consumer, its time, and how many wait behind it.
    """
    # $JS.ACK.<stream>.<consumer>.<these five>, or with a domain and an account hash behind the prefix (ADR-15 of NATS).
    tokens = reply.split(".")
    return tokens[4:9] if len(tokens) == 9 else tokens[6:11]


def parse_headers(raw: bytes | None) -> dict[str, str]:
    """Parse a NATS header block, without its status line, into names and values."""
    if not raw:
        return {}
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.decode()] = value.strip().decode()
    return headers


def header_block(headers: Mapping[str, str]) -> bytes:
    """Encode headers as a NATS header block. Values must not hold line breaks; ours never do."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"NATS/1.0\r\n{''.join(lines)}\r\n".encode()


class DirectClient(Client):  # type: ignore[misc,unused-ignore]
    """nats-py, with subscriptions whose messages go straight to a function.

    The library puts each message in a queue that a task of the subscription reads: two switches a message. On the hot
    path that is a third of a service's CPU. A direct subscription skips both; its function must not block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, Handler] = {}

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        handler = self.direct.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        handler(Message(subject.decode(), reply.decode(), data, headers))

    async def _connect_to_server(self, server: Any) -> None:
        # The library forgets the connection of an attempt that failed half-way, and leaves it open.
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call,unused-ignore]
        await super()._connect_to_server(server)

    async def _send_ping(self, future: "asyncio.Future[bool] | None" = None) -> None:
        # The library writes a ping ahead of the commands that wait to be written: its answer confirmed none of them.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()


async def await_port(url: str, deadline_s: float) -> None:
    """Wait until one of the servers takes connections. Raises Unavailable when none does in time."""
    # nats-py waits two seconds after a refused first connection; a probe finds the server within milliseconds.
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    servers = [urlsplit(part if "//" in part else f"nats://{part}") for part in url.split(",")]
    while True:
        for server in servers:
            try:
                _, writer = await asyncio.open_connection(server.hostname or "127.0.0.1", server.port or 4222)
            except OSError:
                continue
            writer.close()
            return
        if loop.time() > give_up_at:
            raise Unavailable(f"NATS does not answer at {url} since {deadline_s:g} s")
        await asyncio.sleep(CONNECT_PROBE_INTERVAL_S)
