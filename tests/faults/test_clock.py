"""Schedules while schedulers and NATS die: each occurrence as its policy says, none twice."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.messages import schedule as m
from services.scheduler.firing import GRACE_S_MIN
from services.scheduler.occurrences import occurrences
from tests.e2e.api import Api, Json
from tests.fixtures.nats import NatsServer
from tests.fixtures.system import running_system
from tests.waiting import eventually

SCHEDULES = 1_000
AT_ONCE = 16
# A slow machine needs more time to define them.
AHEAD_S = (12.0, 40.0, 160.0)
EVERY_S = 2
PURE = {"ref": "one", "appId": "var", "args": {"values": {"a": 1}}}


async def starts_of(url: str) -> Counter[str]:
    """Return how many start commands the log holds for each schedule."""
    bus = await Bus.connect(url, name="test")
    try:
        stored = await bus.load(subjects.plays_stream(0), subjects.shard_starts(0))
    finally:
        await bus.close()
    return Counter(codec.decode_message(message.data).data.schedule_id for message in stored)


@pytest.mark.slow
async def test_schedules_of_one_second_all_start_once_though_a_scheduler_dies() -> None:
    """A thousand schedules, due in the same second, on two schedulers; one is killed when the first have started."""
    with running_system("--schedulers", "2") as system:
        url = system.env()["HEADRACE_NATS_URL"]
        async with Api.logged_in(system) as api:
            flow_id, defined = await _due_at_once(api)
            await eventually(_started(url, defined, 1), within_s=2 * max(AHEAD_S))
            system.kill("scheduler-0")
            await eventually(_started(url, defined, SCHEDULES), within_s=120)
            await eventually(_projected(api, flow_id), within_s=120)
        starts = await starts_of(url)
    assert {id: starts[id] for id in defined} == dict.fromkeys(defined, 1)


@pytest.mark.slow
async def test_a_restart_of_nats_across_due_times_is_what_the_misfire_policy_says(
    nats_server_process: NatsServer,
) -> None:
    """NATS is away for longer than an occurrence may be late; each policy then does what it says."""
    nats = nats_server_process
    environ = {"HEADRACE_NATS_URL": nats.url}
    with running_system(environ=environ) as system:
        async with Api.logged_in(system) as api:
            flow = await api.create_flow("Restarted", PURE)
            defined = {policy: await _every(api, flow["id"], policy) for policy in m.MISFIRE_POLICIES}
            await eventually(_started(nats.url, list(defined.values()), 1), within_s=60)
            nats.stop(hard=True)
            down_at = datetime.now(UTC)
            away = timedelta(seconds=GRACE_S_MIN + 2 * EVERY_S)
            await eventually(_passed(down_at + away), within_s=120)
            nats.start()
            up_at = datetime.now(UTC)
            for schedule_id in defined.values():
                await eventually(_caught_up(nats.url, api, schedule_id, up_at), within_s=120)
                await eventually(_paused(api, schedule_id), within_s=120)
            decided = {
                policy: await _decided(nats.url, api, schedule_id) for policy, schedule_id in defined.items()
            }
        starts = await starts_of(nats.url)
    for policy, (timing, started, skipped) in decided.items():
        every = list(occurrences(timing, timing.anchor or started[0], started[-1]))
        left_out = [at for at in every if any(entry.first <= at <= entry.last for entry in skipped)]
        assert sorted([*started, *left_out]) == every, policy
        assert starts[defined[policy]] == len(started), policy
        assert {entry.reason for entry in skipped} <= {"misfire"}
    assert decided["all"][2] == []
    missed = [at for at in decided["all"][1] if down_at < at < up_at - timedelta(seconds=GRACE_S_MIN)]
    assert missed, "nothing was due while NATS was away"
    assert sum(entry.count for entry in decided["skip"][2]) > sum(entry.count for entry in decided["last"][2])


async def _due_at_once(api: Api) -> tuple[str, list[str]]:
    """Define schedules due in the same second, and in time for it; return their flow's id and theirs."""
    slots = asyncio.Semaphore(AT_ONCE)
    for ahead_s in AHEAD_S:
        flow_id = str((await api.create_flow("Burst", PURE))["id"])
        due = (datetime.now(UTC) + timedelta(seconds=ahead_s)).replace(microsecond=0)
        timing = {"cron": f"{due.second} {due.minute} {due.hour} * * *", "overlapPolicy": "skip"}

        async def define(number: int, fields: Json) -> str:
            async with slots:
                made = await api.post("/api/schedules", {"name": f"s{number}", **fields}, status=201)
                return str(made["id"])

        fields = {"flowId": flow_id, **timing}
        defined = await asyncio.gather(*(define(number, fields) for number in range(SCHEDULES)))
        if datetime.now(UTC) < due:
            return flow_id, defined
    raise AssertionError(f"{SCHEDULES} schedules could not be defined within {max(AHEAD_S)} s")


async def _every(api: Api, flow_id: str, policy: str) -> str:
    body = {"name": policy, "flowId": flow_id, "every": f"{EVERY_S}s", "misfirePolicy": policy}
    made = await api.post("/api/schedules", body, status=201)
    return str(made["id"])


async def _decided(url: str, api: Api, schedule_id: str) -> tuple[m.Timing, list[datetime], list[m.Skipped]]:
    """Return what the log says of a schedule: its timing, what it started, what it left out."""
    me = await api.get("/api/auth/me")
    bus = await Bus.connect(url, name="test")
    try:
        stored = await bus.load(subjects.SCHEDULES, subjects.ScheduleKey(me["companyId"], schedule_id).events)
    finally:
        await bus.close()
    events: list[Any] = [codec.last_event(message.data).data for message in stored]
    fired = [event for event in events if isinstance(event, m.ScheduleFired)]
    started = [start.occurrence for event in fired for start in event.started]
    skipped = [entry for event in fired for entry in event.skipped]
    assert isinstance(events[0], m.ScheduleCreated), "the log keeps too few events for this test"
    return events[0].schedule.timing, started, skipped


def _started(url: str, schedule_ids: list[str], least: int) -> Any:
    async def reached() -> bool:
        starts = await starts_of(url)
        return sum(starts[id] for id in schedule_ids) >= least

    return reached


def _projected(api: Api, flow_id: str) -> Any:
    async def reached() -> bool:
        answer = await api.get(f"/api/flows/{flow_id}/plays?state=DONE&size=1")
        return bool(answer["total"] == SCHEDULES)

    return reached


def _passed(at: datetime) -> Any:
    async def passed() -> bool:
        return datetime.now(UTC) >= at

    return passed


def _caught_up(url: str, api: Api, schedule_id: str, at: datetime) -> Any:
    async def caught_up() -> bool:
        _, started, _ = await _decided(url, api, schedule_id)
        return started[-1] > at

    return caught_up


def _paused(api: Api, schedule_id: str) -> Any:
    async def paused() -> bool:
        return (await api.call("POST", f"/api/schedules/{schedule_id}/pause")).status == 200

    return paused
