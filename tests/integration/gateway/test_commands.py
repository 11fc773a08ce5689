"""Commands to plays that somebody else moves in the same moment: who comes too late is told so, and at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from libs.common import ids, subjects
from libs.common.bus import Bus, Message
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.health import Health
from libs.common.messages import play as m
from services.gateway.parts import assemble
from services.gateway.play_commands import PlayCommands, shows
from services.gateway.plays import Place
from tests.e2e.api import Api
from tests.integration.gateway.conftest import COMPANY, FLOW, LAYER, NOW, USER, Log, started

STEP: dict[str, Any] = {"at": NOW, "ref": "a", "layer_id": LAYER}
CANCELLED = (
    m.CancelRequested(at=NOW, by="somebody"),
    m.LayerFailed(**STEP, error="CANCELLED", error_code="CANCELLED", started_at=NOW),
    m.PlayFailed(at=NOW, error="CANCELLED", error_code="CANCELLED", started_at=NOW),
)
RETRIED = m.PlayRetried(at=NOW, epoch=2, driver=m.Driver(9, 1), number=1, refs=("a",), by="somebody")


@pytest.fixture
async def commands(config: Config, log: Log) -> AsyncIterator[PlayCommands]:
    bus = await Bus.connect(config.nats_url, name="gateway")
    parts = assemble(config, bus, SystemClock(), Health({}))
    await parts.live.start()
    yield PlayCommands(parts)
    await parts.live.stop()
    await bus.close()


async def gated(log: Log) -> str:
    """Store a play that waits for a decision, and return it."""
    play_id = ids.new_id()
    waits = m.LayerWaiting(**STEP, kind="approval")
    await log.commit(play_id, "WAIT", started(), waits, m.PlayWaiting(at=NOW, wait_id=ids.new_id()))
    return play_id


def key_of(play_id: str) -> subjects.PlayKey:
    return subjects.play_key(COMPANY, FLOW, play_id, shards=1)


async def on_command(log: Log, play_id: str, then: Callable[[], Awaitable[object]]) -> None:
    """Do this when the next command of a play is stored."""
    tasks = []

    def received(message: Message) -> None:
        tasks.append(asyncio.ensure_future(then()))

    await log.bus.subscribe(key_of(play_id).command("*"), received)
    await log.bus.last_sequence(subjects.plays_stream(0))


@pytest.mark.usefixtures("gateway")
async def test_a_decision_that_a_cancel_overtakes_is_409(api: Api, log: Log) -> None:
    play = await gated(log)
    await on_command(log, play, lambda: log.commit(play, "FAIL", *CANCELLED))
    body = {"layerId": "a", "decision": "approved"}
    assert await api.refused("POST", f"/api/plays/{play}/approve", body) == (409, "CONFLICT")


@pytest.mark.usefixtures("gateway")
async def test_a_decision_on_a_step_that_ends_in_the_same_moment_is_409(api: Api, log: Log) -> None:
    play = await gated(log)
    done = m.LayerCompleted(**STEP, state="SKIP", out=None, started_at=NOW)
    await on_command(log, play, lambda: log.commit(play, "RUN", done))
    body = {"layerId": "a", "decision": "approved"}
    assert await api.refused("POST", f"/api/plays/{play}/approve", body) == (409, "CONFLICT")


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize(
    ("by", "why"),
    [
        (USER, "you have decided on layer a just now"),
        ("somebody", "somebody else has decided on layer a just now"),
        ("", "the time to decide on layer a was over just now"),
    ],
)
async def test_a_decision_that_another_overtakes_is_409_and_says_whose(
    api: Api, log: Log, by: str, why: str
) -> None:
    play = await gated(log)
    decided = m.ApprovalDecided(**STEP, decision="approved", note="", by=by)
    await on_command(log, play, lambda: log.commit(play, "RUN", decided))
    answer = await api.call("POST", f"/api/plays/{play}/approve", {"layerId": "a", "decision": "approved"})
    assert (answer.status, answer.json["message"]) == (409, why)


@pytest.mark.parametrize(
    ("verb", "command", "kind", "event"),
    [
        ("hold", m.HoldPlay(at=NOW, by=USER), m.HoldRequested, m.HoldRequested(at=NOW, by="somebody")),
        ("resume", m.ResumePlay(at=NOW, by=USER), m.HoldLifted, m.HoldLifted(at=NOW, by="somebody")),
        ("retry", m.RetryPlay(at=NOW, by=USER, after=1), m.PlayRetried, RETRIED),
    ],
)
async def test_what_happened_since_the_caller_looked_answers_before_anything_is_sent(
    log: Log, commands: PlayCommands, verb: str, command: m.Command, kind: type[m.PlayEvent], event: Any
) -> None:
    play = ids.new_id()
    looked_at = await log.commit(play, "WAIT", started())
    await log.commit(play, "RUN", event)
    await log.commit(play, "WAIT", m.PlayWaiting(at=NOW + timedelta(seconds=1), wait_id=ids.new_id()))
    told = await commands.send(Place(key_of(play), looked_at, "WAIT"), verb, command, shows(kind))
    assert told is not None
    assert (told.own, told.commit.events) == (False, (event,))
    assert await log.bus.last(subjects.plays_stream(0), key_of(play).command("*")) is None
