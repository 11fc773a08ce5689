"""What a schedule does when its time has come, pure: which occurrences run, which are left out, when to wake next.

Time is the bus's own (services/scheduler/server_clock.py). Every occurrence is decided once: `next_at` only moves
forward, and what is started has an id that its schedule and its occurrence give (docs/schedules.md).
"""

import itertools
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from libs.common.ids import derived_id
from libs.common.messages import schedule as m
from services.scheduler.occurrences import INSTANT, last_before, next_after, occurrences

# So late an occurrence still counts as on time, if the next one is not due before; later it is a misfire. A minute
# full of schedules takes its time on a slow machine, and is not missed for that.
GRACE_S_MAX = 60.0
GRACE_S_MIN = 10.0
STARTS_MAX = 100
QUEUE_MAX = 100
RUNNING_MAX = 100
SKIPPED_COUNTED_MAX = 1_000
# While a play is waited for: a tenth of the time it runs already, within these.
POLL_S_MIN = 1.0
POLL_S_MAX = 30.0
FLOW_DELETED_NOTE = "disabled: its flow was deleted"


class Flow(NamedTuple):
    """What starting a play needs of a flow; `definition` is its place in DEFINITIONS."""

    id: str
    definition: int
    version: int
    enabled: bool
    deleted: bool


def play_id_of(schedule: m.Schedule, occurrence: datetime) -> str:
    """Return the id of the play of an occurrence: the same whoever starts it, and however often."""
    return derived_id("schedule", schedule.company_id, schedule.id, occurrence.isoformat())


def due_at(schedule: m.Schedule, occurrence: datetime) -> datetime:
    """Return when an occurrence is started: its time and its jitter, which never reaches the next occurrence."""
    if schedule.jitter_seconds == 0:
        return occurrence
    following = next_after(schedule.timing, occurrence)
    widest_s = float(schedule.jitter_seconds)
    if following is not None:
        widest_s = min(widest_s, (following - occurrence).total_seconds())
    share = int(derived_id("jitter", schedule.id, occurrence.isoformat())[:8], 16) / 2**32
    return occurrence + timedelta(milliseconds=int(widest_s * share * 1_000))


def wake_at(schedule: m.Schedule, now: datetime) -> datetime | None:
    """Return when this schedule has something to do next, None when it has not."""
    if schedule.deleted:
        return None
    times = [now] if any(entry.manual for entry in schedule.waiting) else []
    if schedule.enabled:
        later = now
        if schedule.running:
            age_s = (now - schedule.running[-1].at).total_seconds()
            later += timedelta(seconds=min(max(age_s / 10, POLL_S_MIN), POLL_S_MAX))
        if any(not entry.manual for entry in schedule.waiting):
            times.append(later)
        if schedule.backfill is not None:
            times.append(now if schedule.backfill.parallel else later)
        if schedule.next_at is not None:
            times.append(due_at(schedule, schedule.next_at))
    return min(times, default=None)


def fire(
    schedule: m.Schedule, *, now: datetime, flow: Flow | None, ended: Collection[str]
) -> m.ScheduleFired | None:
    """Return what happens now; None when nothing does. `ended` names those of the running plays that have ended."""
    if flow is None or flow.deleted:
        return _orphaned(schedule, now)
    firing = _Firing(schedule, now, flow, ended)
    firing.run_manual()
    if schedule.enabled:
        firing.run_queued()
        firing.run_due()
        firing.run_backfill()
    return firing.event()


def _orphaned(schedule: m.Schedule, now: datetime) -> m.ScheduleFired:
    due = schedule.next_at if schedule.enabled else None
    skipped = () if due is None else (m.Skipped(reason="flow-deleted", first=due, last=due, count=1),)
    after = replace(
        schedule,
        revision=schedule.revision + 1,
        enabled=False,
        note=FLOW_DELETED_NOTE,
        next_at=None,
        wake_at=None,
        waiting=(),
        running=(),
        backfill=None,
    )
    return m.ScheduleFired(at=now, schedule=after, skipped=skipped)


def _grace_s(schedule: m.Schedule, occurrence: datetime) -> float:
    following = next_after(schedule.timing, occurrence)
    if following is None:
        return GRACE_S_MAX
    return min(GRACE_S_MAX, max(GRACE_S_MIN, (following - occurrence).total_seconds()))


class _Firing:
    """One decision in the making."""

    def __init__(self, schedule: m.Schedule, now: datetime, flow: Flow, ended: Collection[str]) -> None:
        self.schedule = schedule
        self.now = now
        self.flow = flow
        self.next_at = schedule.next_at
        self.waiting = list(schedule.waiting)
        self.running = [entry for entry in schedule.running if entry.play_id not in ended]
        self.backfill = schedule.backfill
        self.started: list[m.Start] = []
        self.skipped: list[m.Skipped] = []
        self.cancelled: list[m.Running] = []
        self.last_run: m.Start | None = None

    def event(self) -> m.ScheduleFired | None:
        """Return the event, None when nothing was decided."""
        schedule = self.schedule
        decided = (self.next_at, tuple(self.waiting), self.backfill)
        if decided == (schedule.next_at, schedule.waiting, schedule.backfill):
            return None
        after = replace(
            schedule,
            revision=schedule.revision + 1,
            next_at=self.next_at,
            waiting=tuple(self.waiting),
            running=tuple(self.running[-RUNNING_MAX:]),
            backfill=self.backfill,
        )
        if self.last_run is not None:
            after = replace(
                after,
                last_run_at=self.now,
                last_play_id=self.last_run.play_id,
                last_occurrence=self.last_run.occurrence,
            )
        after = replace(after, wake_at=wake_at(after, self.now))
        return m.ScheduleFired(
            at=self.now,
            schedule=after,
            started=tuple(self.started),
            skipped=tuple(self.skipped),
            cancelled=tuple(self.cancelled),
        )

    # ── what was asked for, and what waits ──────────────────────────────────────────────────────────

    def run_manual(self) -> None:
        """Start what people asked for, whatever else runs."""
        for entry in [entry for entry in self.waiting if entry.manual][:STARTS_MAX]:
            self.waiting.remove(entry)
            if self.flow.enabled:
                self.last_run = self._start(entry.occurrence, entry.play_id, by=entry.by)
            else:
                self._skip("flow-disabled", entry.occurrence)

    def run_queued(self) -> None:
        """Start what waited for the last play, as soon as that has ended."""
        while self.waiting and len(self.started) < STARTS_MAX:
            entry = self.waiting[0]
            if entry.manual or (self.schedule.overlap_policy == "queue" and self.running):
                return
            del self.waiting[0]
            if self.flow.enabled:
                self.last_run = self._start(entry.occurrence, entry.play_id)
            else:
                self._skip("flow-disabled", entry.occurrence)

    # ── what is due ─────────────────────────────────────────────────────────────────────────────────

    def run_due(self) -> None:
        """Decide every occurrence whose time has come."""
        schedule = self.schedule
        self.next_at = self._past_misfires(self.next_at)
        while self.next_at is not None and due_at(schedule, self.next_at) <= self.now:
            if len(self.started) >= STARTS_MAX:
                return
            self._occur(self.next_at)
            self.next_at = next_after(schedule.timing, self.next_at)

    def _past_misfires(self, first: datetime | None) -> datetime | None:
        """Leave out what the misfire policy says, and return the first occurrence that is still to be decided."""
        schedule = self.schedule
        if first is None:
            return first
        on_time = self.now - timedelta(seconds=_grace_s(schedule, first))
        if due_at(schedule, first) >= on_time:
            return first
        oldest = self.now - timedelta(seconds=schedule.misfire_window_seconds)
        if schedule.misfire_policy == "all":
            kept = first if first >= oldest else next_after(schedule.timing, oldest - INSTANT)
            self._skip_range("misfire", first, kept)
            return kept
        fresh = self._first_on_time(first, on_time)
        before_fresh = self.now if fresh is None else fresh - INSTANT
        last = max(first, last_before(schedule.timing, before_fresh) or first)
        if schedule.misfire_policy == "last" and last >= oldest:
            self._skip_range("misfire", first, last)
            self._occur(last)
        else:
            self._skip_range("misfire", first, fresh, last=last)
        return fresh

    def _first_on_time(self, first: datetime, on_time: datetime) -> datetime | None:
        earliest = on_time - timedelta(seconds=self.schedule.jitter_seconds) - INSTANT
        for occurrence in occurrences(self.schedule.timing, max(first, earliest)):
            if due_at(self.schedule, occurrence) >= on_time:
                return occurrence
        return None

    def _occur(self, occurrence: datetime) -> None:
        """Start, queue or leave out one occurrence, as the overlap policy says."""
        schedule = self.schedule
        if not self.flow.enabled:
            self._skip("flow-disabled", occurrence)
            return
        busy = bool(self.running)
        match schedule.overlap_policy:
            case "skip" if busy:
                self._skip("overlap", occurrence)
                return
            case "queue" if busy or any(not entry.manual for entry in self.waiting):
                self._queue(occurrence)
                return
            case "cancelRunning":
                self.cancelled += self.running
                self.running.clear()
        self.last_run = self._start(occurrence, play_id_of(schedule, occurrence))

    def _queue(self, occurrence: datetime) -> None:
        if len(self.waiting) >= QUEUE_MAX:
            self._skip("queue-full", occurrence)
            return
        play_id = play_id_of(self.schedule, occurrence)
        self.waiting.append(m.Waiting(occurrence=occurrence, play_id=play_id))

    # ── backfill ────────────────────────────────────────────────────────────────────────────────────

    def run_backfill(self) -> None:
        """Start the next occurrences of a range: all that fit, or one after the end of the last."""
        while self.backfill is not None and len(self.started) < STARTS_MAX:
            if not self.backfill.parallel and self.running:
                return
            occurrence = self.backfill.next_at
            if self.flow.enabled:
                self._start(occurrence, play_id_of(self.schedule, occurrence))
            else:
                self._skip("flow-disabled", occurrence)
            following = next_after(self.schedule.timing, occurrence)
            if following is None or following >= self.backfill.to_at:
                self.backfill = None
                return
            started = self.backfill.started + 1
            self.backfill = replace(self.backfill, next_at=following, started=started)

    # ── notes ───────────────────────────────────────────────────────────────────────────────────────

    def _start(self, occurrence: datetime, play_id: str, *, by: str = "") -> m.Start:
        flow = self.flow
        start = m.Start(
            occurrence=occurrence,
            play_id=play_id,
            flow_id=flow.id,
            definition=flow.definition,
            flow_version=flow.version,
            by=by,
        )
        self.started.append(start)
        in_order = self.backfill is not None and not self.backfill.parallel
        if self.schedule.overlap_policy != "allow" or in_order:
            self.running.append(m.Running(play_id=play_id, flow_id=flow.id, at=self.now))
        return start

    def _skip(self, reason: m.SkipReason, occurrence: datetime) -> None:
        before = self.skipped[-1] if self.skipped else None
        if before is not None and before.reason == reason:
            self.skipped[-1] = replace(before, last=occurrence, count=before.count + 1)
            return
        self.skipped.append(m.Skipped(reason=reason, first=occurrence, last=occurrence, count=1))

    def _skip_range(
        self, reason: m.SkipReason, first: datetime, until: datetime | None, *, last: datetime | None = None
    ) -> None:
        """Leave out what lies from `first` up to, not including, `until`; `last` when that is known."""
        if until is not None and until <= first:
            return
        if last is None:
            end = self.now if until is None else until - INSTANT
            last = max(first, last_before(self.schedule.timing, end) or first)
        inside = occurrences(self.schedule.timing, first - INSTANT, last)
        count = sum(1 for _ in itertools.islice(inside, SKIPPED_COUNTED_MAX))
        self.skipped.append(m.Skipped(reason=reason, first=first, last=last, count=max(count, 1)))
