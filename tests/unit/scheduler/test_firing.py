"""What happens when a schedule's time has come."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common.ids import derived_id
from libs.common.messages import schedule as m
from services.scheduler.firing import QUEUE_MAX, STARTS_MAX, Flow, due_at, fire, play_id_of
from services.scheduler.occurrences import occurrences

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
FLOW = Flow(derived_id("flow"), 7, 3, True, False)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def a_schedule(**fields: Any) -> m.Schedule:
    timing = fields.pop("timing", m.Timing(cron="* * * * *"))
    given = {"next_at": NINE, "enabled": True, **fields}
    return m.Schedule(
        id=derived_id("schedule"),
        company_id=derived_id("company"),
        name="test",
        flow_id=FLOW.id,
        timing=timing,
        created_at=NINE,
        updated_at=NINE,
        **given,
    )


def fired(
    schedule: m.Schedule, now: datetime, *, flow: Flow | None = FLOW, ended: tuple[str, ...] = ()
) -> m.ScheduleFired:
    event = fire(schedule, now=now, flow=flow, ended=ended)
    assert event is not None
    return event


def started(event: m.ScheduleFired) -> list[datetime]:
    return [start.occurrence for start in event.started]


def test_what_is_due_starts_and_the_next_is_armed() -> None:
    schedule = a_schedule()
    event = fired(schedule, NINE)
    assert started(event) == [NINE]
    assert event.started[0].play_id == play_id_of(schedule, NINE)
    assert (event.started[0].definition, event.started[0].flow_version) == (7, 3)
    after = event.schedule
    assert (after.next_at, after.wake_at, after.revision) == (NINE + MINUTE, NINE + MINUTE, 2)
    assert (after.last_run_at, after.last_play_id) == (NINE, event.started[0].play_id)


def test_what_is_not_due_yet_changes_nothing() -> None:
    assert fire(a_schedule(), now=NINE - MINUTE, flow=FLOW, ended=()) is None


def test_what_is_a_little_late_is_on_time() -> None:
    assert started(fired(a_schedule(), NINE + timedelta(seconds=9))) == [NINE]


@pytest.mark.parametrize(
    ("policy", "runs", "left_out"),
    [("skip", [], 6), ("last", [5], 5), ("all", [0, 1, 2, 3, 4, 5], 0)],
)
def test_a_misfire_policy_says_what_of_the_missed_runs(policy: Any, runs: list[int], left_out: int) -> None:
    hourly = m.Timing(cron="0 * * * *")
    event = fired(a_schedule(misfire_policy=policy, timing=hourly), NINE + 5 * HOUR + timedelta(seconds=61))
    assert started(event) == [NINE + hour * HOUR for hour in runs]
    assert sum(entry.count for entry in event.skipped) == left_out
    assert event.schedule.next_at == NINE + 6 * HOUR


@pytest.mark.parametrize(
    ("every", "late_s", "misfires"),
    [("1s", 9, False), ("1s", 12, True), ("30s", 29, False), ("1h", 60, False), ("1h", 61, True)],
)
def test_so_late_is_on_time_as_the_next_is_far_away(every: str, late_s: int, misfires: bool) -> None:
    """Between ten seconds and a minute, as far as the next occurrence; a busy minute is not a missed one."""
    schedule = a_schedule(timing=m.Timing(every=every, anchor=NINE))
    event = fired(schedule, NINE + timedelta(seconds=late_s))
    assert (NINE not in started(event)) is misfires


def test_what_was_missed_before_the_window_is_left_out() -> None:
    schedule = a_schedule(misfire_policy="all", misfire_window_seconds=120)
    event = fired(schedule, NINE + 10 * MINUTE)
    assert started(event) == [NINE + minute * MINUTE for minute in (8, 9, 10)]
    assert [(entry.first, entry.last, entry.count) for entry in event.skipped] == [
        (NINE, NINE + 7 * MINUTE, 8)
    ]


def test_many_missed_are_started_in_several_decisions() -> None:
    schedule = a_schedule(misfire_policy="all")
    now = NINE + (STARTS_MAX + 50) * MINUTE
    first = fired(schedule, now)
    assert len(first.started) == STARTS_MAX
    assert first.schedule.wake_at is not None
    assert first.schedule.wake_at <= now
    assert len(fired(first.schedule, now).started) == 51


def running(schedule: m.Schedule) -> tuple[m.Running, ...]:
    return (m.Running(play_id=derived_id("earlier"), flow_id=FLOW.id, at=NINE - MINUTE),)


def test_an_overlap_is_left_out_by_skip() -> None:
    schedule = a_schedule(overlap_policy="skip")
    event = fired(m.Schedule(**_with(schedule, running=running(schedule))), NINE)
    assert started(event) == []
    assert [entry.reason for entry in event.skipped] == ["overlap"]


def test_a_play_that_ended_overlaps_nothing() -> None:
    schedule = a_schedule(overlap_policy="skip")
    busy = m.Schedule(**_with(schedule, running=running(schedule)))
    assert started(fired(busy, NINE, ended=(derived_id("earlier"),))) == [NINE]


def test_an_overlap_waits_by_queue_and_runs_after_the_end() -> None:
    schedule = a_schedule(overlap_policy="queue")
    queued = fired(m.Schedule(**_with(schedule, running=running(schedule))), NINE)
    assert (started(queued), len(queued.schedule.waiting)) == ([], 1)
    assert queued.schedule.wake_at is not None
    assert queued.schedule.wake_at < NINE + MINUTE
    later = fired(queued.schedule, NINE + timedelta(seconds=10), ended=(derived_id("earlier"),))
    assert (started(later), later.schedule.waiting) == ([NINE], ())


def test_a_full_queue_leaves_out_and_says_so() -> None:
    schedule = a_schedule(overlap_policy="queue")
    waiting = tuple(m.Waiting(occurrence=NINE, play_id=str(number)) for number in range(QUEUE_MAX))
    full = m.Schedule(**_with(schedule, running=running(schedule), waiting=waiting))
    assert [entry.reason for entry in fired(full, NINE).skipped] == ["queue-full"]


def test_an_overlap_ends_what_runs_by_cancel_running() -> None:
    schedule = a_schedule(overlap_policy="cancelRunning")
    event = fired(m.Schedule(**_with(schedule, running=running(schedule))), NINE)
    assert started(event) == [NINE]
    assert [entry.play_id for entry in event.cancelled] == [derived_id("earlier")]


def test_a_disabled_flow_lets_its_occurrences_pass() -> None:
    event = fired(a_schedule(), NINE, flow=FLOW._replace(enabled=False))
    assert (started(event), [entry.reason for entry in event.skipped]) == ([], ["flow-disabled"])
    assert event.schedule.next_at == NINE + MINUTE


@pytest.mark.parametrize("flow", [None, FLOW._replace(deleted=True)])
def test_a_deleted_flow_disables_its_schedule(flow: Flow | None) -> None:
    after = fired(a_schedule(), NINE, flow=flow).schedule
    assert (after.enabled, after.next_at, after.wake_at) == (False, None, None)


def test_jitter_is_the_same_each_time_and_stays_before_the_next() -> None:
    schedule = a_schedule(jitter_seconds=3_600)
    found = list(occurrences(schedule.timing, NINE, NINE + 60 * MINUTE))
    dues = [due_at(schedule, at) for at in found]
    assert dues == [due_at(schedule, at) for at in found]
    assert all(at <= due < at + MINUTE for at, due in zip(found, dues, strict=True))
    assert len({due - at for at, due in zip(found, dues, strict=True)}) > 50


def _with(schedule: m.Schedule, **fields: Any) -> dict[str, Any]:
    return {name: getattr(schedule, name) for name in schedule.__struct_fields__} | fields
