"""A parked play that is silent for half of the log's days: the sweep asks for it to be carried over (D16)."""

from datetime import datetime, timedelta

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.messages import play as m
from services.scheduler.sweep import carry_over
from tests.integration.store_parts import (
    PlayLog,
    at,
    eventually,
    layer_done,
    running_store,
    started,
)

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
