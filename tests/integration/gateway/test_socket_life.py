"""Sockets over time: signs of life, clients that stall, servers that go away, several shards."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from services.gateway import closing, feeds, following, sockets
from services.gateway.app import App
from tests.e2e.api import Api
from tests.fixtures.nats import NatsServer
from tests.integration.gateway.conftest import SECRET, Log, whole

PER_PLAY = 4
SILENCE_S = 1.5


@pytest.fixture
def nats_url(nats_server_process: NatsServer) -> str:
    """A server that a test may stop and start again."""
    return nats_server_process.url


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life within a blink."""
    monkeypatch.setattr(feeds, "KEEPALIVE_INTERVAL_S", 0.05)
    monkeypatch.setattr(sockets, "SILENCE_S_MAX", SILENCE_S)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life all the time."""
    monkeypatch.setattr(feeds, "KEEPALIVE_INTERVAL_S", 0.0005)


async def test_a_client_that_answers_no_ping_is_sent_away(impatient: None, gateway: App) -> None:
    async with aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{gateway.port}/api/ws"
        connection = await client.ws_connect(url, headers={"Cookie": f"sid={SECRET}"}, autoping=False)
        kinds = set()
        async with asyncio.timeout(60):
            while (message := await connection.receive()).type is WSMsgType.PING:
                kinds.add(message.type)
        assert (kinds, message.type, message.data) == ({WSMsgType.PING}, WSMsgType.CLOSE, 1001)
        await connection.close()


async def test_a_client_that_answers_stays(impatient: None, api: Api, log: Log) -> None:
    async with api.socket() as frames:
        # The library answers pings while somebody reads.
        reading = asyncio.create_task(frames.next())
        # Twice the silence that ends a socket.
        assert not (await asyncio.wait({reading}, timeout=2 * SILENCE_S))[0]
        await log.whole_play()
        assert (await reading)["type"] == "play:started"


async def test_a_client_that_could_not_be_asked_stays(impatient: None, api: Api, log: Log) -> None:
    async with api.socket() as frames:
        reading = asyncio.create_task(frames.next())
        _stand_still(2 * SILENCE_S)
        await log.whole_play()
        assert (await reading)["type"] == "play:started"


def _stand_still(seconds: float) -> None:
    """Let the gateway's process, which is this one, do nothing for a while, as on a machine that is too busy."""
    time.sleep(seconds)


async def test_a_socket_ends_with_its_session(impatient: None, api: Api, log: Log) -> None:
    async with api.socket() as frames:
        reading = asyncio.create_task(frames.connection.receive())
        await log.user(disabled=True)
        async with asyncio.timeout(60):
            message = await reading
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)


async def test_sockets_that_open_while_others_are_looked_after_end_with_their_session(
    restless: None, api: Api, log: Log
) -> None:
    # Each of them opens, in several steps, between and beside signs of life of all.
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(api.socket()) for _ in range(20)]
        await log.user(disabled=True)
        async with asyncio.timeout(60):
            last = [await frames.connection.receive() for frames in opened]
    assert {(message.type, message.data) for message in last} == {(WSMsgType.CLOSE, 1008)}


async def test_a_client_that_reads_nothing_ends_and_the_others_do_not_notice(
    gateway: App, api: Api, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SOCKET_BUFFER_FRAMES_MAX", 50)
    monkeypatch.setattr(closing, "CLOSE_S_MAX", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1_024)
    writer.write(
        f"GET /api/ws HTTP/1.1\r\nHost: a\r\nCookie: sid={SECRET}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    play = whole("x" * 200_000)
    async with api.socket() as frames:
        for number in range(120):
            await log.commit(f"{number:024x}", "DONE", *play)
            await frames.take(PER_PLAY)
    async with asyncio.timeout(60):
        await _read_to_its_end(reader)
    writer.close()


async def test_a_lost_server_costs_no_event(api: Api, log: Log, nats_server_process: NatsServer) -> None:
    async with api.socket() as frames:
        first = await log.whole_play()
        told = await frames.take(PER_PLAY)
        nats_server_process.stop(hard=True)
        nats_server_process.start()
        plays = [await log.whole_play() for _ in range(3)]
        told += await frames.take(3 * PER_PLAY)
    assert [frame["playId"] for frame in told[-3 * PER_PLAY :: PER_PLAY]] == plays
    places = [frame["sequence"] for frame in told]
    assert told[0]["playId"] == first
    assert places == sorted(set(places))


@pytest.mark.parametrize("shards", [3])
async def test_a_client_of_several_shards_goes_on_wherever_it_stopped(api: Api, log: Log) -> None:
    plays = 12
    async with api.socket() as live:
        for number in range(plays):
            await log.whole_play(f"{number:024x}")
        heard = await live.take(plays * PER_PLAY)
    async with api.socket("?since=0") as frames:
        told = await frames.take(plays * PER_PLAY)
    assert _by_play(heard) == _by_play(told)
    for stop in (0, 5, 17, 30, 46):
        for whole_story in (heard, told):
            async with api.socket(f"?since={whole_story[stop]['sequence']}") as frames:
                rest = await frames.take(len(whole_story) - stop - 1)
            assert _by_play([*whole_story[: stop + 1], *rest]) == _by_play(told)


async def _read_to_its_end(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1 << 20):
            continue
    except ConnectionError:
        return


def _by_play(frames: list[dict[str, Any]]) -> dict[str, list[str]]:
    story: dict[str, list[str]] = {}
    for frame in frames:
        story.setdefault(frame["playId"], []).append(frame["type"])
    return dict(sorted(story.items()))
