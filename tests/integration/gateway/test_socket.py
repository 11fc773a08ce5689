"""Live events: in order, without gaps or repeats, and only those asked for."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from libs.common import ids
from services.gateway import following
from services.gateway.app import App
from tests.e2e.api import Api, Frames
from tests.integration.gateway.conftest import SECRET, SLUG, Log, started

OTHER = "e" * 24
PER_PLAY = 4


def _places(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame["sequence"] for frame in frames]


async def test_a_play_is_told_from_start_to_end(api: Api, log: Log) -> None:
    async with api.socket() as frames:
        play_id = await log.whole_play()
        told = await frames.take(PER_PLAY)
    assert [frame["type"] for frame in told] == [
        "play:started",
        "play:layer:started",
        "play:layer:completed",
        "play:completed",
    ]
    assert {frame["playId"] for frame in told} == {play_id}
    assert told[-1]["duration"] == 250


async def test_who_comes_late_hears_what_comes_later(api: Api, log: Log) -> None:
    await log.whole_play()
    async with api.socket() as frames:
        second = await log.whole_play()
        assert (await frames.next())["playId"] == second


async def test_since_0_tells_everything(api: Api, log: Log) -> None:
    plays = [await log.whole_play() for _ in range(3)]
    async with api.socket("?since=0") as frames:
        told = await frames.take(3 * PER_PLAY)
    assert [frame["playId"] for frame in told[::PER_PLAY]] == plays
    assert _places(told) == sorted(set(_places(told)))


async def test_since_0_of_nothing_tells_what_comes(api: Api, log: Log) -> None:
    async with api.socket("?since=0") as frames:
        # Held back by nothing, the replay of nothing is over before this.
        play_id = await log.whole_play()
        assert [frame["playId"] for frame in await frames.take(PER_PLAY)] == [play_id] * PER_PLAY


@pytest.mark.parametrize("stop", range(2 * PER_PLAY))
async def test_a_client_goes_on_wherever_it_stopped(api: Api, log: Log, stop: int) -> None:
    for _ in range(2):
        await log.whole_play()
    async with api.socket("?since=0") as frames:
        whole = await frames.take(2 * PER_PLAY)
    async with api.socket(f"?since={whole[stop]['sequence']}") as frames:
        await log.commit(ids.new_id(), "RUN", started())
        rest = await frames.take(2 * PER_PLAY - stop)
    assert _places(rest)[:-1] == _places(whole)[stop + 1 :]


async def test_replay_and_live_meet_without_a_gap_or_a_repeat(
    api: Api, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "REPLAY_PAGE_MAX", 3)
    plays = 60
    ready = asyncio.Event()

    async def write() -> None:
        for number in range(plays):
            await log.whole_play()
            if number == plays // 3:
                ready.set()

    writing = asyncio.create_task(write())
    await ready.wait()
    async with api.socket("?since=0") as frames:
        told = await frames.take(plays * PER_PLAY)
    await writing
    assert _places(told) == sorted(set(_places(told)))


async def test_a_filter_lets_one_play_or_flow_through(api: Api, log: Log) -> None:
    first = await log.whole_play()
    second = await log.whole_play(flow_id=OTHER)
    third = await log.whole_play()
    async with (
        api.socket(f"?since=0&playId={third}") as by_play,
        api.socket(f"?since=0&flowId={OTHER}") as by_flow,
        api.socket(f"?since=0&flowId={SLUG}") as by_name,
    ):
        assert {frame["playId"] for frame in await by_play.take(PER_PLAY)} == {third}
        assert {frame["playId"] for frame in await by_flow.take(PER_PLAY)} == {second}
        assert {frame["playId"] for frame in await by_name.take(2 * PER_PLAY)} == {first, third}
        fourth = await log.whole_play(flow_id=OTHER)
        assert (await by_flow.next())["playId"] == fourth
        await log.commit(third, "RUN", started())
        assert (await by_play.next())["playId"] == third


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("?since=x", (400, "VALIDATION_ERROR")),
        ("?since=-1", (400, "VALIDATION_ERROR")),
        ("?flowId=nope", (404, "FLOW_NOT_FOUND")),
        ("?playId=*", (404, "PLAY_NOT_FOUND")),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_before_the_upgrade(
    api: Api, query: str, refusal: tuple[int, str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with api.socket(query):
            pass
    assert refused.value.status == refusal[0]


async def test_a_stranger_is_refused_with_401(stranger: Api) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with stranger.socket():
            pass
    assert refused.value.status == 401


async def test_without_an_upgrade_there_is_no_socket(api: Api) -> None:
    assert await api.refused("GET", "/api/ws") == (400, "VALIDATION_ERROR")


async def test_a_page_of_another_origin_may_not_listen(gateway: App) -> None:
    headers = {"Cookie": f"sid={SECRET}"}
    url = f"http://127.0.0.1:{gateway.port}/api/ws"
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(url, headers=headers, origin="https://evil.test")
        assert refused.value.status == 403
        await (await client.ws_connect(url, headers=headers, origin="https://good.test")).close()
        await (
            await client.ws_connect(url, headers=headers, origin=f"http://127.0.0.1:{gateway.port}")
        ).close()


async def test_what_clients_say_is_ignored(api: Api, log: Log) -> None:
    async with api.socket() as frames:
        await frames.connection.send_str("hello")
        await frames.connection.send_bytes(b"\x00")
        play_id = await log.whole_play()
        assert (await frames.next())["playId"] == play_id


async def test_a_client_that_does_not_keep_up_is_told_where_to_go_on(
    gateway: App, api: Api, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SOCKET_BUFFER_FRAMES_MAX", 2)
    async with api.socket() as frames:
        await log.whole_play()
        closed = await _closed(frames)
    assert closed.data == 1013
    assert "since=" in str(closed.extra)


async def test_a_stopping_gateway_says_so(gateway: App, api: Api) -> None:
    async with api.socket() as frames:
        stopping = asyncio.create_task(gateway.stop())
        assert (await _closed(frames)).data == 1001
        await stopping


async def _closed(frames: Frames) -> aiohttp.WSMessage:
    async with asyncio.timeout(60):
        while True:
            message = await frames.connection.receive()
            if message.type is WSMsgType.CLOSE:
                return message
            assert message.type is WSMsgType.TEXT, message
