"""Channels for tests: a flow behind a route, and calls on the channel's own port."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from yarl import URL

from tests.e2e.api import Answer, Api, Json
from tests.waiting import WITHIN_S, eventually

ECHO = {"ref": "echo", "appId": "var", "args": {"values": {"got": "{{ $prev.args }}"}}}


class Door(NamedTuple):
    """A channel with one route, and where it is called."""

    channel: Json
    route: Json

    @property
    def url(self) -> str:
        """Return the channel's own address."""
        return f"http://127.0.0.1:{self.channel['port']}"


@asynccontextmanager
async def door(api: Api, flows: list[str], *, route: Json = None, **fields: Json) -> AsyncIterator[Door]:
    """Open a channel with one route to these flows; it is gone at the end of the block."""
    body = {"name": "Door", "kind": "http", **fields}
    channel = await api.post("/api/channels", body, status=201)
    given = {"name": "Route", "path": "/in", "targetFlowIds": flows, **(route or {})}
    made = await api.post(f"/api/channels/{channel['id']}/routes", given, status=201)
    opened = Door(channel, made)
    try:
        await listening(channel["port"])
        yield opened
    finally:
        await api.call("DELETE", f"/api/channels/{channel['id']}")


async def call(
    door: Door,
    path: str = "/in",
    *,
    method: str = "POST",
    body: Json = None,
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Make a call on a channel's port and return whatever is answered."""
    data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
    sent = {"Content-Type": "application/json", **(headers or {})} if data is not None else headers
    url = URL(door.url + path, encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=data, headers=sent) as response,
    ):
        text = await response.text()
        return Answer(response.status, json.loads(text) if text else None, dict(response.headers))


def refused(answer: Answer) -> tuple[int, str]:
    """Return status and code of a refusal, which has the API's own format."""
    assert set(answer.json) >= {"error", "message", "statusCode"}, answer
    assert answer.json["statusCode"] == answer.status, answer
    return answer.status, answer.json["error"]


async def is_open(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def listening(port: int) -> None:
    """Wait until somebody listens on a port."""
    await eventually(lambda: is_open(port))


async def closed(port: int, within_s: float = WITHIN_S) -> None:
    """Wait until nobody listens on a port."""

    async def gone() -> bool:
        return not await is_open(port)

    await eventually(gone, within_s=within_s)
