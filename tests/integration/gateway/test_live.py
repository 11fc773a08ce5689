"""Waiters find in the stream what no live message told them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.common import topology
from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.subjects import PlayKey, play_key
from services.gateway.live import Live, Seen
from tests.waiting import WITHIN_S

KEY = play_key("company", "flow", "play", shards=1)


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection to a server whose stream of plays tells nobody what it stores."""
    connected = await Bus.connect(nats_url, name="test")
    silent = next(stream for stream in topology.streams(Config()) if stream["name"] == "PLAYS_0")
    del silent["republish"]
    assert "error" not in await connected.api("STREAM.CREATE.PLAYS_0", silent)
    yield connected
    await connected.close()


@pytest.fixture
async def live(bus: Bus) -> AsyncIterator[Live]:
    started = Live(bus, SystemClock())
    await started.start()
    yield started
    await started.stop()


async def _append(bus: Bus, state: str, key: PlayKey = KEY) -> int:
    return (await bus.append(key.event(state), state.encode(), id=f"{key.play_id}-{state}")).sequence


def _is_hold(state: str, data: bytes) -> bool:
    return (state, data) == ("ON_HOLD", b"ON_HOLD")


async def test_a_commit_that_others_follow_is_found(bus: Bus, live: Live) -> None:
    before = await _append(bus, "RUN")
    waiter = await live.waiter(KEY, _is_hold, since=before)
    held = await _append(bus, "ON_HOLD")
    await _append(bus, "WAIT")
    assert await waiter.seen(WITHIN_S) == Seen("ON_HOLD", held, b"ON_HOLD")


async def test_without_a_place_the_newest_is_found(bus: Bus, live: Live) -> None:
    await _append(bus, "RUN")
    done = await _append(bus, "DONE")
    waiter = await live.waiter(KEY, lambda _state, _data: True)
    assert await waiter.seen(WITHIN_S) == Seen("DONE", done, b"DONE")


async def test_what_came_before_is_not_waited_for(bus: Bus, live: Live) -> None:
    held = await _append(bus, "ON_HOLD")
    waiter = await live.waiter(KEY, _is_hold, since=held)
    await live.look_for(waiter)
    assert waiter.waiting
    asyncio.get_running_loop().call_soon(waiter.give_up)
    assert await waiter.seen(WITHIN_S) is None
