"""The occurrences that are started are those that the policy says, each once, whatever dies, repeats or jumps."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.common.ids import derived_id
from libs.common.messages import schedule as m
from libs.common.messages.schedule import Timing
from libs.common.subjects import ScheduleKey
from services.scheduler.occurrences import occurrences
from tests.simulation.clockwork import EPOCH
from tests.simulation.schedules.world import COMPANY, World, a_schedule

SEEDS = range(300)
Script = Callable[[World], Awaitable[None]]


def expected(every_s: int, start: datetime, end: datetime) -> list[datetime]:
    timing = Timing(every=f"{every_s}s", anchor=start)
    return list(occurrences(timing, start, end))


def decided(world: World, schedule_id: str) -> tuple[list[datetime], list[m.Skipped]]:
    """Return what the log says was started and left out, in order."""
    started: list[datetime] = []
    skipped: list[m.Skipped] = []
    for known in world.server.events[ScheduleKey(COMPANY, schedule_id)]:
        if isinstance(known.event, m.ScheduleFired):
            started += [start.occurrence for start in known.event.started]
            skipped += known.event.skipped
    return started, skipped


def ran(world: World) -> list[datetime]:
    return sorted(play.start.occurrence for play in world.server.plays.values())


def jumping(world: World, start_s: float, *, hours: float) -> Script:
    async def script(_: World) -> None:
        await world.sleep(start_s)
        world.server.jumped += timedelta(hours=hours)
        # The schedulers have not read the clock since.
        for clock in world.clocks:
            clock.stale = timedelta(hours=-hours)
        await world.sleep(5.0)
        for clock in world.clocks:
            clock.stale = timedelta(0)

    return script


@pytest.mark.parametrize("seed", SEEDS)
def test_all_occurrences_run_once_whatever_dies(seed: int) -> None:
    all_occurrences_run_once(seed)


def all_occurrences_run_once(seed: int) -> None:
    """Let a schedule occur while schedulers die, messages are lost and clocks jump; fail unless each ran once."""
    world = World(seed)
    id = derived_id("schedule", str(seed))

    async def script(_: World) -> None:
        await world.tell(a_schedule(id, every="7s", misfire_policy="all"))
        await world.sleep(60.0)
        if seed % 3 == 0:
            world.server.outage_until = world.loop.time() + 40.0
        if seed % 3 == 1:
            await jumping(world, 1.0, hours=world.random.choice([-1.0, 1.0]))(world)
        await world.sleep(90.0)
        await world.settle()
        await world.pause(id)

    world.run(script)
    first = world.server.events[ScheduleKey(COMPANY, id)][0].schedule
    started, skipped = decided(world, id)
    assert started == expected(7, first.timing.anchor or EPOCH, started[-1])
    assert ran(world) == started
    assert skipped == []
    # By the bus's clock nothing is outstanding, however often that was moved.
    assert world.server.now() - started[-1] < timedelta(seconds=7 + 30)


@pytest.mark.parametrize("seed", range(100))
def test_what_was_missed_is_left_out_and_said_so(seed: int) -> None:
    world = World(seed)
    id = derived_id("schedule", str(seed))
    policy = ("skip", "last")[seed % 2]

    async def script(_: World) -> None:
        await world.tell(a_schedule(id, every="5s", misfire_policy=policy))
        await world.sleep(30.0)
        world.server.outage_until = world.loop.time() + 60.0
        await world.sleep(90.0)
        await world.settle()
        await world.pause(id)

    world.run(script)
    first = world.server.events[ScheduleKey(COMPANY, id)][0].schedule
    started, skipped = decided(world, id)
    every = expected(5, first.timing.anchor or EPOCH, started[-1])
    left_out = [at for at in every if any(entry.first <= at <= entry.last for entry in skipped)]
    assert sorted([*started, *left_out]) == every
    assert ran(world) == started
    assert sum(entry.count for entry in skipped) == len(left_out) > 0
    assert {entry.reason for entry in skipped} == {"misfire"}


@pytest.mark.parametrize("seed", range(60))
def test_plays_of_a_queue_run_one_after_the_other_and_none_is_lost(seed: int) -> None:
    world = World(seed, play_s=6.0)
    id = derived_id("schedule", str(seed))

    async def script(_: World) -> None:
        command = a_schedule(
            id, every="5s", misfire_policy="all", overlap_policy="queue", end_at=EPOCH + timedelta(seconds=60)
        )
        await world.tell(command)
        await world.sleep(120.0)
        await world.settle(60.0)

    world.run(script)
    first = world.server.events[ScheduleKey(COMPANY, id)][0].schedule
    anchor = first.timing.anchor or EPOCH
    started, _ = decided(world, id)
    assert started == expected(5, anchor, EPOCH + timedelta(seconds=60, microseconds=-1))
    assert ran(world) == started


@pytest.mark.parametrize("seed", range(60))
def test_a_backfill_starts_its_range_once_and_what_ran_before_never_again(seed: int) -> None:
    world = World(seed, play_s=0.5)
    id = derived_id("schedule", str(seed))
    past = (EPOCH - timedelta(minutes=30), EPOCH)

    async def script(_: World) -> None:
        await world.tell(a_schedule(id, cron="* * * * *"))
        backfill = m.BackfillSchedule(
            id=derived_id("backfill", str(seed)),
            at=EPOCH,
            company_id=COMPANY,
            schedule_id=id,
            from_at=past[0],
            to_at=past[1],
            parallel=seed % 2 == 0,
        )
        await world.tell(backfill)
        await world.sleep(90.0)
        await world.settle(90.0)

    world.run(script)
    begun = [at for at in ran(world) if at < EPOCH]
    assert begun == [past[0] + timedelta(minutes=minute) for minute in range(30)]
    assert world.server.events[ScheduleKey(COMPANY, id)][-1].schedule.backfill is None


@pytest.mark.parametrize("seed", range(60))
def test_nothing_starts_after_a_pause_a_delete_or_the_end_of_the_flow(seed: int) -> None:
    world = World(seed)
    id = derived_id("schedule", str(seed))
    stopped: list[datetime] = []

    async def script(_: World) -> None:
        await world.tell(a_schedule(id, every="3s"))
        await world.sleep(world.random.uniform(10.0, 20.0))
        common: dict[str, Any] = {
            "id": derived_id("stop", str(seed)),
            "at": EPOCH,
            "company_id": COMPANY,
            "schedule_id": id,
        }
        if seed % 3 == 0:
            await world.tell(m.PauseSchedule(**common))
        elif seed % 3 == 1:
            await world.tell(m.DeleteSchedule(**common))
        else:
            world.server.flow = world.server.flow._replace(deleted=True)
        stopped.append(world.server.now())
        await world.sleep(30.0)
        await world.settle()

    world.run(script)
    last = world.server.events[ScheduleKey(COMPANY, id)][-1].schedule
    assert all(at <= stopped[0] for at in ran(world))
    assert last.wake_at is None
    assert not last.enabled
    assert world.server.quiet


def test_a_world_without_faults_starts_everything_on_time() -> None:
    world = World(1, faults=False)
    id = derived_id("schedule", "calm")

    async def script(_: World) -> None:
        await world.tell(a_schedule(id, every="2s"))
        await world.sleep(60.0)

    world.run(script)
    lateness = [play.at - play.start.occurrence for play in world.server.plays.values()]
    assert len(lateness) >= 29
    assert max(lateness) < timedelta(seconds=0.5)
