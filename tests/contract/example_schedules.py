"""One realistic message of each type about schedules, every field set (see examples)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.messages import schedule as m

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
NINE = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
COMPANY = "69b52a3d0c1f5e8a90000001"
USER = "69b52a3d0c1f5e8a90000002"
FLOW = "69b52a3d0c1f5e8a90000003"
PLAY = "69b52a3d0c1f5e8a90000005"
PARENT = "69b52a3d0c1f5e8a90000006"
SCHEDULE = "69b52a3d0c1f5e8a90000007"


def a_schedule() -> m.Schedule:
    """Return a schedule with every field set."""
    day = timedelta(days=1)
    timing = m.Timing(
        cron="0 9 * * MON-FRI",
        every="15m",
        timezone="Europe/Berlin",
        anchor=NINE,
        start_at=NINE - day,
        end_at=NINE + 300 * day,
        exclusions=("2026-12-25", "* * * 8 *"),
    )
    return m.Schedule(
        id=SCHEDULE,
        company_id=COMPANY,
        name="Morgens um neun",
        flow_id=FLOW,
        timing=timing,
        created_at=NINE - day,
        updated_at=AT,
        enabled=False,
        deleted=True,
        note="until the stocktaking is over",
        args={"customer": "Grüße, Ada", "total": 1250.5},
        misfire_policy="last",
        misfire_window_seconds=3_600,
        overlap_policy="queue",
        jitter_seconds=30,
        revision=7,
        next_at=NINE + day,
        wake_at=NINE + day + timedelta(seconds=12),
        last_run_at=AT,
        last_occurrence=NINE,
        last_play_id=PLAY,
        waiting=(m.Waiting(occurrence=NINE, play_id=PLAY, manual=True, by=USER),),
        running=(m.Running(play_id=PARENT, flow_id=FLOW, at=NINE),),
        backfill=m.Backfill(
            id="backfill-1",
            from_at=NINE - 9 * day,
            to_at=NINE - day,
            next_at=NINE - 3 * day,
            parallel=False,
            total=6,
            started=4,
        ),
    )


def schedule_messages() -> list[msgspec.Struct]:
    """Return one of each message about a schedule."""
    common: dict[str, Any] = {"at": AT, "by": USER, "schedule": a_schedule()}
    start = m.Start(occurrence=NINE, play_id=PLAY, flow_id=FLOW, definition=42, flow_version=3, by=USER)
    skipped = m.Skipped(reason="misfire", first=NINE - timedelta(days=2), last=NINE, count=3)
    running = m.Running(play_id=PARENT, flow_id=FLOW, at=NINE)
    return [
        m.WakeSchedule(at=AT, revision=7),
        m.ScheduleCreated(**common),
        m.ScheduleUpdated(**common, changed=("cron", "timezone")),
        m.ScheduleDeleted(**common),
        m.SchedulePaused(**common),
        m.ScheduleResumed(**common),
        m.RunRequested(**common, play_id=PLAY),
        m.BackfillRequested(**common),
        m.BackfillCancelled(**common, started=4),
        m.ScheduleFired(**common, started=(start,), skipped=(skipped,), cancelled=(running,)),
    ]
