"""Channels with several gateways on one host (spec flow8 section 14.1): one serves, the next takes over."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from services.gateway.channels.book import LOOK_AGAIN_S
from tests.e2e.api import Api
from tests.e2e.channels import ECHO, Door, call, closed, door
from tests.fixtures.ports import port_range
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

# Without hearing of it a gateway looks again after LOOK_AGAIN_S.
HEARD_S_MAX = LOOK_AGAIN_S / 2


@pytest.fixture(scope="module")
def two_gateways() -> Iterator[RunningSystem]:
    """The whole system with two gateways and ports of its own for channels."""
    with running_system("--gateways", "2", environ={"HEADRACE_CHANNEL_PORTS": port_range(5)}) as running:
        yield running


def servers_of(system: RunningSystem, opened: Door) -> list[str]:
    """Return the gateways that have ever listened for the channel."""
    names = [name for name in system.names() if name.startswith("gateway-")]
    channel_id = opened.channel["id"]

    def listened(line: str) -> bool:
        return "channel_listening" in line and channel_id in line

    return [name for name in names if any(map(listened, system.logs(name).splitlines()))]


async def answers(opened: Door) -> bool:
    try:
        return (await call(opened, body={})).status == 200
    except OSError:
        return False


async def test_14_1_another_gateway_takes_a_channel_over(two_gateways: RunningSystem) -> None:
    system = two_gateways
    async with Api.logged_in(system) as api:
        flow = await api.create_flow("Echo", ECHO)
        async with door(api, [flow["id"]]) as opened:
            await eventually(lambda: answers(opened))
            (serving,) = servers_of(system, opened)
            old_pid = system.kill(serving)
            await eventually(lambda: answers(opened))
            await asyncio.to_thread(system.wait_restarted, serving, old_pid)
            # Whoever has it now: the other one, or the first again.
            await eventually(lambda: answers(opened))


async def test_14_1_a_channel_is_served_again_after_all_gateways_died(two_gateways: RunningSystem) -> None:
    system = two_gateways
    async with Api.logged_in(system) as api:
        flow = await api.create_flow("Echo", ECHO)
        async with door(api, [flow["id"]]) as opened:
            names = [name for name in system.names() if name.startswith("gateway-")]
            pids = {name: system.kill(name) for name in names}
            for name, pid in pids.items():
                await asyncio.to_thread(system.wait_restarted, name, pid)
            await eventually(lambda: answers(opened))


async def test_14_1_a_disabled_channel_is_closed_by_whichever_gateway_serves_it(
    two_gateways: RunningSystem,
) -> None:
    # Connections are spread over the gateways, so calls of one client end at either.
    async with Api.logged_in(two_gateways) as api:
        flow = await api.create_flow("Echo", ECHO)
        waits = []
        for _ in range(4):
            async with door(api, [flow["id"]]) as opened, Api.logged_in(two_gateways) as another:
                await another.put(f"/api/channels/{opened.channel['id']}", {"enabled": False})
                began_s = time.monotonic()
                await closed(opened.channel["port"])
                waits.append(time.monotonic() - began_s)
    assert max(waits) < HEARD_S_MAX, waits
