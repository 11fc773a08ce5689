"""The sweep: silent plays in RUN are revived (design D5), parked ones carried over (D16), late schedules reminded."""

from datetime import datetime, timedelta

from libs.common import metrics, rpc, subjects
from libs.common.bus import Bus
from libs.common.codec import Context, encode_message, source_of
from libs.common.messages.play import CarryOverPlay, PlayCommand, ReleasePlay, RevivePlay
from libs.common.messages.query import ListOverdueSchedules, ListStalePlays, OverdueSchedule, StalePlay
from libs.common.subjects import ScheduleKey
from services.scheduler.schedule_log import ScheduleLog, fire_id

STALE_AFTER_S = 600
SWEEP_PLAYS_MAX = 1_000
OVERDUE_AFTER_S = 60
IN_LINE_AFTER_S = 30
SWEEP_SCHEDULES_MAX = 1_000
APPEND_DEADLINE_S = 5.0


async def sweep(bus: Bus, *, now: datetime, shards: int, stale_after_s: float = STALE_AFTER_S) -> int:
    """Send a revive command for each play that is in RUN without a commit for `stale_after_s` seconds.

    Returns how many. An executor that gets one asks the play's driver first, so a slow play is left alone. Two
    schedulers that find the same play send the same command id, which the log takes once.
    Raises Unavailable when the store or NATS does not answer.
    """
    query = ListStalePlays(before=now - timedelta(seconds=stale_after_s), limit=SWEEP_PLAYS_MAX)
    stale = await rpc.ask(bus, subjects.query("play"), query, list[StalePlay])
    for play in stale:
        id = f"revive-{play.play_id}-{int(now.timestamp() // STALE_AFTER_S)}"
        await _tell(bus, play, "revive", RevivePlay(at=now), id=id, shards=shards)
        metrics.SWEPT.inc()
    return len(stale)


async def carry_over(bus: Bus, *, now: datetime, shards: int, log_days: float) -> int:
    """Send a carry-over command for each parked play that is silent for half of the log's days (design D16).

    Returns how many. What an executor writes then is not older than the log for another such time.
    Raises Unavailable when the store or NATS does not answer.
    """
    silent = timedelta(days=log_days / 2)
    # A play takes each id once, so the next time it is silent for so long needs another.
    window_s = min(STALE_AFTER_S, silent.total_seconds() / 2)
    query = ListStalePlays(before=now - silent, limit=SWEEP_PLAYS_MAX, parked=True)
    parked = await rpc.ask(bus, subjects.query("play"), query, list[StalePlay])
    for play in parked:
        id = f"carry-{play.play_id}-{int(now.timestamp() // window_s)}"
        await _tell(bus, play, "carry", CarryOverPlay(at=now), id=id, shards=shards)
        metrics.CARRIED.inc()
    return len(parked)


async def release(bus: Bus, *, now: datetime, shards: int) -> int:
    """Send a release command to the first play in line of each flow: its limit may have been raised, or lifted.

    Returns how many. A play that has no slot yet stays where it is.
    Raises Unavailable when the store or NATS does not answer.
    """
    before = now - timedelta(seconds=IN_LINE_AFTER_S)
    query = ListStalePlays(before=before, limit=SWEEP_PLAYS_MAX, in_line=True)
    waiting = await rpc.ask(bus, subjects.query("play"), query, list[StalePlay])
    for play in waiting:
        id = f"release-{play.play_id}-sweep-{int(now.timestamp() // IN_LINE_AFTER_S)}"
        await _tell(bus, play, "release", ReleasePlay(at=now), id=id, shards=shards)
    return len(waiting)


async def remind(bus: Bus, schedules: ScheduleLog, *, now: datetime) -> int:
    """Send a fire command to each schedule that is overdue by `OVERDUE_AFTER_S` seconds; its timer must be lost.

    Returns how many. A command that was not needed finds its revision decided. Raises Unavailable when the store or
    NATS does not answer.
    """
    before = now - timedelta(seconds=OVERDUE_AFTER_S)
    query = ListOverdueSchedules(before=before, limit=SWEEP_SCHEDULES_MAX)
    overdue = await rpc.ask(bus, subjects.query("schedule"), query, list[OverdueSchedule])
    window = int(now.timestamp() // OVERDUE_AFTER_S)
    reminded = 0
    for entry in overdue:
        known = await schedules.schedule(ScheduleKey(entry.company_id, entry.schedule_id), leader=True)
        wake_at = None if known is None else known.schedule.wake_at
        if known is not None and wake_at is not None and wake_at < before:
            id = f"{fire_id(known.schedule)}-overdue-{window}"
            await schedules.fire_now(known.schedule, wake_at, id=id)
            reminded += 1
    return reminded


async def _tell(bus: Bus, play: StalePlay, verb: str, command: PlayCommand, *, id: str, shards: int) -> None:
    key = subjects.play_key(play.company_id, play.flow_id, play.play_id, shards=shards)
    context = Context(source=source_of(play.company_id, play.flow_id), subject=play.play_id)
    data = encode_message(command, id=id, context=context)
    await bus.append(key.command(verb), data, id=id, deadline_s=APPEND_DEADLINE_S)
