"""A play that a newer release wrote to stands still among executors of this one, and is shown all the same."""

import aiohttp
import msgspec

from libs.common import ids, subjects
from libs.common.bus import Bus, Expected
from libs.common.codec import encode
from libs.common.subjects import PlayKey
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

SOMETHING_NEW = "headrace.play.something-new.v1"
STREAM = subjects.plays_stream(0)
GATE = {"ref": "gate", "appId": "var", "args": {"values": {"n": 1}}, "needsApproval": True}
APPROVED = {"layerId": "gate", "decision": "approved"}
QUICK = {"HEADRACE_ACK_WAIT_S": "1"}


async def test_nobody_goes_on_with_a_play_whose_history_this_release_cannot_read() -> None:
    """Its commands come again and again, and whoever has them is counted; others go on."""
    with running_system(environ=QUICK) as system:
        async with Api.logged_in(system) as api, bus_of(system) as bus:
            flow = await api.create_flow("Written to by a newer release", GATE)
            play, other = [(await api.run(flow["id"]))["playId"] for _ in range(2)]
            for play_id in (play, other):
                await api.wait_for(play_id, "WAIT")
            (key,) = {
                subjects.parse_play(stored.subject)[0]
                for stored in await bus.load(STREAM, subjects.history(0, "*", play_id=play))
            }
            before = len(await bus.load(STREAM, key.events))
            await _write_something_new(bus, key)
            await _approve(bus, key)
            await eventually(lambda: _left_again(system))
            await api.post(f"/api/plays/{other}/approve", APPROVED)
            assert (await api.wait_for(other))["state"] == "DONE"
            assert len(await bus.load(STREAM, key.events)) == before + 1
            shown = await api.get(f"/api/plays/{play}")
            layers = await api.layers_of(play)
    assert (shown["state"], layers["gate"]["state"]) == ("WAIT", "WAIT")


async def _write_something_new(bus: Bus, key: PlayKey) -> None:
    newest = await bus.last(STREAM, key.events)
    assert newest is not None
    id = ids.commit_id()
    batch = encode([_message(f"{id}.0", key, SOMETHING_NEW, {"at": "2026-01-01T00:00:00Z", "what": "new"})])
    await bus.append(key.event("WAIT"), batch, id=id, expected=Expected(key.events, newest.sequence))


async def _approve(bus: Bus, key: PlayKey) -> None:
    id = ids.commit_id()
    data = {"at": "2026-01-01T00:00:00Z", "layerId": "gate", "decision": "approved"}
    await bus.append(
        key.command("approve"), encode(_message(id, key, "headrace.play.approve.v1", data)), id=id
    )


def _message(id: str, key: PlayKey, type: str, data: Json) -> Json:
    source = f"/companies/{key.company_id}/flows/{key.flow_id}"
    about = {"source": source, "subject": key.play_id, "time": "2026-01-01T00:00:00Z"}
    return {"specversion": "1.0", "id": id, "type": type, **about, "data": data}


async def _left_again(system: RunningSystem) -> bool:
    """Tell whether the command was left at least twice: so it was not acknowledged."""
    ports = msgspec.json.decode((system.home / "run" / "ports.json").read_bytes())
    url = f"http://127.0.0.1:{ports['executor-0']['ops']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    series = "headrace_newer_types_total{"
    of_commands = [line for line in lines if line.startswith(series) and 'what="command"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in of_commands if SOMETHING_NEW in line) >= 2
