"""A parked play that is silent for half of the log's days is asked for, and its snapshot is all that a store needs."""

from datetime import datetime, timedelta

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.messages import play as m
from libs.common.messages.query import GetPlay, ListPlayLayers
from services.executor.play import fold
from services.executor.play_snapshot import snapshot_of
from services.scheduler.sweep import carry_over
from tests.integration.store_parts import (
    COMPANY,
    PlayLog,
    at,
    layer_done,
    running_store,
    started,
)
from tests.waiting import eventually

STREAM = subjects.plays_stream(0)
LOG_DAYS = 30.0
SILENT = timedelta(days=LOG_DAYS / 2)


async def a_parked_play(bus: Bus) -> PlayLog:
    play = PlayLog(bus)
    await play.commit("RUN", started(args={"n": 1}), layer_done("first"))
    await play.commit("WAIT", m.PlayWaiting(at=at(4), wait_id="w1"))
    return play


async def sweep(bus: Bus, now: datetime) -> int:
    return await carry_over(bus, now=now, shards=1, log_days=LOG_DAYS)


async def test_the_sweep_asks_for_plays_that_were_silent_for_half_of_the_logs_days_once(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = await a_parked_play(store.bus)

        async def is_found() -> bool:
            return await sweep(store.bus, at(5) + SILENT) == 1

        assert await sweep(store.bus, at(3) + SILENT) == 0
        await eventually(is_found)
        assert await sweep(store.bus, at(5) + SILENT) == 1
        assert len(await store.bus.load(STREAM, play.key.command("carry"))) == 1


async def test_a_snapshot_is_enough_for_a_store_that_has_seen_nothing_else(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        await store.stop()
        play = PlayLog(store.bus)
        begun = started(args={"n": 1}, parent_play_id="p" * 24, schedule_id="s" * 24)
        await play.commit("RUN", begun, layer_done("first"))
        waits = m.LayerWaiting(at=at(4), ref="gate", layer_id="id-gate", order=1, kind="approval")
        await play.commit("WAIT", waits, m.PlayWaiting(at=at(4), wait_id="w1"))
        stored = await store.bus.load(STREAM, play.key.events)
        state = fold(codec.decode_commit(one.data, sequence=one.sequence) for one in stored)
        after = {STREAM: await play.commit("WAIT", snapshot_of(state, at(9)))}
        await store.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": play.key.events, "keep": 1})
        await store.start()
        shown = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after=after))
        steps = await store.query("play", ListPlayLayers(company_id=COMPANY, play_id=play.id, after=after))

    assert (shown["state"], shown["args"], shown["flowVersion"]) == ("WAIT", {"n": 1}, 3)
    assert (shown["createdAt"], shown["startedAt"]) == (shown_at(0), shown_at(1))
    assert (shown["parentPlayId"], shown["scheduleId"]) == ("p" * 24, "s" * 24)
    first, second = steps["data"]
    assert (first["ref"], first["state"], first["out"]) == ("first", "DONE", {"n": 0})
    assert (first["startedAt"], first["completedAt"]) == (shown_at(1), shown_at(2))
    assert (second["ref"], second["state"], second["startedAt"]) == ("gate", "WAIT", shown_at(4))


def shown_at(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")
