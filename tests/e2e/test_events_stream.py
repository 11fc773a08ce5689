"""`GET /api/plays/:id/events` (spec flow8 section 16): a play from its start to its end, as Server-Sent Events."""

import asyncio

from tests.e2e.api import Api
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem

STEP = {"ref": "a", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}}
GATE = {**STEP, "needsApproval": True}


async def test_a_finished_play_is_told_as_the_socket_told_it(api: Api) -> None:
    flow = await api.create_flow("Told", STEP)
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"], {"n": 1}, wait=60))["playId"]
        told = await frames.until("play:completed", play_id=play_id)
    async with api.events(play_id) as events:
        assert [event.data for event in await events.rest()] == told


async def test_a_play_is_heard_while_it_waits_and_goes_on(api: Api) -> None:
    flow = await api.create_flow("Heard", GATE)
    play_id = (await api.run(flow["id"], {"n": 1}, wait=60))["playId"]
    async with api.events(play_id) as events:
        kinds: list[str] = []
        while not kinds or kinds[-1] != "play:waiting":
            event = await events.next()
            assert event is not None
            kinds.append(event.type)
        decision = {"layerId": "a", "decision": "approved"}
        _, rest = await asyncio.gather(api.post(f"/api/plays/{play_id}/approve", decision), events.rest())
    assert [*kinds, *(event.type for event in rest)] == [
        "play:started",
        "play:waiting",
        "play:layer:started",
        "play:layer:completed",
        "play:completed",
    ]


async def test_a_play_that_was_retried_is_told_up_to_its_newest_end(api: Api) -> None:
    flow = await api.create_flow("Retried", {**STEP, "args": {"values": {"n": "{{ div 1 0 }}"}}})
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"], {"n": 1}, wait=60))["playId"]
        told = await frames.until("play:failed", play_id=play_id)
        await api.post(f"/api/plays/{play_id}/retry")
        told_again = await frames.until("play:failed", play_id=play_id)
    async with api.events(play_id) as events:
        assert [event.data for event in await events.rest()] == [*told, *told_again]
    async with api.events(play_id, after=str(told[-1]["sequence"])) as events:
        assert [event.data for event in await events.rest()] == told_again


async def test_every_place_is_one_to_go_on_from(api: Api) -> None:
    flow = await api.create_flow("Resumed", STEP)
    play_id = (await api.run(flow["id"], {"n": 1}, wait=60))["playId"]
    async with api.events(play_id) as events:
        told = await events.rest()
    for place, event in enumerate(told[:-1]):
        async with api.events(play_id, after=event.id) as events:
            assert await events.rest() == told[place + 1 :]
    async with api.events(play_id, after=told[-1].id) as events:
        assert events.response.status == 204


async def test_another_company_has_no_such_play(api: Api, shared_system: RunningSystem) -> None:
    flow = await api.create_flow("Ours", STEP)
    play_id = (await api.run(flow["id"], {"n": 1}, wait=60))["playId"]
    async with neighbour(shared_system) as other:
        path = f"/api/plays/{play_id}/events"
        assert await other.refused("GET", path) == (404, "PLAY_NOT_FOUND")
        assert await other.refused("GET", f"{path}?since=0") == (404, "PLAY_NOT_FOUND")


async def test_a_play_that_never_was_is_404(api: Api) -> None:
    assert await api.refused("GET", f"/api/plays/{'0' * 24}/events") == (404, "PLAY_NOT_FOUND")
