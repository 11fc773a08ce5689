"""The projector on real servers: order, exactly once, take-over, poison, a log that lost data."""

import asyncio
from typing import Any

import asyncpg
import pytest

from libs.common import codec, ids, subjects
from libs.common.messages import play as m
from libs.common.messages.query import GetPlay, ListPlayLayers, ListPlays, ListStalePlays, Page
from services.store import projector
from services.store.database import lock_key
from tests.fixtures.nats import NatsServer
from tests.integration.store_parts import (
    COMPANY,
    PlayLog,
    Store,
    at,
    five_step_play,
    layer_done,
    looping_play,
    rows,
    running_store,
    started,
)
from tests.waiting import eventually

STREAM = subjects.plays_stream(0)


async def test_a_play_is_visible_from_the_moment_its_start_was_stored(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        await play.request(args={"amount": 3}, trigger="schedule", schedule_id="s1")
        shown = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id))

    assert shown["state"] == "NEW"
    assert shown["args"] == {"amount": 3}
    assert shown["flowVersion"] == 3
    assert (shown["trigger"], shown["scheduleId"]) == ("schedule", "s1")
    assert (shown["startedAt"], shown["duration"], shown["out"]) == (None, None, None)


async def test_a_step_in_a_loop_is_shown_once_for_each_item(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        await play.request()
        sequence = await play.commit("DONE", *looping_play(items=12))
        wish = ListPlayLayers(
            company_id=COMPANY, play_id=play.id, after={STREAM: sequence}, ref="body", page=Page(1, 10)
        )
        page = await store.query("play", wish)

    assert page["total"] == 12
    assert [(step["iteration"], step["out"], step["id"]) for step in page["data"]] == [
        (index, index, ids.derived_id(play.id, f"body:{index}")) for index in (10, 11)
    ]


async def test_a_play_that_ended_in_one_commit_is_shown_whole(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        await play.request(args={"amount": 3})
        sequence = await play.commit("DONE", *five_step_play())
        shown = await store.query(
            "play", GetPlay(company_id=COMPANY, play_id=play.id, after={STREAM: sequence})
        )
        steps = (await store.query("play", ListPlayLayers(company_id=COMPANY, play_id=play.id)))["data"]

    assert (shown["state"], shown["out"], shown["duration"]) == ("DONE", {"answer": 42}, 2000)
    assert [step["ref"] for step in steps] == [f"step{n}" for n in range(5)]
    assert [step["id"] for step in steps] == [ids.derived_id(play.id, f"step{n}") for n in range(5)]
    assert steps[3]["out"] == {"n": 3}
    assert steps[3]["duration"] == 1000


async def test_rows_do_not_depend_on_where_batches_end(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        together, apart = PlayLog(store.bus), PlayLog(store.bus)
        await store.app.stop()
        for state, events in _long_history():
            last = await together.commit(state, *events)
        fresh = Store(store.config, store.bus)
        await fresh.start()
        for state, events in _long_history():
            last = await apart.commit(state, *events)
            await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: last}))
        one = await _rows_of(database, together)
        other = await _rows_of(database, apart)
        await fresh.stop()

    assert one == other
    assert one[0]["state"] == "FAIL"
    assert [step["state"] for step in one[1:]] == ["FAIL", "DONE"]
    assert one[2]["attempts"] == 3
    assert '"approved"' in str(one[2]["approval"])


def _long_history() -> list[tuple[str, list[m.Event]]]:
    step: dict[str, Any] = {"layer_id": "layer-b", "ref": "b", "order": 1}
    return [
        ("RUN", [started(args={"a": 1}), m.LayerStarted(at=at(1), ref="a", layer_id="layer-a", order=0)]),
        ("WAIT", [m.LayerWaiting(at=at(2), kind="approval", **step), m.PlayWaiting(at=at(2), wait_id="w")]),
        ("WAIT", [m.ApprovalDecided(at=at(3), decision="approved", by="u", **step)]),
        ("RUN", [m.PlayResumed(at=at(3), epoch=2, driver=m.Driver(2, 1), reason="approval")]),
        ("RUN", [m.LayerStarted(at=at(4), **step)]),
        ("WAIT", [m.LayerRetrying(at=at(5), attempt=1, error="no", error_code="E", until=at(6), **step)]),
        ("RUN", [m.LayerStarted(at=at(6), attempt=2, **step)]),
        ("RUN", [layer_done("b", 1, seconds=7, attempts=3, started_at=at(2))]),
        (
            "FAIL",
            [
                m.LayerFailed(at=at(8), ref="a", layer_id="layer-a", error="bad \0 word", error_code="E"),
                m.PlayFailed(at=at(8), error="bad \0 word", error_code="E", ref="a"),
            ],
        ),
    ]


async def _rows_of(dsn: str, play: PlayLog) -> list[dict[str, object]]:
    found = await rows(dsn, "select * from plays where id = $1", play.id)
    found += await rows(dsn, "select * from layers where play_id = $1 order by ref", play.id)
    ours = {"id", "flow_id", "play_id", "first_sequence", "sequence", "created_at"}
    return [{name: value for name, value in row.items() if name not in ours} for row in found]


async def test_poison_is_set_aside_and_holds_nothing_up(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        good, bad, worse, late = (PlayLog(store.bus) for _ in range(4))
        await good.commit("DONE", *five_step_play())
        await store.bus.append(bad.key.event("DONE"), b"\xff not a commit", id=ids.commit_id())
        # Readable, but Postgres cannot hold a flow version like that.
        await worse.commit(
            "DONE", m.PlayStarted(at=at(1), definition=1, flow_version=2**40, driver=m.Driver(1, 1))
        )
        sequence = await late.commit("DONE", *five_step_play())
        listed = await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: sequence}))
        letters = await rows(database, "select * from dead_letters order by sequence")

    assert {row["id"] for row in listed["data"]} == {good.id, late.id}
    assert [letter["subject"] for letter in letters] == [bad.key.event("DONE"), worse.key.event("DONE")]
    assert letters[0]["payload"] == b"\xff not a commit"


async def test_what_is_nested_too_deep_is_set_aside(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        deep, late = PlayLog(store.bus), PlayLog(store.bus)
        body = codec.encode_commit(
            five_step_play(), commit_id="x", context=codec.Context(source="s", subject="p")
        )
        nested = body.replace(b'{"answer":42}', b"[" * 5_000 + b"]" * 5_000)
        await store.bus.append(deep.key.event("DONE"), nested, id="x")
        sequence = await late.commit("DONE", *five_step_play())
        listed = await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: sequence}))
        letters = await rows(database, "select subject, error from dead_letters")

    assert nested != body
    assert [row["id"] for row in listed["data"]] == [late.id]
    assert [letter["subject"] for letter in letters] == [deep.key.event("DONE")]


async def test_a_leader_that_went_silent_is_replaced(
    nats_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "SILENCE_S_MAX", 0.5)
    frozen = await asyncpg.connect(database)
    # As a stopped process does: it holds the lock and says nothing.
    await frozen.execute("select pg_advisory_lock($1)", lock_key(f"projector {STREAM}"))
    async with running_store(nats_url, database) as store:
        sequence = await PlayLog(store.bus).commit("DONE", *five_step_play())

        async def projected() -> bool:
            return bool(await rows(database, "select id from plays where sequence = $1", sequence))

        await eventually(projected)
    assert frozen.is_closed()


async def test_another_store_takes_over_when_the_leader_stops(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as first:
        second = Store(first.config, first.bus)
        await second.start()
        one = PlayLog(first.bus)
        await one.commit("DONE", *five_step_play())
        await first.app.stop()
        two = PlayLog(first.bus)
        await two.commit("DONE", *five_step_play())

        async def both_shown() -> bool:
            return len(await rows(database, "select id from plays")) == 2

        await eventually(both_shown)
        await eventually(lambda: all(each.leads for each in second.app._projectors))
        await second.stop()


async def test_a_cut_connection_to_postgres_loses_and_repeats_nothing(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        for n in range(50):
            await PlayLog(store.bus).commit("DONE", *five_step_play())
            if n % 10 == 5:
                await _cut_connections(database)
        sequence = await PlayLog(store.bus).commit("RUN", started())

        async def caught_up() -> bool:
            found = await rows(database, "select sequence from checkpoints where stream = $1", STREAM)
            return bool(found[0]["sequence"] == sequence)

        await eventually(caught_up)
        assert (await rows(database, "select count(*) from plays"))[0]["count"] == 51
        assert (await rows(database, "select count(*) from layers"))[0]["count"] == 250
        await eventually(store.is_ready)


async def _cut_connections(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'headrace-%'"
        " and datname = current_database()"
    )
    await connection.close()


async def test_a_restart_of_nats_is_survived(nats_server_process: NatsServer, database: str) -> None:
    async with running_store(nats_server_process.url, database) as store:
        await PlayLog(store.bus).commit("DONE", *five_step_play())
        await asyncio.to_thread(nats_server_process.stop)
        await asyncio.to_thread(nats_server_process.start)
        sequence = await PlayLog(store.bus).commit("DONE", *five_step_play())

        async def both_shown() -> bool:
            return len(await rows(database, "select id from plays where sequence <= $1", sequence)) == 2

        await eventually(both_shown)
        await eventually(store.is_ready)


async def test_a_log_that_lost_data_halts_the_projection_loudly(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        await store.stop()
        connection = await asyncpg.connect(database)
        await connection.execute("update headrace.checkpoints set sequence = 1000 where stream = $1", STREAM)
        await connection.close()
        await store.start(ready=False)

        async def told() -> bool:
            return "the log lost data" in (await store.health.problems()).get("projection", "")

        await eventually(told)
        assert (await rows(database, "select sequence from checkpoints where stream = $1", STREAM))[0][
            "sequence"
        ] == 1000


async def test_stale_plays_of_all_companies_are_found(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        silent, other, done = PlayLog(store.bus), PlayLog(store.bus, company_id="c" * 24), PlayLog(store.bus)
        await silent.commit("RUN", started(1))
        await other.commit("RUN", started(2))
        await done.commit("DONE", *five_step_play())
        sequence = await PlayLog(store.bus).commit("RUN", started(1000))
        await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: sequence}))
        stale = await store.query("play", ListStalePlays(before=at(500), limit=10))
        in_line = await store.query("play", ListStalePlays(before=at(500), limit=10, in_line=True))
        assert in_line == []

    assert [play["playId"] for play in stale] == [silent.id, other.id]
    assert stale[1]["companyId"] == "c" * 24
