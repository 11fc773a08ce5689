"""SIGKILL of an executor while retried plays stand in line for a slot: each goes on once, in its order."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from libs.common.messages import play as m
from tests.e2e.api import Api
from tests.faults.load import Counted, all_projected, events_by_play, events_in_order, told
from tests.faults.test_killed_families import _called, _is_empty
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

QUICK = {"HEADRACE_ACK_WAIT_S": "3", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}
RETRIED = 6
# The first kill meets a line that stands, the second one that moves.
MOVED = 3


@pytest.mark.slow
async def test_a_killed_executor_strands_no_retry_in_line() -> None:
    async with Counted() as server:
        with running_system(environ=QUICK) as system:
            async with Api.logged_in(system) as api:
                flow = await api.create_flow("Limited", *server.layers(), execution={"maxConcurrent": 1})
                server.answering.clear()
                holder = (await api.run(flow["id"], {"n": 0}))["playId"]
                await eventually(lambda: _called(server, [holder], 1))
                line = await _retried_in_line(api, flow["id"])
                held = line[0]
                assert (await api.post(f"/api/plays/{held}/hold"))["state"] == "DEFERRED"
                old = system.kill("executor-0")
                server.answering.set()
                await asyncio.to_thread(system.wait_restarted, "executor-0", old)
                await api.wait_for(held, "ON_HOLD", within_s=120)
                await told(api, held, "resume")
                await _kill_when(system, server, line)
                await all_projected(api, flow["id"], 1 + RETRIED)
                company = (await events_in_order(system))[0][0].company_id
                await eventually(lambda: _is_empty(system, company, flow))
            by_play = await events_by_play(system)
            released = [key.play_id for key, event in await events_in_order(system) if _is_release(event)]
    assert released == line
    # Nothing of it ran before it was retried, and nothing twice after.
    for play_id in line:
        _check(by_play[play_id])
    assert set(server.calls) == {f"{play_id}:call" for play_id in (holder, *line)}


async def _retried_in_line(api: Api, flow_id: str) -> list[str]:
    """Put plays in line, cancel and retry them in another order, and return them in that order."""
    started = [(await api.run(flow_id, {"n": n}))["playId"] for n in range(1, 1 + RETRIED)]
    for play_id in started:
        await api.delete(f"/api/plays/{play_id}")
    for play_id in reversed(started):
        assert (await api.post(f"/api/plays/{play_id}/retry"))["state"] == "DEFERRED"
    return started[::-1]


async def _kill_when(system: RunningSystem, server: Counted, line: list[str]) -> None:
    await eventually(lambda: _called(server, line, MOVED))
    old = system.kill("executor-0")
    await asyncio.to_thread(system.wait_restarted, "executor-0", old)


def _is_release(event: Any) -> bool:
    return isinstance(event, m.PlayResumed) and event.reason == "released"


def _check(history: list[Any]) -> None:
    """Retried once, it ended once more, with each step once, and nothing came after that."""
    (place,) = (n for n, event in enumerate(history) if isinstance(event, m.RetryDeferred))
    ran = [isinstance(event, m.LayerStarted) for event in history[:place]]
    assert not any(ran)
    since = history[place:]
    assert sum(isinstance(event, m.PlayCompleted | m.PlayFailed) for event in since) == 1
    assert isinstance(history[-1], m.PlayCompleted), history[-1]
    steps = Counter(event.ref for event in since if isinstance(event, m.LayerCompleted))
    assert set(steps.values()) == {1}, steps
