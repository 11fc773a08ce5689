"""SIGKILL of a service in the middle of 500 plays: all finish, none twice, and watchers miss nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.api import Api
from tests.faults.load import (
    FIVE_PURE_STEPS,
    Counted,
    all_projected,
    assert_each_ended_once,
    events_by_play,
    start_plays,
    taken_over,
)
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

PLAYS = 500
KILL_AFTER = 100
# Shorter than the default 10 s, so that a killed executor's plays are taken over within the test's patience.
QUICK = {"HEADRACE_ACK_WAIT_S": "3", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}


class Watcher:
    """A socket client that reconnects with the last sequence it saw, as a user's would."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.frames: list[dict[str, Any]] = []

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator["Watcher"]:
        """Watch from the beginning of the log until the end of the block."""
        task = asyncio.create_task(self._watch())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            since = self.frames[-1]["sequence"] if self.frames else 0
            try:
                async with self._api.socket(f"?since={since}") as frames:
                    while True:
                        self.frames.append(await frames.next(within_s=120))
            except (aiohttp.ClientError, TypeError, ConnectionError):
                # TypeError is what aiohttp says of a close frame where JSON was expected.
                await asyncio.sleep(0.02)

    def ended(self) -> int:
        """Return how many plays were seen to end."""
        return sum(frame["type"] in {"play:completed", "play:failed"} for frame in self.frames)


@pytest.fixture(scope="module")
def quick() -> Iterator[RunningSystem]:
    """A system that is whole again when each of these tests has seen its plays end."""
    with running_system(environ=QUICK) as system:
        yield system


@pytest.mark.slow
@pytest.mark.parametrize("service", ["executor", "store", "gateway", "nats", "postgres"])
async def test_a_killed_service_loses_no_play_and_doubles_none(quick: RunningSystem, service: str) -> None:
    """500 plays with an effect each; the service is killed while they run."""
    async with Counted() as server, Api.logged_in(quick.company()) as api:
        flow = await api.create_flow("Killed", *server.layers())
        async with Watcher(api).watching() as watcher:

            async def kill() -> None:
                await eventually(_at_least(server, KILL_AFTER))
                pid = quick.kill(f"{service}-0")
                await asyncio.to_thread(quick.wait_restarted, f"{service}-0", pid)

            play_ids, _ = await asyncio.gather(start_plays(api, flow["id"], PLAYS), kill())
            await all_projected(api, flow["id"], PLAYS)
            await eventually(_all_seen(watcher), within_s=120)
        events = await events_by_play(quick)
    assert_each_ended_once(events, play_ids)
    assert set(server.calls) == {f"{play_id}:call" for play_id in play_ids}
    for play_id in play_ids:
        # Only who takes over from a driver that was lost, or cut off from the log, may repeat an effect whose end was
        # not durable (D15). A machine that stands still for ack_wait looks the same.
        assert server.calls[f"{play_id}:call"] <= 1 + taken_over(events[play_id]), play_id
    sequences = [frame["sequence"] for frame in watcher.frames]
    assert sequences == sorted(set(sequences)), "a frame was repeated or out of order"
    kinds = [frame["type"] for frame in watcher.frames]
    assert kinds.count("play:started") == PLAYS
    assert kinds.count("play:completed") == PLAYS
    assert kinds.count("play:layer:completed") == 3 * PLAYS


@pytest.mark.slow
async def test_two_of_each_service_finish_five_thousand_plays_exactly_once() -> None:
    """Two executors, stores, gateways and schedulers at once; the read models agree with the log."""
    count = 5_000
    twice = ("--executors", "2", "--stores", "2", "--gateways", "2", "--schedulers", "2")
    with running_system(*twice) as system:
        async with Api.logged_in(system) as api:
            flow = await api.create_flow("Two of each", *FIVE_PURE_STEPS)
            play_ids = await start_plays(api, flow["id"], count, at_once=64)
            await all_projected(api, flow["id"], count)
            listed = await api.get(f"/api/flows/{flow['id']}/plays?size=100&page=49")
            layers = await api.layers_of(play_ids[-1])
            drivers = {name for name in system.names() if name.startswith("executor")}
        events = await events_by_play(system)
    assert drivers == {"executor-0", "executor-1"}
    assert_each_ended_once(events, play_ids)
    assert listed["total"] == count
    assert len(listed["data"]) == 100
    assert all(play["out"] == {"n": play["args"]["n"] + 4} for play in listed["data"])
    assert layers["fifth"]["out"] == {"n": count - 1 + 4}
    assert {layer["state"] for layer in layers.values()} == {"DONE"}


def _at_least(server: Counted, count: int) -> Any:
    async def reached() -> bool:
        return len(server.calls) >= count

    return reached


def _all_seen(watcher: Watcher) -> Any:
    async def seen() -> bool:
        return watcher.ended() >= PLAYS

    return seen
