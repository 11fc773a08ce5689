"""Read models rebuilt from the log equal the live ones, which serve and follow meanwhile."""

import asyncio
from typing import Any

import asyncpg
import pytest

from libs.common import ids, subjects
from libs.common.clock import SystemClock
from libs.common.errors import Invalid
from libs.common.messages.query import GetPlay, ListPlays
from libs.common.payloads import Payloads
from services.store import rebuild
from services.store.database import lock_key
from services.store.rebuild import Rebuild
from tests.integration.store_parts import (
    COMPANY,
    PlayLog,
    Store,
    add_layer,
    at,
    create_flow,
    five_step_play,
    looping_play,
    rows,
    running_store,
    started,
)
from tests.waiting import eventually

STREAM = subjects.plays_stream(0)
TABLES = ("companies", "users", "flows", "plays", "layers", "dead_letters", "checkpoints")


async def test_rebuilt_read_models_equal_the_live_ones(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        await _workload(store)
        before = await _contents(database)
        await _change_by_hand(database)
        await rebuild.rebuild(store.config)
        after = await _contents(database)

    assert after == before
    assert {table: len(found) for table, found in after.items()} == {
        "companies": 1, "users": 1, "flows": 1, "plays": 43, "layers": 204, "dead_letters": 1, "checkpoints": 5,
    }  # fmt: skip


async def test_the_live_projection_goes_on_through_the_swap(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        await _workload(store)
        stop = asyncio.Event()
        writing = asyncio.create_task(_write_plays(store, stop))
        for _ in range(3):
            await rebuild.rebuild(store.config)
        stop.set()
        ids_written, sequence = await writing
        await eventually(store.is_ready)

        async def projected() -> bool:
            # The answer waits for the projection too, but no longer than a caller would.
            shown = await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: sequence}))
            return bool(shown["total"] == 43 + len(ids_written))

        await eventually(projected)
        found = {row["id"] for row in await rows(database, "select id from plays where state = 'DONE'")}
        assert ids_written <= found
        before = await _contents(database)
        await rebuild.rebuild(store.config)
        assert await _contents(database) == before


async def test_plays_that_the_log_has_forgotten_stay(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        forgotten, half = PlayLog(store.bus), PlayLog(store.bus)
        await forgotten.request(args={"who": "forgotten"})
        await forgotten.commit("DONE", *five_step_play())
        await half.request(args={"who": "half"})
        last_gone = await half.commit("RUN", started())
        await half.commit("DONE", *five_step_play()[1:])
        await _workload(store)
        before = await _contents(database)
        await store.bus.api(f"STREAM.PURGE.{STREAM}", {"seq": last_gone + 1})
        await rebuild.rebuild(store.config)
        assert await _contents(database) == before


async def test_only_one_rebuild_runs_at_a_time(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        other = await asyncpg.connect(database)
        await other.execute("select pg_advisory_lock($1)", lock_key("rebuild"))
        payloads = Payloads(store.bus, SystemClock(), inline_bytes_max=1_000)
        with pytest.raises(Invalid, match="another rebuild"):
            await Rebuild(store.bus, database, shards=1, payloads=payloads).run()
        await other.close()


async def _workload(store: Store) -> None:
    flow = await store.command("flow", create_flow())
    await store.command("flow", add_layer(flow["id"]))
    for n in range(40):
        play = PlayLog(store.bus, flow_id=flow["id"])
        await play.request(at=at(n), args={"n": n})
        await play.commit("DONE", *five_step_play())
    poison = PlayLog(store.bus)
    await store.bus.append(poison.key.event("DONE"), b"[]", id=ids.commit_id())
    await PlayLog(store.bus).commit("RUN", started())
    await PlayLog(store.bus).commit("DONE", *looping_play())
    waiting = PlayLog(store.bus)
    sequence = await waiting.request()
    await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: sequence}))


async def _write_plays(store: Store, stop: asyncio.Event) -> tuple[set[str], int]:
    written, sequence = set(), 0
    while not stop.is_set():
        play = PlayLog(store.bus)
        await play.request()
        sequence = await play.commit("DONE", *five_step_play())
        written.add(play.id)
        # No faster than it is projected: a rebuild follows the live read models, and would for ever.
        await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after={STREAM: sequence}))
    return written, sequence


async def _change_by_hand(dsn: str) -> None:
    # What a rebuild is for: rows that a mistake has spoilt come back as the log has them.
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "headrace"})
    await connection.execute(
        "update plays set state = 'FAIL', out = null; delete from layers where ref = 'step1'"
    )
    await connection.close()


async def _contents(dsn: str) -> dict[str, list[dict[str, Any]]]:
    return {table: await rows(dsn, f"select * from {table} as t order by t::text") for table in TABLES}
