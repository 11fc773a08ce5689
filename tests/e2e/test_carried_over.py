"""A play that stays open longer than the log keeps its history (design D16)."""

from collections.abc import AsyncIterator

import pytest

from libs.common import ids, subjects
from libs.common.bus import Bus, Stored
from libs.common.clock import SystemClock
from libs.common.codec import Context, encode_message, source_of
from libs.common.messages.play import CarryOverPlay, StartPlay
from libs.common.subjects import PlayKey
from tests.e2e.api import Api, Json
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

FIRST = {"ref": "first", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}}
GATE = {
    "ref": "gate",
    "appId": "var",
    "index": 1,
    "needsApproval": True,
    "args": {"values": {"sum": "{{ add $prev.first.n $prev.args.n }}"}},
}
STREAM = subjects.plays_stream(0)


@pytest.fixture
async def bus(shared_system: RunningSystem) -> AsyncIterator[Bus]:
    bus = await Bus.connect(shared_system.env()["HEADRACE_NATS_URL"], name="test")
    yield bus
    await bus.close()


async def _newest(bus: Bus, play_id: str) -> Stored:
    stored = await bus.last(STREAM, subjects.history(0, "*", play_id=play_id))
    assert stored is not None
    return stored


async def _command(bus: Bus, key: PlayKey, verb: str, command: CarryOverPlay | StartPlay) -> None:
    id = ids.commit_id()
    context = Context(source=source_of(key.company_id, key.flow_id), subject=key.play_id)
    await bus.append(key.command(verb), encode_message(command, id=id, context=context), id=id)


async def _carried_over(api: Api, bus: Bus, n: int) -> PlayKey:
    """Return a play that waits for an approval, of which the log holds nothing but its carried-over state."""
    flow: Json = await api.create_flow(f"Long {n}", FIRST, GATE)
    parked = await api.run(flow["id"], {"n": n}, wait=60)
    assert parked["state"] == "WAIT"
    before = await _newest(bus, parked["playId"])
    key, _ = subjects.parse_play(before.subject)
    await _command(bus, key, "carry", CarryOverPlay(at=SystemClock().now()))

    async def is_carried() -> bool:
        return (await _newest(bus, key.play_id)).sequence > before.sequence

    await eventually(is_carried)
    for subject in (key.command("*"), key.events):
        keep = 1 if subject == key.events else 0
        await bus.api(f"STREAM.PURGE.{STREAM}", {"filter": subject, "keep": keep})
    assert len(await bus.load(STREAM, key.events)) == 1
    return key


async def test_a_play_goes_on_from_its_carried_over_state(api: Api, bus: Bus) -> None:
    key = await _carried_over(api, bus, 4)
    shown = await api.get(f"/api/plays/{key.play_id}")
    assert (shown["state"], shown["args"]) == ("WAIT", {"n": 4})
    answer = await api.post(f"/api/plays/{key.play_id}/approve", {"layerId": "gate", "decision": "approved"})
    assert answer["layerId"]
    play = await api.wait_for(key.play_id)
    assert (play["state"], play["out"], play["args"]) == ("DONE", {"sum": 8}, {"n": 4})
    assert {ref: step["state"] for ref, step in (await api.layers_of(key.play_id)).items()} == {
        "first": "DONE",
        "gate": "DONE",
    }


async def test_a_carried_over_play_can_be_cancelled(api: Api, bus: Bus) -> None:
    key = await _carried_over(api, bus, 5)
    await api.delete(f"/api/plays/{key.play_id}")
    play = await api.wait_for(key.play_id)
    assert (play["state"], play["errorCode"]) == ("FAIL", "CANCELLED")


async def test_a_start_that_is_older_than_the_log_is_refused(api: Api, bus: Bus) -> None:
    flow = await api.create_flow("Old", FIRST)
    ended = await api.run(flow["id"], {"n": 1}, wait=60)
    key, _ = subjects.parse_play((await _newest(bus, ended["playId"])).subject)
    for subject in (key.command("*"), key.events):
        await bus.api(f"STREAM.PURGE.{STREAM}", {"filter": subject})
    old = StartPlay(at=SystemClock().now().replace(year=2020), definition=1, flow_version=1)
    await _command(bus, key, "start", old)
    # Commands of one play come in order, so what follows it was decided after it.
    after = await api.run(flow["id"], {"n": 2}, wait=60)
    assert after["state"] == "DONE"
    assert await bus.load(STREAM, key.events) == []
