"""Requests that find nobody, or somebody who has only just come, or who dies over them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from libs.common import bus as buses
from libs.common import ids, rpc
from libs.common.bus import Bus, Message
from libs.common.errors import NobodyListens, Unanswered
from libs.common.messages.query import Reply
from libs.common.messages.readiness import GetReadiness, Readiness
from tests.fixtures.nats import NatsServer
from tests.waiting import WITHIN_S, eventually

SERVERS = 20
# Short, for it passes once; on a machine on which it passes again and again there are tries enough.
LOST_AFTER_S = 0.2
TRIES = 300


async def ready(_request: GetReadiness) -> Readiness:
    return Readiness(postgres=None, projection=None)


async def test_who_serves_is_found_at_once_from_another_connection(nats_url: str) -> None:
    asking = await Bus.connect(nats_url, name="asking")
    try:
        for _ in range(SERVERS):
            serving = await Bus.connect(nats_url, name="serving")
            subject = f"q.{ids.commit_id()}"
            await rpc.serve(serving, subject, GetReadiness, {GetReadiness: ready}, queue="store")
            await rpc.ask(asking, subject, GetReadiness(), Readiness, asked_again_max=0)
            await serving.close()
    finally:
        await asking.close()


class Asked(msgspec.Struct, tag_field="type", tag="asked"):
    n: int = 0
    parts: list["Part"] = []


class Told(msgspec.Struct, tag_field="type", tag="told"):
    n: int = 0


class Part(msgspec.Struct):
    type: int = 0


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b'{"type": "asked", "n": 1}', None),
        # Only an instance of another release may know these.
        (b'{"type": "asked-otherwise"}', "UNAVAILABLE"),
        (b'{"n": 1, "type": "asked-otherwise"}', "UNAVAILABLE"),
        # These nobody knows, whatever their errors say and wherever they stand.
        (b'{"type": "asked", "n": "one"}', "VALIDATION_ERROR"),
        (b'{"type": "asked", "parts": [{"type": "asked-otherwise"}]}', "VALIDATION_ERROR"),
        (b'{"type": 1}', "VALIDATION_ERROR"),
        (b'{"n": 1}', "VALIDATION_ERROR"),
        (b'"asked-otherwise"', "VALIDATION_ERROR"),
        (b'{"type": "asked-otherwise"', "VALIDATION_ERROR"),
    ],
)
async def test_only_a_request_of_an_unknown_type_is_left_to_another_release(
    nats_url: str, request_: bytes, code: str | None
) -> None:
    asking, serving = await Bus.connect(nats_url, name="asking"), await Bus.connect(nats_url, name="serving")
    try:

        async def answer(asked: Asked | Told) -> int:
            return asked.n

        await rpc.serve(serving, "q.asked", Asked | Told, {Asked: answer, Told: answer}, queue="store")
        message = await asking.request("q.asked", request_, timeout_s=30)
        reply = msgspec.json.decode(message.data, type=Reply)
        assert code == (None if reply.problem is None else reply.problem.code)
    finally:
        await serving.close()
        await asking.close()


async def test_a_request_waits_for_a_service_that_restarts(nats_url: str) -> None:
    asking, serving = await Bus.connect(nats_url, name="asking"), await Bus.connect(nats_url, name="serving")
    subject = f"q.{ids.commit_id()}"
    try:
        with pytest.raises(NobodyListens):
            await rpc.ask(asking, subject, GetReadiness(), Readiness, asked_again_max=0)
        asked = asyncio.create_task(rpc.ask(asking, subject, GetReadiness(), Readiness))
        await asyncio.sleep(0)
        assert not asked.done()
        await rpc.serve(serving, subject, GetReadiness, {GetReadiness: ready}, queue="store")
        assert await asked == await ready(GetReadiness())
    finally:
        await serving.close()
        await asking.close()


@pytest.fixture
async def both(nats_url: str) -> AsyncIterator[tuple[Bus, Bus]]:
    """Who asks, and who is asked."""
    asking, asked = await Bus.connect(nats_url, name="asking"), await Bus.connect(nats_url, name="asked")
    yield asking, asked
    await asking.close()
    await asked.close()


def forgetful(asked: Bus, answer: bytes, headers: dict[str, str] | None = None) -> Callable[[Message], None]:
    """Return who loses the first request and answers the others."""
    seen = 0
    answers = set()

    def received(message: Message) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            answers.add(asyncio.ensure_future(asked.publish(message.reply, answer, headers=headers)))

    return received


async def test_a_question_is_asked_again_when_whoever_had_it_is_gone(both: tuple[Bus, Bus]) -> None:
    asking, asked = both
    subject = f"q.{ids.commit_id()}"
    answer = msgspec.json.encode(Reply(data=msgspec.Raw(b"7")))
    await asked.subscribe(subject, forgetful(asked, answer))
    await asked.request("$JS.API.INFO")
    reply = await rpc.call(asking, subject, GetReadiness(), timeout_s=LOST_AFTER_S, tries=TRIES)

    assert bytes(reply.data) == b"7"


async def test_what_may_change_something_is_asked_once(both: tuple[Bus, Bus]) -> None:
    asking, asked = both
    subject = f"q.{ids.commit_id()}"
    heard: list[Message] = []
    await asked.subscribe(subject, heard.append)
    await asked.request("$JS.API.INFO")
    with pytest.raises(Unanswered, match=f"no answer on {subject} within 0.2 s"):
        await rpc.call(asking, subject, GetReadiness(), timeout_s=LOST_AFTER_S)

    await eventually(lambda: heard)
    assert len(heard) == 1


async def test_a_read_of_the_log_that_is_lost_is_tried_again(
    both: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, asked = both
    defaults = Bus.request.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout_s", LOST_AFTER_S)
    monkeypatch.setattr(buses, "READ_TRIES_MAX", TRIES)
    place = {"Nats-Subject": "evt.x", "Nats-Sequence": "3"}
    await asked.subscribe("$JS.API.DIRECT.GET.ONE", forgetful(asked, b"one", place))
    await asked.request("$JS.API.INFO", timeout_s=60)
    stored = await asking.get("ONE", 3)

    assert stored is not None
    assert (stored.subject, stored.sequence, stored.data) == ("evt.x", 3, b"one")


async def test_a_connection_to_a_server_that_says_nothing_is_closed_before_the_next(
    nats_server_process: NatsServer,
) -> None:
    bus = await Bus.connect(nats_server_process.url, name="test")
    nats_server_process.stop(hard=True)
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_024):
            pass
        writer.close()
        left.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", nats_server_process.port)
    async with asyncio.timeout(WITHIN_S):
        await left.wait()
    server.close()
    nats_server_process.start()
    await eventually(lambda: bus.connected)
    assert await bus.api("STREAM.NAMES")
    await bus.close()
