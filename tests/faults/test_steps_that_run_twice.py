"""Steps that touch KV entries, through the death of their executor and a store that does not answer."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from libs.common import subjects
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

QUICK = {"HEADRACE_ACK_WAIT_S": "3", "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}
# More than an entry remembers the commands of.
APPENDS = 60
KILL_AFTER = 12


@pytest.fixture(scope="module")
def quick() -> Iterator[RunningSystem]:
    with running_system(environ=QUICK) as running:
        yield running


class Origin:
    """A server that answers no call before it is told to, and remembers what came."""

    def __init__(self) -> None:
        self.calls: list[Json] = []
        self.answering = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append((request.headers["Idempotency-Key"], await request.json()))
        await self.answering.wait()
        return web.json_response({})


@pytest.fixture
async def origin() -> AsyncIterator[tuple[Origin, str]]:
    made, app = Origin(), web.Application()
    app.router.add_post("/", made.take)
    async with TestServer(app, host="127.0.0.1") as server:
        yield made, str(server.make_url("/"))
        made.answering.set()


async def entry(api: Api, flow: Json, key: str) -> Json:
    found = (await api.get(f"/api/kv?scope=flow&scopeKey={flow['id']}"))["data"]
    return next((entry["value"] for entry in found if entry["key"] == key), None)


async def test_an_append_that_runs_again_after_a_crash_appends_once(quick: RunningSystem) -> None:
    async with Api.logged_in(quick) as api:
        append = {"ref": "a", "appId": "kv-append", "args": {"key": "log", "value": "{{ $prev.args.n }}"}}
        count = {"ref": "c", "appId": "kv-increment", "args": {"key": "count"}, "index": 0}
        flow = await api.create_flow("Append through a crash", {**append, "index": 0}, count)
        started = [await api.run(flow["id"], {"n": n}) for n in range(APPENDS)]

        async def many_appended() -> bool:
            return len(await entry(api, flow, "log") or []) >= KILL_AFTER

        await eventually(many_appended)
        old = quick.kill("executor-0")
        quick.wait_restarted("executor-0", old)
        for play in started:
            assert (await api.wait_for(play["playId"], within_s=120))["state"] == "DONE"
        assert sorted(await entry(api, flow, "log")) == list(range(APPENDS))
        assert await entry(api, flow, "count") == APPENDS


async def test_args_are_the_same_after_a_crash_though_an_entry_changed(
    quick: RunningSystem, origin: tuple[Origin, str]
) -> None:
    remembered, url = origin
    async with Api.logged_in(quick) as api:
        body = {"price": "{{ $kv.price }}", "secret": "{{ $kv.secret }}"}
        call = {"ref": "a", "appId": "curl", "args": {"method": "POST", "url": url, "body": body}}
        flow = await api.create_flow("Same args", call)
        await api.post("/api/kv", {"key": "price", "value": "old"}, status=201)
        await api.post("/api/kv", {"key": "secret", "value": "hush-hush", "secret": True}, status=201)
        started = await api.run(flow["id"])

        async def called(times: int) -> bool:
            return len(remembered.calls) >= times

        await eventually(lambda: called(1))
        await api.post("/api/kv", {"key": "price", "value": "new"})
        old = quick.kill("executor-0")
        quick.wait_restarted("executor-0", old)
        await eventually(lambda: called(2), within_s=120)
        remembered.answering.set()
        assert (await api.wait_for(started["playId"]))["state"] == "DONE"
    # Twice, or more often on a machine that stands still for ack_wait.
    assert len(remembered.calls) >= 2
    expected = (f"{started['playId']}:a", {"price": "old", "secret": "hush-hush"})
    assert [call for call in remembered.calls if call != expected] == []


async def test_a_step_waits_for_a_store_that_does_not_answer(quick: RunningSystem) -> None:
    async with Api.logged_in(quick) as api, bus_of(quick) as bus:
        await api.post("/api/kv", {"key": "patience", "value": 1}, status=201)
        step = {"ref": "a", "appId": "var", "args": {"values": {"n": "{{ $kv.patience }}"}}}
        gate = {"leftValue": "{{ $kv.patience }}", "operator": "eq", "rightValue": "1"}
        flows = [
            await api.create_flow("Args wait", step),
            await api.create_flow("Filters wait", {**step, "filters": [gate]}),
        ]
        # Whatever a run asks of the store is known from now on.
        for flow in flows:
            await api.finished(flow["id"])
        quick.kill("store-0", signal.SIGSTOP)
        try:
            plays = [(await api.run(flow["id"]))["playId"] for flow in flows]

            async def parked() -> bool:
                newest = [
                    await bus.last(subjects.plays_stream(0), f"evt.play.*.*.*.{play}.*") for play in plays
                ]
                return all(one is not None and one.subject.endswith(".WAIT") for one in newest)

            await eventually(parked, within_s=120)
        finally:
            quick.kill("store-0", signal.SIGCONT)
        ended = [await api.wait_for(play, within_s=120) for play in plays]
    assert [(play["state"], play["out"]) for play in ended] == [("DONE", {"n": 1})] * 2
