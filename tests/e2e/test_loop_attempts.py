"""Attempts, timeouts and decisions inside a loop: each belongs to one item (spec flow8 sections 10, 12 and 17.1)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.api import Api, Json
from tests.e2e.loops import ended, gather, loop, var
from tests.waiting import eventually


class Origin:
    """A server that drops the first calls of some paths, answers others never, and remembers what came."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[tuple[str, str]] = []
        self.drops: Counter[str] = Counter()
        self.hangs: set[str] = set()
        self.over = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Take a call: path and idempotency key are remembered."""
        self.calls.append((request.path, request.headers["Idempotency-Key"]))
        if request.path in self.hangs:
            await self.over.wait()
        if self.drops[request.path]:
            self.drops[request.path] -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response({})

    def call(self, **fields: Json) -> Json:
        """Return the step `body`, which calls the path that the item names."""
        args = {"method": "POST", "url": f"{self.url}{{{{ $prev.loop.item }}}}", "body": "x"}
        return {"ref": "body", "appId": "curl", "index": 2, "args": args, **fields}


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    made, app = Origin(), web.Application()
    app.router.add_post("/{item}", made.take)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url("/"))
        yield made
        made.over.set()


async def test_section_12_a_decision_about_one_item_leaves_the_others_waiting(api: Api) -> None:
    flow = await api.create_flow("One gate", loop(batchSize=3), var("body", 2, needsApproval=True))
    play_id = (await api.run(flow["id"], {"items": ["a", "b", "c"]}))["playId"]
    await api.wait_for(play_id, "WAIT")
    path = f"/api/plays/{play_id}/layers?ref=body"
    gates = await api.get(path)
    await api.post(f"/api/plays/{play_id}/approve", {"layerId": gates[1]["id"], "decision": "approved"})

    async def seen() -> list[tuple[Json, ...]]:
        shown = [(step["state"], step["out"]) for step in await api.get(path)]
        return shown if shown[1][0] == "DONE" else []

    assert await eventually(seen) == [("WAIT", None), ("DONE", {"n": "b"}), ("WAIT", None)]
    assert (await api.wait_for(play_id, "WAIT"))["state"] == "WAIT"
    for gate in (gates[2], gates[0]):
        await api.post(f"/api/plays/{play_id}/approve", {"layerId": gate["id"], "decision": "approved"})
    assert (await api.wait_for(play_id))["state"] == "DONE"


async def test_section_8_a_loop_that_is_retried_begins_from_nothing(api: Api, origin: Origin) -> None:
    items = ["a", "b", "c"]
    origin.drops["/a"] = 2
    body = origin.call(retry={"count": 1})
    flow = await api.create_flow("Loop retried", loop(), body, gather(3, "loop", field="item"))
    play = (await api.run(flow["id"], {"items": items}, wait=60))["playId"]
    before = await api.get(f"/api/plays/{play}/layers?ref=body")
    assert [(step["iteration"], step["state"], step["attempts"]) for step in before] == [(0, "FAIL", 2)]
    await api.post(f"/api/plays/{play}/retry")
    ended = await api.wait_for(play, "DONE")
    after = await api.get(f"/api/plays/{play}/layers?ref=body")
    assert [(step["iteration"], step["state"], step["attempts"], step["error"]) for step in after] == [
        (item, "DONE", 1, None) for item in range(3)
    ]
    assert after[0]["id"] == before[0]["id"]
    assert ended["out"] == {"items": items, "count": 3}


async def test_section_8_a_loop_that_is_retried_after_a_cancel_forgets_its_items(
    api: Api, origin: Origin
) -> None:
    origin.hangs = {"/b"}
    flow = await api.create_flow("Loop cancelled", loop(batchSize=3), origin.call(), gather(3))
    play = (await api.run(flow["id"], {"items": ["a", "b", "c"]}))["playId"]

    async def called() -> bool:
        return len(origin.calls) == 3

    await eventually(called)
    await api.delete(f"/api/plays/{play}")
    first = {step["iteration"]: step for step in await api.get(f"/api/plays/{play}/layers?ref=body")}
    origin.hangs.clear()
    await api.post(f"/api/plays/{play}/retry")
    await api.wait_for(play, "DONE")
    again = {step["iteration"]: step for step in await api.get(f"/api/plays/{play}/layers?ref=body")}
    assert {key: step["state"] for key, step in again.items()} == dict.fromkeys(range(3), "DONE")
    assert first[1]["error"] == "CANCELLED"
    assert again[1]["error"] is None


async def test_section_10_an_item_is_tried_again_by_itself_under_its_own_key(
    api: Api, origin: Origin
) -> None:
    origin.drops["/1"] = 1
    retry = {"count": 2, "delayMs": 20}
    play, steps = await ended(
        api, "Tried again", loop(batchSize=3), origin.call(retry=retry), gather(3), items=[0, 1, 2]
    )
    assert (play["state"], play["out"]["count"]) == ("DONE", 3)
    assert [step["attempts"] for step in steps if step["ref"] == "body"] == [1, 2, 1]
    keys = {path: {key for at, key in origin.calls if at == path} for path in ("/0", "/1", "/2")}
    assert sorted(at for at, _ in origin.calls) == ["/0", "/1", "/1", "/2"]
    assert [len(of_item) for of_item in keys.values()] == [1, 1, 1]
    assert len(set.union(*keys.values())) == 3


async def test_section_10_an_item_that_takes_too_long_fails_and_the_others_go_on(
    api: Api, origin: Origin
) -> None:
    origin.hangs = {"/1"}
    call = origin.call(timeout=6, onError="continue")
    play, steps = await ended(api, "Too long", loop(batchSize=2), call, gather(3), items=[0, 1, 2])
    of_items = [step for step in steps if step["ref"] == "body"]
    assert [(step["state"], step["errorCode"]) for step in of_items] == [
        ("DONE", None),
        ("FAIL", "TIMEOUT"),
        ("DONE", None),
    ]
    assert of_items[1]["duration"] >= 6_000
    assert (play["state"], play["out"]["count"]) == ("DONE", 2)
