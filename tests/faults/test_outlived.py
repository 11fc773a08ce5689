"""Plays that wait longer than the log lasts, on a log of seconds: none is lost, and none runs again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from libs.common import subjects
from libs.common.bus import Bus, Stored
from libs.common.codec import decode_commit
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of
from tests.faults.load import told
from tests.fixtures.system import running_system
from tests.waiting import eventually

# Long enough for a busy machine to carry a play over within half of it.
LOG_S = 20.0
WAIT_MS = 47_000
WITHIN_S = 180.0
STREAM = subjects.plays_stream(0)
SHORT_LOG = {
    "HEADRACE_LOG_DAYS": f"{LOG_S / 86_400:.9f}",
    "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1",
    "HEADRACE_ACK_WAIT_S": "3",
}

FIRST = {"ref": "first", "appId": "var", "index": 0, "args": {"values": {"n": "{{ $prev.args.n }}"}}}
GATE = {
    "ref": "gate",
    "appId": "var",
    "index": 1,
    "needsApproval": True,
    "args": {"values": {"sum": "{{ add $prev.first.n $prev.args.n }}"}},
}
PAUSE = {"ref": "pause", "appId": "delay", "index": 1, "args": {"ms": WAIT_MS}}
LAST = {"ref": "last", "appId": "var", "index": 2, "args": {"values": {"n": "{{ $prev.first.n }}"}}}


class Calls:
    """A loopback server: `/slow` answers when it is told to, `/flaky` breaks the first call of each key, `/` counts."""

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        self.release = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Count the call, and answer as its path says."""
        key = request.headers["Idempotency-Key"]
        self.keys[key] += 1
        if request.path == "/flaky" and self.keys[key] == 1:
            assert request.transport is not None
            request.transport.abort()
        elif request.path == "/slow":
            await self.release.wait()
        return web.json_response({"calls": self.keys[key]})

    def step(self, path: str, **fields: Json) -> Json:
        """Return a step that calls this server."""
        args = {"method": "POST", "url": f"{self.url}{path}", "body": "x", "timeout": 120}
        return {"ref": "call", "appId": "curl", "index": 1, "args": args, "timeout": 120, **fields}


@asynccontextmanager
async def calls() -> AsyncIterator[Calls]:
    server = Calls()
    app = web.Application()
    app.router.add_post("/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.release.set()
        await runner.cleanup()


class Parked:
    """The plays of this test by what they wait for."""

    def __init__(self, api: Api, server: Calls) -> None:
        self.api = api
        self.server = server
        self.ids: dict[str, str] = {}
        self.limited_too = ""

    async def park(self) -> None:
        """Start them all, and bring each to where it waits."""
        api, server = self.api, self.server
        gate = await api.create_flow("Gate", FIRST, GATE)
        limited = await api.create_flow("Limited", FIRST, GATE, execution={"maxConcurrent": 1})
        calling = {
            "ref": "child",
            "appId": "subflow",
            "index": 1,
            "args": {"flowId": gate["id"], "args": {"n": 3}},
        }
        again = {"count": 1, "delayMs": WAIT_MS}
        flows = {
            "decision": gate,
            "hold": gate,
            "slot": limited,
            "line": limited,
            "time": await api.create_flow("Time", FIRST, PAUSE, LAST),
            "child": await api.create_flow("Parent", FIRST, calling),
            "retry": await api.create_flow("Retry", FIRST, server.step("/flaky", retry=again), LAST),
            "step": await api.create_flow("Step", FIRST, server.step("/slow"), LAST),
            "ended": await api.create_flow("Ended", FIRST, server.step("/")),
        }
        for name, flow in flows.items():
            self.ids[name] = (await api.run(flow["id"], {"n": 2}))["playId"]
            states = {"line": ["DEFERRED"], "step": ["RUN"], "ended": ["DONE"]}.get(name, ["WAIT"])
            await api.wait_for(self.ids[name], *states)
        await told(api, self.ids["hold"], "hold")
        known = set(self.ids.values())

        async def called() -> list[str]:
            waiting = await api.get(f"/api/flows/{gate['id']}/plays?state=WAIT")
            return [play["id"] for play in waiting["data"] if play["id"] not in known]

        (self.ids["called"],) = await eventually(called)
        flow = await api.create_flow("Limited too", FIRST, GATE, execution={"maxConcurrent": 1})
        self.limited_too = flow["id"]

    async def approve(self, name: str) -> None:
        """Decide a play's gate."""
        await told(self.api, self.ids[name], "approve", {"layerId": "gate", "decision": "approved"})

    async def ends(self, *names: str) -> None:
        """Wait until these plays are DONE, with the outputs of steps whose events the log has forgotten."""
        for name in names:
            play = await self.api.wait_for(self.ids[name], within_s=WITHIN_S)
            assert (name, play["state"], play["error"]) == (name, "DONE", None)
            assert play["args"]["n"] == (3 if name == "called" else 2)
            layers = await self.api.layers_of(self.ids[name])
            assert {layer["state"] for layer in layers.values()} == {"DONE"}
            assert layers["first"]["out"] == {"n": play["args"]["n"]}


async def _forget(bus: Bus, play_id: str) -> None:
    """Delete everything that the log has of a play, as if nobody had carried it over in time."""
    (key,) = {subjects.parse_play(stored.subject)[0] for stored in await _history(bus, play_id)}
    for subject in (key.command("*"), key.events):
        await bus.api(f"STREAM.PURGE.{STREAM}", {"filter": subject})


@pytest.mark.slow
async def test_plays_wait_longer_than_the_log_lasts() -> None:
    """For a decision, a slot, a time, a child, a retry, a resume, the end of a step; one that is forgotten says so."""
    async with calls() as server:
        with running_system(environ=SHORT_LOG) as system:
            async with Api.logged_in(system) as api, bus_of(system) as bus:
                parked = Parked(api, server)
                await parked.park()
                lost = (await api.run(parked.limited_too, {"n": 4}))["playId"]
                await api.wait_for(lost, "WAIT")
                await _forget(bus, lost)
                starts = {name: await _start_of(bus, play_id) for name, play_id in parked.ids.items()}
                begun_at = await bus.last_sequence(STREAM)
                await eventually(lambda: _forgotten(bus, begun_at), within_s=WITHIN_S)
                open_plays = [play_id for name, play_id in parked.ids.items() if name != "ended"]
                for play_id in open_plays:
                    assert await _begins_with_a_snapshot(bus, play_id), play_id
                assert await _history(bus, parked.ids["ended"]) == []
                # Not once more, and not by a start that comes late or twice.
                for start in (*starts.values(), *starts.values()):
                    await bus.append(start.subject, start.data, id=f"late-{start.sequence}")
                server.release.set()
                await parked.ends("time", "retry", "step")
                for name in ("decision", "called", "slot"):
                    await parked.approve(name)
                await told(api, parked.ids["hold"], "resume")
                await parked.approve("hold")
                await parked.ends("decision", "called", "child", "slot", "hold")
                await api.wait_for(parked.ids["line"], "WAIT", within_s=WITHIN_S)
                await parked.approve("line")
                await parked.ends("line")
                again = await bus.load(STREAM, subjects.shard_events(0))
                late = await _history(bus, parked.ids["ended"])
                said = await api.wait_for(lost, within_s=WITHIN_S)
                after = await api.run(parked.limited_too, {"n": 5}, wait=60)
    assert (said["state"], said["errorCode"]) == ("FAIL", "HISTORY_LOST")
    # Its slot is free.
    assert after["state"] == "WAIT"
    assert late == []
    since = _events(again, besides=parked.ids["line"])
    assert any(isinstance(event, m.PlayCompleted) for event in since)
    assert not any(isinstance(event, m.PlayStarted) for event in since)
    wanted = {"retry": 2, "step": 1, "ended": 1}
    assert server.keys == {f"{parked.ids[name]}:call": times for name, times in wanted.items()}


async def _history(bus: Bus, play_id: str) -> list[Stored]:
    return await bus.load(STREAM, subjects.history(0, "*", play_id=play_id))


async def _start_of(bus: Bus, play_id: str) -> Stored:
    stored = await bus.last(STREAM, subjects.start_of(0, "*", play_id))
    assert stored is not None
    return stored


async def _forgotten(bus: Bus, sequence: int) -> bool:
    """Tell whether the log holds nothing any more of what was there at this sequence, but what is kept for ever."""
    kinds = ("cmd.play.0.>", subjects.shard_events(0))
    oldest = [stored for kind in kinds for stored in (await bus.load_some(STREAM, kind, since=1, limit=1))[0]]
    return all(stored.sequence > sequence for stored in oldest)


async def _begins_with_a_snapshot(bus: Bus, play_id: str) -> bool:
    stored = await _history(bus, play_id)
    if not stored:
        return False
    return isinstance(decode_commit(stored[0].data, sequence=stored[0].sequence).events[-1], m.PlaySnapshot)


def _events(stored: Sequence[Stored], *, besides: str) -> list[m.PlayEvent]:
    keys: list[tuple[PlayKey, Stored]] = [(subjects.parse_play(one.subject)[0], one) for one in stored]
    return [
        event
        for key, one in keys
        if key.play_id != besides
        for event in decode_commit(one.data, sequence=one.sequence).events
    ]
