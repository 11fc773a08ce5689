"""Plays that wait for people cost the executor nothing: no driver, no memory, however many there are."""

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.e2e.api import Api
from tests.faults.load import all_projected, start_plays, told
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

PLAYS = 500
# What an allocator keeps of plays that were driven at once varies, and it does so once; what plays hold adds up.
ROUNDS_MAX = 5
# What an executor allocates once, for its first plays.
WARM_UP_PLAYS = 500
APPROVED = 50
# Five times what was measured on a busy machine.
RSS_BYTES_PER_PLAY_MAX = 4_096

GATE = {"ref": "gate", "appId": "var", "index": 0, "needsApproval": True, "args": {"values": {"n": 1}}}


@pytest.mark.slow
async def test_plays_that_wait_for_a_decision_use_no_executor_memory() -> None:
    """Nobody drives them, the process is no larger than before, and each goes on when somebody decides."""
    with running_system() as system:
        async with Api.logged_in(system) as api:
            await park(system, api, WARM_UP_PLAYS)
            for _ in range(ROUNDS_MAX):
                before_bytes = rss_bytes(system)
                parked = await park(system, api, PLAYS)
                grown_bytes = rss_bytes(system) - before_bytes
                if grown_bytes / PLAYS < RSS_BYTES_PER_PLAY_MAX:
                    break
            approvals = (_approve(api, play_id) for play_id in parked[:: PLAYS // APPROVED])
            ended = await asyncio.gather(*approvals)
            await eventually(lambda: _drives_none(system))
    assert grown_bytes / PLAYS < RSS_BYTES_PER_PLAY_MAX
    assert ended == ["DONE"] * APPROVED


async def park(system: RunningSystem, api: Api, count: int) -> list[str]:
    """Start so many plays of a new flow, wait until all are parked and nobody drives any; return their ids."""
    flow = await api.create_flow(f"Gate of {count}", GATE)
    play_ids = await start_plays(api, flow["id"], count)
    await all_projected(api, flow["id"], count, state="WAIT")
    await eventually(lambda: _drives_none(system))
    return play_ids


def rss_bytes(system: RunningSystem) -> int:
    """Return the resident memory of the executor."""
    status = Path(f"/proc/{system.pid('executor-0')}/status").read_text()
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


async def _drives_none(system: RunningSystem) -> bool:
    ports = msgspec.json.decode((system.home / "run" / "ports.json").read_bytes())
    url = f"http://127.0.0.1:{ports['executor-0']['ops']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith("headrace_plays_driven ")).split()[1]) == 0


async def _approve(api: Api, play_id: str) -> str:
    await told(api, play_id, "approve", {"layerId": "gate", "decision": "approved"})
    return str((await api.wait_for(play_id))["state"])
