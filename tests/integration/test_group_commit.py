"""Many appends at once travel as atomic batches; each still has an outcome of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.common import topology
from libs.common.bus import Appended, Bus, Expected, Message
from libs.common.config import Config
from libs.common.errors import Conflict
from libs.common.subjects import PlayKey, play_key, plays_stream
from tests.waiting import eventually

MANY = 300


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection to a server with the streams."""
    connected = await Bus.connect(nats_url, name="test")
    await topology.ensure(connected, Config())
    yield connected
    await connected.close()


def _key(number: int) -> PlayKey:
    return play_key("company", "flow", f"play{number}", shards=1)


async def _append(bus: Bus, number: int, *, after: int = 0) -> Appended:
    key = _key(number)
    return await bus.append(
        key.event("DONE"), f"[{number}]".encode(), id=f"commit{number}", expected=Expected(key.events, after)
    )


async def test_each_of_many_appends_learns_its_own_place(bus: Bus) -> None:
    appended = await asyncio.gather(*(_append(bus, number) for number in range(MANY)))
    assert sorted(place.sequence for place in appended) == list(range(1, MANY + 1))
    for number in (0, 1, 50, MANY - 1):
        stored = await bus.get(plays_stream(0), appended[number].sequence)
        assert stored is not None
        assert (stored.data, stored.headers["Nats-Msg-Id"]) == (f"[{number}]".encode(), f"commit{number}")


async def test_a_conflict_in_a_batch_is_only_its_own(bus: Bus) -> None:
    outcomes = await asyncio.gather(
        *(_append(bus, number, after=7 if number % 50 == 49 else 0) for number in range(MANY)),
        return_exceptions=True,
    )
    refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Conflict)]
    assert refused == [49, 99, 149, 199, 249, 299]
    stored = await bus.load(plays_stream(0), "evt.play.0.>")
    assert len(stored) == MANY - len(refused)
    assert len({message.subject for message in stored}) == len(stored)


async def test_two_commits_of_one_play_in_one_batch_have_one_winner(bus: Bus) -> None:
    key = _key(0)

    async def rival(number: int) -> Appended:
        # Different states are different subjects: inside one batch the server would take two of them.
        expected = Expected(key.events, 0)
        return await bus.append(
            key.event(("RUN", "WAIT", "DONE")[number % 3]), b"[]", id=f"rival{number}", expected=expected
        )

    outcomes = await asyncio.gather(*(rival(number) for number in range(MANY)), return_exceptions=True)
    assert sum(isinstance(outcome, Appended) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == MANY - 1


async def test_a_command_that_is_sent_again_after_its_batch_is_a_duplicate(bus: Bus) -> None:
    async def start(number: int) -> Appended:
        return await bus.append(_key(number).command("start"), b"{}", id=f"start{number}")

    first = await asyncio.gather(*(start(number) for number in range(MANY)))
    again = await asyncio.gather(*(start(number) for number in range(MANY)))
    assert [place.sequence for place in again] == [place.sequence for place in first]
    assert all(place.duplicate for place in again)
    assert await bus.last_sequence(plays_stream(0)) == MANY


async def test_a_batch_is_republished_like_single_commits(bus: Bus) -> None:
    seen: list[str] = []

    def live(message: Message) -> None:
        seen.append(message.headers["Nats-Subject"])

    await bus.subscribe("live.play.>", live)
    await asyncio.gather(*(_append(bus, number) for number in range(MANY)))

    async def all_seen() -> bool:
        return len(seen) >= MANY

    await eventually(all_seen)
    assert len(set(seen)) == len(seen) == MANY


async def test_an_append_that_cannot_be_sent_fails_alone(bus: Bus) -> None:
    async def one(number: int) -> Appended:
        name = "\ud800" if number == MANY // 2 else "sent"
        return await bus.append(
            _key(number).event("DONE"), b"[]", id=f"commit{number}", headers={"Named": name}
        )

    outcomes = await asyncio.gather(*(one(number) for number in range(MANY)), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(outcome) for outcome in failed] == [UnicodeEncodeError]
    assert len(await bus.load(plays_stream(0), "evt.play.0.>")) == MANY - 1
