"""A graceful stop: plays that cannot end in time are handed over, not left to be redelivered."""

import asyncio
import signal

from aiohttp import web

from libs.common.messages import play as m
from tests.e2e.api import Api
from tests.faults.load import events_by_play
from tests.fixtures.system import running_system
from tests.waiting import eventually


async def test_a_stopped_executor_hands_its_play_to_the_next_one() -> None:
    """The running step is run again under the same idempotency key, by a driver that was asked to take the play."""
    keys: list[str] = []
    release = asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        await release.wait()
        return web.json_response({"held": len(keys)})

    app = web.Application()
    app.router.add_post("/", hold)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    args = {"method": "POST", "url": f"http://127.0.0.1:{runner.addresses[0][1]}/", "body": "x"}
    # An acknowledgement wait beyond the test's patience: only a hand-over can end this in time.
    told = {"HEADRACE_ACK_WAIT_S": "120", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}
    try:
        with running_system(environ=told) as system:
            async with Api.logged_in(system) as api:
                flow = await api.create_flow("Held", {"ref": "call", "appId": "curl", "args": args})
                play_id = (await api.run(flow["id"]))["playId"]
                await eventually(lambda: _called(keys, 1))
                pid = system.kill("executor-0", signal.SIGTERM)
                await asyncio.to_thread(system.wait_restarted, "executor-0", pid)
                await eventually(lambda: _called(keys, 2))
                release.set()
                play = await api.wait_for(play_id)
            events = (await events_by_play(system))[play_id]
    finally:
        release.set()
        await runner.cleanup()
    assert play["state"] == "DONE"
    assert keys == [f"{play_id}:call"] * 2
    assert [event.reason for event in events if isinstance(event, m.PlayResumed)] == ["resume"]


async def _called(keys: list[str], times: int) -> bool:
    return len(keys) >= times
