"""Many plays at once against a system that is being broken, and the log's word on what became of them."""

import asyncio
import time
from collections import Counter
from typing import Any, Self

import aiohttp
from aiohttp import web

from libs.common.bus import Bus
from libs.common.codec import decode_commit
from libs.common.messages import play as m
from libs.common.subjects import PlayKey, parse_play, plays_stream, shard_events
from tests.e2e.api import Api
from tests.fixtures.system import RunningSystem
from tests.waiting import POLL_FACTOR, POLL_S_MAX

RETRY_PAUSE_S = 0.02
WITHIN_S = 180.0

FIVE_PURE_STEPS: list[dict[str, Any]] = [
    {"ref": "first", "appId": "var", "index": 0, "args": {"values": {"n": "{{ $prev.args.n }}"}}},
    {"ref": "second", "appId": "var", "index": 1, "args": {"values": {"n": "{{ add $prev.first.n 1 }}"}}},
    {"ref": "third", "appId": "var", "index": 2, "args": {"values": {"n": "{{ add $prev.second.n 1 }}"}}},
    {"ref": "fourth", "appId": "var", "index": 3, "args": {"values": {"n": "{{ add $prev.third.n 1 }}"}}},
    {"ref": "fifth", "appId": "var", "index": 4, "args": {"values": {"n": "{{ add $prev.fourth.n 1 }}"}}},
]


class Counted:
    """A loopback HTTP server that counts the calls of each play by its Idempotency-Key.

    It counts at once, and answers while `answering` is set.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.answering = asyncio.Event()
        self.answering.set()
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._count)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self.answering.set()
        await self._runner.cleanup()

    async def _count(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        self.calls[key] += 1
        await self.answering.wait()
        return web.json_response({"key": key})

    def layers(self) -> list[dict[str, Any]]:
        """Return a flow of a pure step, a call of this server, and a pure step."""
        url = f"http://127.0.0.1:{self.port}/"
        return [
            {"ref": "before", "appId": "var", "index": 0, "args": {"values": {"n": "{{ $prev.args.n }}"}}},
            {"ref": "call", "appId": "curl", "index": 1, "args": {"method": "POST", "url": url, "body": "x"}},
            {
                "ref": "after",
                "appId": "var",
                "index": 2,
                "args": {"values": {"key": "{{ $prev.call.body.key }}"}},
            },
        ]


async def start_play(api: Api, flow_id: str, number: int) -> str:
    """Start play `number`, however often it takes: the key makes a repeat harmless. Return its id."""
    body = {"args": {"n": number}, "idempotencyKey": f"play-{number}"}
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        try:
            answer = await api.call("POST", f"/api/flows/{flow_id}/run", body)
        except aiohttp.ClientError:
            answer = None
        if answer is not None and answer.status == 200:
            return str(answer.json["playId"])
        assert answer is None or answer.status == 503, answer
        assert time.monotonic() < deadline_s, "no gateway took the play"
        await asyncio.sleep(RETRY_PAUSE_S)


async def start_plays(api: Api, flow_id: str, count: int, *, at_once: int = 32) -> list[str]:
    """Start many plays, `at_once` in flight, and return their ids in order."""
    slots = asyncio.Semaphore(at_once)

    async def one(number: int) -> str:
        async with slots:
            return await start_play(api, flow_id, number)

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def told(api: Api, play_id: str, verb: str, body: Any = None) -> None:
    """Tell a play something, however often it takes: while nobody is there to apply it the answer is 503.

    What was stored by then is applied later, and the repeat refused.
    """
    deadline_s = time.monotonic() + WITHIN_S
    fine = {200}
    while (answer := await api.call("POST", f"/api/plays/{play_id}/{verb}", body)).status not in fine:
        assert answer.status == 503, answer
        assert time.monotonic() < deadline_s, f"nobody applied {verb} to {play_id}"
        fine = {200, 409}
        await asyncio.sleep(RETRY_PAUSE_S)


async def all_projected(api: Api, flow_id: str, count: int, *, state: str = "DONE") -> None:
    """Wait until the read model shows this many plays of the flow in a state."""
    deadline_s = time.monotonic() + WITHIN_S
    seen, pause_s = -1, RETRY_PAUSE_S
    while seen != count:
        assert time.monotonic() < deadline_s, f"{seen} of {count} plays are {state}"
        try:
            answer = await api.call("GET", f"/api/flows/{flow_id}/plays?state={state}&size=1")
        except aiohttp.ClientError:
            answer = None
        if answer is not None and answer.status == 200:
            seen = answer.json["total"]
        else:
            assert answer is None or answer.status == 503, answer
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * POLL_FACTOR, POLL_S_MAX)


async def events_in_order(system: RunningSystem) -> list[tuple[PlayKey, Any]]:
    """Return every event of every play with where its play lives, in the order of the log."""
    bus = await Bus.connect(system.env()["HEADRACE_NATS_URL"], name="test")
    try:
        stored = await bus.load(plays_stream(0), shard_events(0))
    finally:
        await bus.close()
    return [
        (parse_play(message.subject)[0], event)
        for message in stored
        for event in decode_commit(message.data, sequence=message.sequence).events
    ]


async def events_by_play(system: RunningSystem) -> dict[str, list[Any]]:
    """Return every event of every play, in order, as the log holds them."""
    events: dict[str, list[Any]] = {}
    for key, event in await events_in_order(system):
        events.setdefault(key.play_id, []).append(event)
    return events


def taken_over(history: list[Any]) -> int:
    """Return how often another driver took a play over, from one that was lost, cut off or stopped."""
    again = {"redelivery", "revive", "resume"}
    return sum(isinstance(event, m.PlayResumed) and event.reason in again for event in history)


def assert_each_ended_once(events: dict[str, list[Any]], play_ids: list[str]) -> None:
    """Every play began once, ended once, with nothing after its end, and completed each step once."""
    assert len(set(play_ids)) == len(play_ids)
    for play_id in play_ids:
        history = events[play_id]
        assert sum(isinstance(event, m.PlayStarted) for event in history) == 1, play_id
        assert sum(isinstance(event, m.PlayCompleted | m.PlayFailed) for event in history) == 1, play_id
        assert isinstance(history[-1], m.PlayCompleted), history[-1]
        steps = Counter(event.ref for event in history if isinstance(event, m.LayerCompleted))
        assert set(steps.values()) == {1}, (play_id, steps)
