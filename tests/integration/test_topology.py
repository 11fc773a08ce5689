"""Streams and consumers of a newer release stay as they are when an older one starts beside it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from libs.common import subjects, topology
from libs.common.bus import Bus
from libs.common.config import Config
from libs.common.topology import DEFINITION_NOUNS, WORK_CONSUMER, TopologyRefused

STREAM = subjects.plays_stream(0)


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, name="test")
    yield bus
    await bus.close()


async def _made(bus: Bus, what: str) -> Mapping[str, Any]:
    made: Mapping[str, Any] = (await bus.api(what))["config"]
    return made


async def test_an_older_release_starts_beside_a_newer_one_and_takes_nothing_from_it(
    bus: Bus, nats_url: str
) -> None:
    config = Config(nats_url=nats_url)
    with pytest.MonkeyPatch.context() as newer:
        newer.setattr(topology, "DEFINITION_NOUNS", (*DEFINITION_NOUNS, "colour"))
        newer.setattr(subjects, "WORK_VERBS", (*subjects.WORK_VERBS, "paint"))
        await topology.ensure(bus, config)
    asked = ("STREAM.INFO.DEFINITIONS", f"CONSUMER.INFO.{STREAM}.{WORK_CONSUMER}")
    before = [await _made(bus, what) for what in asked]
    await topology.ensure(bus, config)
    assert [await _made(bus, what) for what in asked] == before
    assert "evt.colour.>" in before[0]["subjects"]
    assert subjects.shard_commands(0, "paint") in before[1]["filter_subjects"]


async def test_what_is_of_no_releases_making_is_refused(bus: Bus, nats_url: str) -> None:
    with pytest.MonkeyPatch.context() as other:
        other.setattr(topology, "DEFINITION_NOUNS", ("colour",))
        await topology.ensure(bus, Config(nats_url=nats_url))
    with pytest.raises(TopologyRefused, match=r"'evt\.colour\.>'.*would be dropped, and lacks"):
        await topology.ensure(bus, Config(nats_url=nats_url))


async def test_what_is_narrower_is_widened(bus: Bus, nats_url: str) -> None:
    config = Config(nats_url=nats_url)
    with pytest.MonkeyPatch.context() as older:
        older.setattr(topology, "DEFINITION_NOUNS", DEFINITION_NOUNS[:-1])
        older.setattr(subjects, "WORK_VERBS", subjects.WORK_VERBS[:-1])
        await topology.ensure(bus, config)
    await topology.ensure(bus, config)
    stream, consumer = (
        await _made(bus, "STREAM.INFO.DEFINITIONS"),
        await _made(bus, f"CONSUMER.INFO.{STREAM}.{WORK_CONSUMER}"),
    )
    assert len(stream["subjects"]) == len(DEFINITION_NOUNS)
    assert len(consumer["filter_subjects"]) == len(subjects.WORK_VERBS)
