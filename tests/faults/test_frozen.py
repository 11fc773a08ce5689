"""Processes that stop without dying, and a machine that loses its power."""

import asyncio
import signal

import pytest

from tests.e2e.api import Api
from tests.faults.load import Counted, all_projected, assert_each_ended_once, events_by_play, start_plays
from tests.fixtures.system import running_system
from tests.waiting import eventually

PLAYS = 200
QUICK = {"HEADRACE_ACK_WAIT_S": "2", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}


@pytest.mark.slow
async def test_a_frozen_executor_is_fenced_and_does_no_harm_when_it_thaws() -> None:
    """SIGSTOP for longer than the acknowledgement wait: another takes over, the frozen one appends nothing."""
    async with Counted() as server:
        with running_system("--executors", "2", environ=QUICK) as system:
            async with Api.logged_in(system) as api:
                flow = await api.create_flow("Frozen", *server.layers())

                async def freeze() -> None:
                    async def under_way() -> bool:
                        return len(server.calls) >= PLAYS // 4

                    await eventually(under_way)
                    system.kill("executor-0", signal.SIGSTOP)

                play_ids, _ = await asyncio.gather(start_plays(api, flow["id"], PLAYS), freeze())
                await all_projected(api, flow["id"], PLAYS)
                system.kill("executor-0", signal.SIGCONT)
                again = await api.finished(flow["id"], {"n": -1})
                assert again["state"] == "DONE"
            events = await events_by_play(system)
    assert_each_ended_once(events, play_ids)


@pytest.mark.slow
async def test_a_power_cut_loses_nothing_that_was_accepted() -> None:
    """Every process dies at once; after the next start all accepted plays end, each once."""
    async with Counted() as server:
        with running_system(environ=QUICK) as system:
            async with Api.logged_in(system) as api:
                flow = await api.create_flow("Power", *server.layers())
                play_ids = await start_plays(api, flow["id"], PLAYS)
            await asyncio.to_thread(system.crash)
            await asyncio.to_thread(system.start_again)
            async with Api.logged_in(system) as api:
                await all_projected(api, flow["id"], PLAYS)
            events = await events_by_play(system)
    assert_each_ended_once(events, play_ids)
