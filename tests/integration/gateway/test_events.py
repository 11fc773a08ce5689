"""A play's Server-Sent Events: the frames of the socket, without gap or repeat, to the play's end and no further."""

import asyncio
from typing import Any

import aiohttp
import pytest

from libs.common import codec, ids
from libs.common.messages import play as m
from services.gateway import closing, feeds, following, streams
from services.gateway.app import App
from tests.e2e.api import Api, Event, Events
from tests.integration.gateway.conftest import LAYER, NOW, SECRET, Log, started, whole

KINDS = ["play:started", "play:layer:started", "play:layer:completed", "play:completed"]
END = m.PlayCompleted(at=NOW, state="DONE", started_at=NOW)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats within a blink."""
    monkeypatch.setattr(feeds, "KEEPALIVE_INTERVAL_S", 0.05)


def _step(number: int) -> m.LayerCompleted:
    return m.LayerCompleted(
        at=NOW, ref=f"s{number}", layer_id=LAYER, state="DONE", out=number, announced=True
    )


async def _take(events: Events, count: int) -> list[Event]:
    found: list[Event] = []
    while len(found) < count:
        event = await events.next()
        assert event is not None
        found += [] if event.comment else [event]
    return found


async def test_the_events_are_the_frames_of_the_socket(api: Api, log: Log) -> None:
    play_id = await log.whole_play()
    await log.whole_play()
    async with api.socket(f"?since=0&playId={play_id}") as frames:
        told = [await frames.next() for _ in KINDS]
    async with api.events(play_id) as events:
        assert events.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        heard = await events.rest()
    assert [event.data for event in heard] == told
    assert [event.type for event in heard] == KINDS
    assert [event.id for event in heard] == [str(frame["sequence"]) for frame in told]


async def test_events_of_a_newer_release_are_left_out_and_the_others_of_the_commit_told(
    api: Api, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, *rest = whole()
    play_id = ids.new_id()
    with monkeypatch.context() as newer:
        names: dict[Any, str] = {m.HoldRequested: "headrace.play.held-anew.v1"}
        newer.setattr(codec, "TYPE_NAMES", {**codec.TYPE_NAMES, **names})
        await log.commit(play_id, "DONE", begun, m.HoldRequested(at=NOW), *rest)
    async with api.events(play_id) as events:
        assert [event.type for event in await events.rest()] == KINDS
    async with api.socket(f"?since=0&playId={play_id}") as frames:
        assert [(await frames.next())["type"] for _ in KINDS] == KINDS


@pytest.mark.parametrize("stop", range(len(KINDS) - 1))
@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_client_goes_on_wherever_it_stopped(api: Api, log: Log, stop: int, how: str) -> None:
    play_id = await log.whole_play()
    async with api.events(play_id) as events:
        place = (await _take(events, stop + 1))[-1].id
    query, after = ("", place) if how == "header" else (f"?since={place}", "")
    async with api.events(play_id, query, after=after) as events:
        assert [event.type for event in await events.rest()] == KINDS[stop + 1 :]


async def test_who_has_heard_the_end_is_told_not_to_come_back(api: Api, log: Log) -> None:
    play_id = await log.whole_play()
    async with api.events(play_id) as events:
        last = (await events.rest())[-1].id
    async with api.events(play_id, after=last) as events:
        assert events.response.status == 204


async def test_replay_and_live_meet_without_gap_or_repeat(api: Api, log: Log) -> None:
    play_id, steps = ids.new_id(), 60
    await log.commit(play_id, "RUN", started())

    async def go_on() -> None:
        for number in range(steps):
            await log.commit(play_id, "RUN", _step(number))
        await log.commit(play_id, "DONE", END)

    async def listen() -> list[Any]:
        async with api.events(play_id) as events:
            return [event.data.get("ref") for event in await events.rest()]

    writing = asyncio.create_task(go_on())
    stories = await asyncio.gather(*(listen() for _ in range(5)))
    await writing
    assert stories == [[None, *(f"s{number}" for number in range(steps)), None]] * 5


async def test_the_end_of_a_stream_is_a_comment(api: Api, log: Log) -> None:
    async with api.events(await log.whole_play()) as events:
        await _take(events, len(KINDS))
        assert await events.next() == Event(comment="the play has ended")
        assert await events.next() is None


async def test_nothing_to_say_is_said_as_a_comment(impatient: None, api: Api, log: Log) -> None:
    play_id = ids.new_id()
    await log.commit(play_id, "RUN", started())
    async with api.events(play_id) as events:
        await _take(events, 1)
        assert [await events.next() for _ in range(3)] == [Event(comment="alive")] * 3


async def test_a_stream_ends_with_its_session(impatient: None, api: Api, log: Log) -> None:
    play_id = ids.new_id()
    await log.commit(play_id, "RUN", started())
    async with api.events(play_id) as events:
        await _take(events, 1)
        await log.user(disabled=True)
        said = [event.comment async for event in _to_its_end(events)]
    assert said[-1] == "this user may not log in any more"


async def test_a_gateway_that_stops_says_so(gateway: App, api: Api, log: Log) -> None:
    play_id = ids.new_id()
    await log.commit(play_id, "RUN", started())
    async with api.events(play_id) as events:
        await _take(events, 1)
        await gateway.stop()
        assert [event.comment async for event in _to_its_end(events)][-1].startswith("the gateway restarts")


@pytest.mark.parametrize("play", ["0" * 24, "x", "*"])
async def test_no_other_play_is_to_be_heard(api: Api, log: Log, play: str) -> None:
    # The store, which knows of plays that the log has forgotten, is not there.
    async with api.events(play) as events:
        assert events.response.status in {404, 503}
        assert (await events.response.json())["error"] in {"PLAY_NOT_FOUND", "UNAVAILABLE"}


async def test_without_a_session_nothing_is_told(stranger: Api, log: Log) -> None:
    assert await stranger.refused("GET", f"/api/plays/{await log.whole_play()}/events") == (
        401,
        "UNAUTHORIZED",
    )


@pytest.mark.parametrize("since", ["x", "-1", "1-2", "%00"])
async def test_a_place_that_is_none_is_refused(api: Api, log: Log, since: str) -> None:
    path = f"/api/plays/{await log.whole_play()}/events?since={since}"
    assert await api.refused("GET", path) == (400, "VALIDATION_ERROR")


async def test_a_client_that_reads_nothing_is_sent_away(
    gateway: App, api: Api, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SOCKET_BUFFER_FRAMES_MAX", 20)
    monkeypatch.setattr(closing, "CLOSE_S_MAX", 0.2)
    play_id = ids.new_id()
    await log.commit(play_id, "RUN", started())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1_024)
    writer.write(
        f"GET /api/plays/{play_id}/events HTTP/1.1\r\nHost: a\r\nCookie: sid={SECRET}\r\n\r\n".encode()
    )
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    big = m.LayerCompleted(at=NOW, ref="a", layer_id=LAYER, state="DONE", out="x" * 200_000, announced=True)
    async with api.events(play_id) as events:
        await _take(events, 1)
        for _ in range(120):
            await log.commit(play_id, "RUN", big)
            await _take(events, 1)
    ended = False
    async with asyncio.timeout(60):
        while not ended:
            try:
                ended = not await reader.read(1 << 20)
            except ConnectionError:
                ended = True
    writer.close()


@pytest.mark.parametrize("shards", [3])
async def test_a_play_of_any_shard_is_told_whole(api: Api, log: Log) -> None:
    for number in range(6):
        play_id = await log.whole_play(f"{number:024x}")
        async with api.events(play_id) as events:
            heard = await events.rest()
        assert [event.type for event in heard] == KINDS
        async with api.events(play_id, after=heard[1].id) as events:
            assert [event.type for event in await events.rest()] == KINDS[2:]
        async with api.events(play_id, after=heard[-1].id) as events:
            assert events.response.status == 204


async def test_head_opens_no_stream(gateway: App, log: Log) -> None:
    url = f"http://127.0.0.1:{gateway.port}/api/plays/{await log.whole_play()}/events"
    async with (
        aiohttp.ClientSession(headers={"Cookie": f"sid={SECRET}"}) as client,
        client.head(url) as response,
    ):
        assert (response.status, response.content_type) == (200, "text/event-stream")


async def _to_its_end(events: Events) -> Any:
    while (event := await events.next()) is not None:
        yield event


def test_an_event_is_what_the_standard_says() -> None:
    from services.gateway.frames import Frame

    frame = Frame(131_072, "play:started", '{"type":"play:started"')
    assert streams.event_text(frame, '"1-2"') == (
        b'id: 1-2\nevent: play:started\ndata: {"type":"play:started","sequence":"1-2"}\n\n'
    )
    assert len(whole()) == 3
