"""A parked play that is silent for half of the log's days is asked for, and its snapshot is all that a store needs."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

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
    rows,
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


async def test_of_items_that_ended_the_failed_ones_are_shown_by_a_store_that_has_seen_nothing_else(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        await play.commit("RUN", started(args={"n": 1}), *_loop(items=6, failing={1, 3, 4}))
        sequence = await play.commit("WAIT", m.PlayWaiting(at=at(4), wait_id="w1"))
        stored = await store.bus.load(STREAM, play.key.events)
        state = fold(codec.decode_commit(one.data, sequence=one.sequence) for one in stored)
        query = ListPlayLayers(company_id=COMPANY, play_id=play.id, after={STREAM: sequence})
        seen = (await store.query("play", query))["data"]
        carried_at = await play.commit("WAIT", snapshot_of(state, at(9)))
        query = ListPlayLayers(company_id=COMPANY, play_id=play.id, after={STREAM: carried_at})
        # To a store that has seen all of it a snapshot says nothing new.
        assert (await store.query("play", query))["data"] == seen
        await store.stop()
        await _begin_at(database, play, carried_at)
        await store.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": play.key.events, "keep": 1})
        await store.start()
        carried = (await store.query("play", query))["data"]
    wanted = [step for step in seen if step["ref"] != "body" or step["state"] == "FAIL"]
    assert [step["iteration"] for step in wanted if step["ref"] == "body"] == [1, 3, 4]
    assert [step for step in carried if step["state"] == "FAIL"] == [
        step for step in wanted if step["state"] == "FAIL"
    ]


async def test_items_that_a_store_has_not_seen_are_counted_until_a_retry_begins_their_loop_anew(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        events = list(_loop(items=6, failing={1, 3, 4}))
        await play.commit("RUN", started(args={"n": 1}), *events[:7])
        middle = await play.commit("RUN", *events[7:])
        stored = await store.bus.load(STREAM, play.key.events)
        state = fold(codec.decode_commit(one.data, sequence=one.sequence) for one in stored)
        carried_at = await play.commit("WAIT", snapshot_of(state, at(9)))

        async def unlisted(upto: int) -> dict[str, dict[str, int]] | None:
            query = GetPlay(company_id=COMPANY, play_id=play.id, after={STREAM: upto})
            counts: dict[str, dict[str, int]] | None = (await store.query("play", query)).get("unlisted")
            return counts

        assert await unlisted(carried_at) is None
        # One that reads from the middle on knows the items since then.
        for begin, keep in ((middle, 2), (carried_at, 1)):
            await store.stop()
            await _begin_at(database, play, begin)
            await store.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": play.key.events, "keep": keep})
            await store.start()
            # Listed are the failed ones, and the last.
            assert await unlisted(carried_at) == {"body": {"DONE": 2}}
        last: dict[str, Any] = {"ref": "body", "layer_id": "layer-body", "order": 1, "iteration": (6,)}
        ended = m.LayerCompleted(at=at(9), state="DONE", out=6, started_at=at(9), **last)
        assert await unlisted(await play.commit("RUN", ended)) == {"body": {"DONE": 2}}
        await play.commit("FAIL", m.PlayFailed(at=at(10), error="no", error_code="E"))
        anew = m.PlayRetried(at=at(11), epoch=2, driver=m.Driver(1, 1), refs=("loop", "body"))
        assert not await unlisted(await play.commit("RUN", anew))


async def _begin_at(database: str, play: PlayLog, sequence: int) -> None:
    """Let the read models know nothing of a play, and project from this place in the log on."""
    await rows(database, "delete from layers where play_id = $1", play.id)
    await rows(database, "delete from plays where id = $1", play.id)
    await rows(database, "update checkpoints set sequence = $2 where stream = $1", STREAM, sequence - 1)


def _loop(*, items: int, failing: set[int]) -> Iterator[m.Event]:
    """Return the events of a loop of one step whose failures count as skipped, and that is still under way."""
    iterator: dict[str, Any] = {"ref": "loop", "layer_id": "layer-loop"}
    yield m.LayerIterating(at=at(1), **iterator, items=list(range(items + 1)))
    for index in range(items):
        step: dict[str, Any] = {"ref": "body", "layer_id": "layer-body", "order": 1, "iteration": (index,)}
        if index in failing:
            out = {"left": index} if index == 3 else None
            yield m.LayerFailed(
                at=at(2), error=f"no {index}", error_code="E", out=out, started_at=at(1), **step
            )
        else:
            yield m.LayerCompleted(at=at(2), state="DONE", out=index, started_at=at(1), **step)
        yield m.ItemEnded(at=at(2), **iterator, iteration=(index,))


def shown_at(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")
