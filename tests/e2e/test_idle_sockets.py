"""A thousand idle sockets on one gateway, each seeing its own company and no other (spec flow8 section 16)."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.api import Api, Frames
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem, running_system

pytestmark = pytest.mark.slow
SOCKETS_PER_COMPANY = 500
OPENED_AT_ONCE = 50
WITHIN_S = 120.0
# Measured: 23 KiB (docs/api.md). Nearly three times that is a leak, or another design.
KIB_PER_SOCKET_MAX = 64
STEP = {"ref": "s", "appId": "var", "args": {"values": {"x": 1}}}


@pytest.fixture(scope="module")
def roomy_system() -> Iterator[RunningSystem]:
    """A system whose processes, and this one, may open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    with running_system() as system:
        yield system
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def many_sockets(api: Api) -> AsyncIterator[list[Frames]]:
    key = await api.post("/api/auth/api-keys", {"name": "sockets", "scopes": ["standard"]}, status=201)
    headers = {"Authorization": f"Bearer {key['token']}"}
    async with aiohttp.ClientSession(
        api.base_url, headers=headers, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        sockets: list[Frames] = []
        while len(sockets) < SOCKETS_PER_COMPANY:
            opened = await asyncio.gather(*(session.ws_connect("/api/ws") for _ in range(OPENED_AT_ONCE)))
            sockets += map(Frames, opened)
        yield sockets
        await asyncio.gather(*(socket.connection.close() for socket in sockets))


def resident_kib(system: RunningSystem) -> int:
    status = Path(f"/proc/{system.pid('gateway-0')}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def seen_by(sockets: list[Frames]) -> set[str]:
    """Return the plays that these sockets are told of, up to the end of one each."""
    told = await asyncio.gather(*(socket.until("play:completed", within_s=WITHIN_S) for socket in sockets))
    return {frame["playId"] for frames in told for frame in frames}


async def test_16_a_thousand_idle_sockets_see_their_company_and_cost_little(
    roomy_system: RunningSystem,
) -> None:
    async with Api.logged_in(roomy_system) as api, neighbour(roomy_system) as other:
        flows = [await each.create_flow("Seen", STEP) for each in (api, other)]
        for each, flow in zip((api, other), flows, strict=True):
            await each.finished(flow["id"])
        before_kib = resident_kib(roomy_system)
        async with many_sockets(api) as ours, many_sockets(other) as theirs:
            per_socket_kib = (resident_kib(roomy_system) - before_kib) / (len(ours) + len(theirs))
            plays: list[list[str]] = [[], []]
            began_s = time.monotonic()
            # Each company twice, in turn: what a socket should not see lies between two things that it should.
            for _ in range(2):
                for n, (each, flow) in enumerate(zip((api, other), flows, strict=True)):
                    plays[n].append((await each.finished(flow["id"]))["id"])
            seen = [await seen_by(sockets) | await seen_by(sockets) for sockets in (ours, theirs)]
            took_s = time.monotonic() - began_s
    print(
        f"{per_socket_kib:.1f} KiB a socket; 4 plays told to {SOCKETS_PER_COMPANY} sockets each in {took_s:.2f} s"
    )
    assert seen == [set(plays[0]), set(plays[1])]
    assert per_socket_kib < KIB_PER_SOCKET_MAX
