"""Long histories on a real server: read from their newest snapshot, and honest about what the log has lost."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.common import ids, topology
from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.codec import Context, UnknownType, source_of
from libs.common.config import Config
from libs.common.errors import PayloadLost
from libs.common.messages import play as m
from libs.common.messages.payload import PayloadRef
from libs.common.payloads import CHUNK_BYTES, Payloads
from libs.common.subjects import PAYLOADS, PlayKey, play_key, plays_stream
from libs.common.topology import TopologyRefused
from services.executor import history, play_snapshot
from services.executor.journal import Journal, Limits
from services.gateway.plays import Plays
from tests.builders import AT

COMPANY = "c" * 24
COMMITS, EVENTS = 100, 100
CLOCK = SystemClock()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, name="test")
    await topology.ensure(bus, Config(nats_url=nats_url))
    yield bus
    await bus.close()


def payloads_of(bus: Bus) -> Payloads:
    return Payloads(bus, CLOCK, inline_bytes_max=262_144)


async def a_long_play(bus: Bus, commits: int = COMMITS) -> tuple[PlayKey, Journal]:
    key = play_key(COMPANY, "f" * 24, ids.new_id(), shards=1)
    context = Context(source=source_of(COMPANY, key.flow_id), subject=key.play_id, causation_id="start")
    limits = Limits(bytes_soft_max=2_000_000, history_age_max=timedelta(days=9_999))
    journal = Journal(
        bus, CLOCK, key, context, history.unknown(), payloads=payloads_of(bus), command=1, limits=limits
    )
    journal.begin((m.PlayStarted(at=AT, definition=1, flow_version=1, driver=m.Driver(1, 1)),))
    await go_on(journal, commits)
    return key, journal


async def go_on(journal: Journal, commits: int) -> None:
    for number in range(commits):
        for event in range(EVENTS):
            ref = f"s{event}"
            out = {"n": number}
            journal.record(m.LayerCompleted(at=AT, ref=ref, layer_id=ref, state="DONE", out=out))
        assert await journal.commit()


async def test_a_long_history_is_read_from_its_newest_snapshot(bus: Bus) -> None:
    key, journal = await a_long_play(bus)
    known = await history.load(bus, payloads_of(bus), key)
    assert known.play == journal.play
    assert len(known.commits) < COMMITS / 4
    assert known.base.snapshot == known.commits[0].sequence
    assert known.gap is None


async def test_what_is_before_the_snapshot_is_not_missed(bus: Bus) -> None:
    key, journal = await a_long_play(bus)
    snapshot = (await history.load(bus, payloads_of(bus), key)).base.snapshot
    await bus.api(f"STREAM.PURGE.{plays_stream(0)}", {"filter": key.events, "seq": snapshot})
    known = await history.load(bus, payloads_of(bus), key)
    assert (known.play, known.gap) == (journal.play, None)


@pytest.mark.parametrize(("before", "later"), [(COMMITS, 1), (COMMITS // 2, COMMITS // 2), (3, 2)])
async def test_what_came_since_is_taken_in_where_a_play_was_read_before(
    bus: Bus, before: int, later: int
) -> None:
    key, journal = await a_long_play(bus, before)
    known = await history.load(bus, payloads_of(bus), key)
    await go_on(journal, later)
    renewed = await history.renew(bus, payloads_of(bus), key, known)
    anew = await history.load(bus, payloads_of(bus), key)
    assert (renewed.play, renewed.sequence) == (anew.play, anew.sequence)
    assert renewed.base.snapshot == anew.base.snapshot
    assert await history.renew(bus, payloads_of(bus), key, renewed) == renewed


async def test_who_operates_a_long_play_is_told_of_it_by_its_newest_snapshot(bus: Bus) -> None:
    key, journal = await a_long_play(bus)
    journal.record(m.HoldRequested(at=AT, by="somebody"))
    assert await journal.commit()
    story = await Plays(bus, shards=1).story(key, payloads_of(bus))
    assert story.told == (await history.load(bus, payloads_of(bus), key)).base.snapshot > 0
    assert (story.held, story.ended) == (True, {f"s{event}" for event in range(EVENTS)})
    assert story.started is not None


async def test_a_history_without_its_beginning_says_so(bus: Bus) -> None:
    key, _ = await a_long_play(bus)
    await bus.api(f"STREAM.PURGE.{plays_stream(0)}", {"filter": key.events, "keep": 1})
    known = await history.load(bus, payloads_of(bus), key)
    assert known.gap is not None
    assert known.gap.code == "HISTORY_LOST"


async def test_a_play_that_only_a_newer_releases_snapshot_holds_is_not_lost(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = await a_long_play(bus)
    snapshot = (await history.load(bus, payloads_of(bus), key)).base.snapshot
    await bus.api(f"STREAM.PURGE.{plays_stream(0)}", {"filter": key.events, "seq": snapshot})
    monkeypatch.setattr(play_snapshot, "SNAPSHOT_VERSION", play_snapshot.SNAPSHOT_VERSION - 1)
    with pytest.raises(UnknownType, match=r"snapshot\.v1 of version"):
        await history.load(bus, payloads_of(bus), key)


async def test_a_value_that_another_process_wrote_is_read_whole_and_a_lost_one_is_told(bus: Bus) -> None:
    value = "0123456789" * (CHUNK_BYTES // 4)
    context = Context(source=source_of(COMPANY, "f" * 24), subject="p")
    command = m.StartPlay(at=AT, definition=1, flow_version=1, args={"text": value})
    await payloads_of(bus).encode_message(command, id="x", context=context)
    (last,) = await bus.load(PAYLOADS, f"payload.{COMPANY}.*.2")
    digest = last.subject.split(".")[2]
    ref = PayloadRef(digest, len(value) + len('{"text":""}'))
    assert await payloads_of(bus).read(COMPANY, ref) == f'{{"text":"{value}"}}'.encode()
    with pytest.raises(PayloadLost):
        await payloads_of(bus).read("d" * 24, ref)
    await bus.delete(PAYLOADS, last.sequence)
    with pytest.raises(PayloadLost):
        await payloads_of(bus).read(COMPANY, ref)


async def test_another_number_of_shards_is_refused_while_the_log_holds_plays(bus: Bus, nats_url: str) -> None:
    two = Config(nats_url=nats_url, shards=2)
    await bus.append("cmd.play.0.c.f.p.start", b"{}", id="one")
    with pytest.raises(TopologyRefused, match="HEADRACE_SHARDS is 2"):
        await topology.ensure(bus, two)
    await topology.ensure(bus, Config(nats_url=nats_url))
    await topology.ensure(bus, Config(nats_url=nats_url, shards=2, shards_change_allowed=True))
    await topology.ensure(bus, two)
    with pytest.raises(TopologyRefused, match="holds plays of 2 shards"):
        await topology.ensure(bus, Config(nats_url=nats_url))


async def test_another_number_of_shards_is_fine_while_the_log_is_empty(bus: Bus, nats_url: str) -> None:
    await topology.ensure(bus, Config(nats_url=nats_url, shards=3))
    assert await bus.last_sequence(plays_stream(2)) == 0
