"""Executors replaced one after another under load, gracefully and by SIGKILL, with plays in every state."""

import asyncio
import signal
from collections import Counter
from typing import Any

import pytest

from libs.common import ids
from libs.common.bus import Bus
from libs.common.codec import encode
from libs.common.consumer import Delivery, PullConsumer
from libs.common.messages import play as m
from libs.common.subjects import PlayKey, parse_play, plays_stream, shard_events
from libs.common.topology import CONTROL_CONSUMER
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of
from tests.faults.load import Counted, all_projected, events_by_play, start_plays, taken_over, told
from tests.fixtures.system import running_system
from tests.waiting import eventually

QUICK = {"HEADRACE_ACK_WAIT_S": "3", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}
STREAM = plays_stream(0)
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)
OF_EACH = 4
LOAD = 120
WITHIN_S = 180.0
PAUSE_MS = 9_000

FIRST = {"ref": "first", "appId": "var", "index": 0, "args": {"values": {"n": "{{ $prev.args.n }}"}}}
GATE = {"ref": "gate", "appId": "var", "index": 1, "needsApproval": True, "args": {"values": {"n": 1}}}
PAUSE = {"ref": "pause", "appId": "delay", "index": 1, "args": {"ms": PAUSE_MS}}
APPROVED = {"layerId": "gate", "decision": "approved"}


class Fleet:
    """Plays in every state, by the state that they are brought to."""

    def __init__(self, api: Api, server: Counted) -> None:
        self._api = api
        self._server = server
        self._flows: dict[str, Json] = {}
        self.plays: dict[str, list[str]] = {}

    async def set_out(self) -> None:
        """Start some plays of each kind and bring them where they wait."""
        api = self._api
        gate = await api.create_flow("Gate", FIRST, GATE)
        call = {
            "ref": "child",
            "appId": "subflow",
            "index": 1,
            "args": {"flowId": gate["id"], "args": {"n": 1}},
        }
        self._flows = {
            "gate": gate,
            "held": await api.create_flow("Held", FIRST, GATE),
            "pause": await api.create_flow("Pause", FIRST, PAUSE),
            "parent": await api.create_flow("Parent", FIRST, call),
            "line": await api.create_flow("Line", FIRST, GATE, execution={"maxConcurrent": 1}),
            "call": await api.create_flow("Call", *self._server.layers()),
        }
        # Steps that are under way whenever an executor goes.
        self._server.answering.clear()
        for name, flow in self._flows.items():
            self.plays[name] = await start_plays(api, flow["id"], OF_EACH)
        await all_projected(api, gate["id"], 2 * OF_EACH, state="WAIT")
        await all_projected(api, self._flows["line"]["id"], OF_EACH - 1, state="DEFERRED")
        await all_projected(api, self._flows["held"]["id"], OF_EACH, state="WAIT")
        for play_id in self.plays["held"]:
            await told(api, play_id, "hold")
        waiting = await api.get(f"/api/flows/{gate['id']}/plays?state=WAIT&size=100")
        known = set(self.plays["gate"])
        self.plays["child"] = [play["id"] for play in waiting["data"] if play["id"] not in known]

    async def come_home(self) -> None:
        """Do what each play waits for, and wait until all are DONE."""
        api = self._api
        for play_id in self.plays["held"]:
            await told(api, play_id, "resume")
        for name in ("gate", "child", "held"):
            for play_id in self.plays[name]:
                await told(api, play_id, "approve", APPROVED)
        # They were started at once: whoever was decided first is the first in line.
        await asyncio.gather(*(self._approve_in_turn(play_id) for play_id in self.plays["line"]))
        for name, flow in self._flows.items():
            await all_projected(api, flow["id"], 2 * OF_EACH if name == "gate" else OF_EACH)

    async def _approve_in_turn(self, play_id: str) -> None:
        await self._api.wait_for(play_id, "WAIT", within_s=WITHIN_S)
        await told(self._api, play_id, "approve", APPROVED)


@pytest.mark.slow
async def test_executors_are_replaced_one_after_another_under_load() -> None:
    """Nothing is lost, nothing is done twice but steps that were under way, and what nobody knows is left."""
    async with Counted() as server:
        with running_system("--executors", "3", environ=QUICK) as system:
            async with Api.logged_in(system) as api, bus_of(system) as bus:
                fleet = Fleet(api, server)
                await fleet.set_out()
                unknown = await _send_unknown(bus, fleet.plays["gate"][0])
                busy = await api.create_flow("Busy", *server.layers())
                load = asyncio.create_task(start_plays(api, busy["id"], LOAD, at_once=8))
                for number, signum in enumerate(SIGNALS):
                    old = system.kill(f"executor-{number}", signum)
                    await asyncio.to_thread(system.wait_restarted, f"executor-{number}", old)
                server.answering.set()
                plays = await load
                await fleet.come_home()
                await all_projected(api, busy["id"], LOAD)
                assert await _taken_by_a_newer_one(bus, unknown) > 1
            by_play = await events_by_play(system)
    fleet.plays["busy"] = plays
    for play_id in (play_id for some in fleet.plays.values() for play_id in some):
        _assert_each_fact_once(by_play[play_id])
    calling = {f"{play_id}:call": play_id for play_id in (*fleet.plays["call"], *plays)}
    assert server.calls.keys() == calling.keys()
    for key, play_id in calling.items():
        # A step that was under way runs again, once for each driver that took its play over.
        assert server.calls[key] <= 1 + taken_over(by_play[play_id])
    assert sum(server.calls[f"{play_id}:call"] for play_id in fleet.plays["call"]) > OF_EACH


def _assert_each_fact_once(history: list[Any]) -> None:
    assert sum(isinstance(event, m.PlayStarted) for event in history) == 1
    assert sum(isinstance(event, m.PlayCompleted | m.PlayFailed) for event in history) == 1
    assert isinstance(history[-1], m.PlayCompleted), history[-1]
    ended = Counter(event.ref for event in history if isinstance(event, m.LayerCompleted))
    decided = Counter(event.ref for event in history if isinstance(event, m.ApprovalDecided))
    assert {*ended.values(), *decided.values()} == {1}


async def _send_unknown(bus: Bus, play_id: str) -> int:
    """Send a play a command of a newer release and return its place in the stream."""
    (key,) = {found for found in await _keys(bus) if found.play_id == play_id}
    command = {
        "specversion": "1.0",
        "id": ids.commit_id(),
        "type": "headrace.play.command-of-a-newer-release.v1",
        "source": "/",
        "subject": play_id,
        "time": "2026-01-01T00:00:00Z",
        "data": {"at": "2026-01-01T00:00:00Z"},
    }
    return (await bus.append(key.command("approve"), encode(command), id=ids.commit_id())).sequence


async def _keys(bus: Bus) -> set[PlayKey]:
    return {parse_play(stored.subject)[0] for stored in await bus.load(STREAM, shard_events(0))}


async def _taken_by_a_newer_one(bus: Bus, sequence: int) -> int:
    """Take commands beside the executors as a newer one would; return how often the unknown one was delivered."""
    taken: list[int] = []

    async def handle(delivery: Delivery) -> None:
        if delivery.sequence == sequence:
            taken.append(delivery.delivery)
            await delivery.ack()

    newer = PullConsumer(bus, STREAM, CONTROL_CONSUMER, slots=16, handler=handle)
    await newer.start()
    try:
        await eventually(lambda: _any(taken), within_s=WITHIN_S)
    finally:
        await newer.stop(grace_s=1)
    return taken[0]


async def _any(taken: list[int]) -> bool:
    return bool(taken)
