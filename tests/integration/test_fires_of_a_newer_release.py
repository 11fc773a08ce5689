"""A scheduler leaves what only a newer release can read: fire commands, and schedules with such a history."""

from collections.abc import AsyncIterator

import pytest

from libs.common import codec, ids, topology
from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.codec import Context, source_of
from libs.common.config import Config
from libs.common.consumer import PullConsumer
from libs.common.messages import schedule as m
from libs.common.subjects import SCHEDULES, ScheduleKey
from libs.common.topology import FIRE_CONSUMER
from services.scheduler.fires import Fires
from services.scheduler.schedule_log import ScheduleLog
from tests.contract.example_schedules import AT, a_schedule
from tests.waiting import eventually

COMPANY = ids.derived_id("company", "newer fires")
NEWER = b"headrace.schedule.of-a-newer-release.v1"


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, name="test")
    await topology.ensure(bus, Config(nats_url=nats_url))
    fires = Fires(ScheduleLog(bus, 1), SystemClock())
    consumer = PullConsumer(bus, SCHEDULES, FIRE_CONSUMER, slots=8, handler=fires.handle)
    await consumer.start()
    yield bus
    await consumer.stop(grace_s=1)
    await bus.close()


async def _left_again(bus: Bus) -> bool:
    """Tell whether a fire command came a second time, and nobody acknowledged it."""
    info = await bus.api(f"CONSUMER.INFO.{SCHEDULES}.{FIRE_CONSUMER}")
    return bool(info["num_redelivered"] == 1 and info["num_ack_pending"] == 1)


async def _fire(bus: Bus, key: ScheduleKey, *, newer: bool = False) -> None:
    id = ids.commit_id()
    context = Context(source=source_of(COMPANY), subject=key.schedule_id)
    data = codec.encode_message(m.WakeSchedule(at=AT, revision=7), id=id, context=context)
    await bus.append(key.fire, data.replace(b"headrace.schedule.wake.v1", NEWER) if newer else data, id=id)


async def test_a_fire_command_of_a_newer_release_comes_again(bus: Bus) -> None:
    await _fire(bus, ScheduleKey(COMPANY, ids.new_id()), newer=True)
    await eventually(lambda: _left_again(bus))


async def test_a_schedule_that_a_newer_release_changed_is_not_fired(bus: Bus) -> None:
    key = ScheduleKey(COMPANY, ids.new_id())
    context = Context(source=source_of(COMPANY), subject=key.schedule_id)
    known = m.SchedulePaused(at=AT, schedule=a_schedule())
    data = codec.encode_message(known, id="newer", context=context)
    await bus.append(key.events, data.replace(b"headrace.schedule.paused.v1", NEWER), id="newer")
    await _fire(bus, key)
    await eventually(lambda: _left_again(bus))
    assert len(await bus.load(SCHEDULES, key.events)) == 1
