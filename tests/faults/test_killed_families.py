"""SIGKILL of an executor whose plays wait for children, and for slots: nothing is lost, doubled or overtaken."""

import asyncio
from typing import Any

import pytest

from libs.common.codec import decode_commit
from libs.common.messages import play as m
from libs.common.subjects import lane_key, plays_stream
from services.executor.lane import Lane, fold
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of
from tests.faults.load import (
    Counted,
    all_projected,
    assert_each_ended_once,
    events_by_play,
    events_in_order,
    start_plays,
)
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

QUICK = {"HEADRACE_ACK_WAIT_S": "3", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}
PARENTS = 24
LIMITED = 12
# The first kill meets some children in their step and others not yet begun, the second a line that moves.
CHILDREN_RUNNING = 12
LIMITED_STARTED = 4


@pytest.mark.slow
async def test_a_killed_executor_strands_no_child_no_parent_and_nobody_in_line() -> None:
    """Killed while children run and plays are DEFERRED, and again while the line moves."""
    async with Counted() as server:
        with running_system(environ=QUICK) as system:
            async with Api.logged_in(system) as api:
                child = await api.create_flow("Child", *server.layers())
                parent = await api.create_flow("Parent", _calling(child))
                limited = await api.create_flow("Limited", *server.layers(), execution={"maxConcurrent": 1})
                server.answering.clear()
                in_line = await _fill_line(api, server, limited)
                parents, _ = await asyncio.gather(
                    start_plays(api, parent["id"], PARENTS), _kill_twice(system, server, in_line)
                )
                for flow, count in ((parent, PARENTS), (child, PARENTS), (limited, LIMITED)):
                    await all_projected(api, flow["id"], count)
                events = await events_in_order(system)
                await eventually(lambda: _is_empty(system, events[0][0].company_id, limited))
                next_one = await api.run(limited["id"], {"n": 0}, wait=60)
            by_play = await events_by_play(system)
    children = _started(events, child)
    assert len(children) == PARENTS
    assert {_parent_of(by_play[play_id]) for play_id in children} == set(parents)
    assert_each_ended_once(by_play, [*parents, *children, *in_line])
    # Who was first in line was the first to begin.
    assert _started(events, limited) == in_line
    assert sum(isinstance(event, m.PlayDeferred) for _, event in events) == LIMITED - 1
    assert next_one["state"] == "DONE"
    assert not any(isinstance(event, m.PlayDeferred) for event in by_play[next_one["playId"]])
    assert set(server.calls) == {f"{play_id}:call" for play_id in (*children, *in_line, next_one["playId"])}


def _calling(flow: Json) -> Json:
    args = {"flowId": flow["id"], "args": {"n": "{{ $prev.args.n }}"}}
    return {"ref": "child", "appId": "subflow", "index": 0, "args": args}


async def _fill_line(api: Api, server: Counted, flow: Json) -> list[str]:
    """Start plays one after the other: the first holds the only slot, the others are DEFERRED in this order."""
    first = (await api.run(flow["id"], {"n": 0}))["playId"]
    await eventually(lambda: _called(server, [first], 1))
    in_line = [first]
    for n in range(1, LIMITED):
        play = await api.run(flow["id"], {"n": n}, wait=60)
        assert play["state"] == "DEFERRED"
        in_line.append(play["playId"])
    return in_line


async def _kill_twice(system: RunningSystem, server: Counted, in_line: list[str]) -> None:
    await eventually(lambda: _any_called(server, 1 + CHILDREN_RUNNING))
    old = system.kill("executor-0")
    server.answering.set()
    await asyncio.to_thread(system.wait_restarted, "executor-0", old)
    await eventually(lambda: _called(server, in_line, LIMITED_STARTED))
    old = system.kill("executor-0")
    await asyncio.to_thread(system.wait_restarted, "executor-0", old)


async def _any_called(server: Counted, count: int) -> bool:
    return len(server.calls) >= count


async def _called(server: Counted, play_ids: list[str], count: int) -> bool:
    return sum(f"{play_id}:call" in server.calls for play_id in play_ids) >= count


async def _is_empty(system: RunningSystem, company_id: str, flow: Json) -> bool:
    """Tell whether the flow's lane has nobody in a slot and nobody in line."""
    async with bus_of(system) as bus:
        stored = await bus.load(plays_stream(0), lane_key(company_id, flow["id"], shards=1).events)
    lane: Lane = fold(decode_commit(one.data, sequence=one.sequence).events for one in stored)
    assert lane.limit.slots == 1
    return not lane.holders and not lane.queue


def _started(events: list[tuple[Any, Any]], flow: Json) -> list[str]:
    """Return the plays of a flow in the order of their beginnings."""
    return [
        key.play_id for key, event in events if key.flow_id == flow["id"] and isinstance(event, m.PlayStarted)
    ]


def _parent_of(history: list[Any]) -> str:
    return next(event.parent_play_id for event in history if isinstance(event, m.PlayStarted))
