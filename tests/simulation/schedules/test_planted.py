"""Bugs planted in the scheduler on purpose: the simulation must find every one."""

import contextlib
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from libs.common.errors import HeadraceError
from libs.common.ids import derived_id
from libs.common.messages import schedule as m
from libs.common.subjects import ScheduleKey
from services.scheduler import firing
from services.scheduler.fires import Fires, Ready
from services.scheduler.schedule_log import Known
from tests.simulation.clockwork import Process
from tests.simulation.schedules.test_schedules import all_occurrences_run_once
from tests.simulation.schedules.world import SimulatedLog, World

SEEDS_MAX = 400
Planted = Callable[[], contextlib.AbstractContextManager[Any]]
_commit = SimulatedLog.commit
_start = SimulatedLog.start
_handle = World._handle
_numbers = itertools.count()


def _swap(target: Any, name: str, replacement: Any) -> Planted:
    return lambda: mock.patch.object(target, name, replacement)


async def _repair_nothing(self: Fires, key: ScheduleKey, revision: int) -> None:
    """A scheduler dies between the commit and the start; who gets its command again sees it decided, and goes."""
    del self, key, revision


async def _commit_without_lock(
    self: SimulatedLog, event: m.ScheduleEvent, *, expected: int, command_id: str, encoded: Any = None
) -> Known:
    """Two schedulers decide the same occurrence, and both are believed."""
    del expected, encoded
    history = self._server.events.get(ScheduleKey(event.schedule.company_id, event.schedule.id))
    return await _commit(self, event, expected=history[-1].sequence if history else 0, command_id=command_id)


async def _commit_then_arm(
    self: SimulatedLog, event: m.ScheduleEvent, *, expected: int, command_id: str, encoded: Any = None
) -> Known:
    """The timer is a message of its own after the commit: who dies in between leaves a schedule without one."""

    del encoded

    def store() -> Known:
        with mock.patch.object(self._server, "arm"):
            return self._server.store(event, expected, command_id)

    known = await self._call(store)
    wake_at = event.schedule.wake_at
    if wake_at is not None:
        key = ScheduleKey(event.schedule.company_id, event.schedule.id)
        wake = m.WakeSchedule(at=wake_at, revision=event.schedule.revision)
        await self._insist(lambda: self._server.arm(key, wake))
    return known


async def _start_with_a_new_id(
    self: SimulatedLog, event: m.ScheduleFired, start: m.Start, *, again: bool = False, encoded: Any = None
) -> None:
    """The id of a play is drawn, not derived from its occurrence: a repeat starts another play."""
    drawn = derived_id("drawn", str(next(_numbers)))
    other = m.Start(
        occurrence=start.occurrence,
        play_id=drawn,
        flow_id=start.flow_id,
        definition=start.definition,
        flow_version=start.flow_version,
    )
    await _start(self, event, other, again=again, encoded=encoded)


async def _acknowledge_anyway(
    self: World, process: Process, key: ScheduleKey, command: m.WakeSchedule
) -> bool:
    """A command is acknowledged although the log did not answer."""
    await _handle(self, process, key, command)
    return True


async def _acknowledge_a_conflict(
    self: Fires, key: ScheduleKey, command: m.WakeSchedule, ready: Ready | None = None
) -> None:
    """Whoever loses the race, or does not know whether the commit landed, believes that it is done."""
    known = await self._log.schedule(key) if ready is None else ready.known
    if known is None or known.schedule.revision != command.revision:
        return
    with contextlib.suppress(HeadraceError):
        await self._decide(known, command, ready)


def _skip_all_late(self: Any, first: datetime | None) -> datetime | None:
    """What an outage delayed is left out, whatever the policy says."""
    if first is None or first >= self.now - timedelta(seconds=firing.GRACE_S_MIN):
        return first
    fresh: datetime | None = self._first_on_time(first, self.now)
    self._skip_range("misfire", first, fresh)
    return fresh


PLANTED: dict[str, Planted] = {
    "a start is not repeated": _swap(Fires, "_repair", _repair_nothing),
    "a commit takes no lock": _swap(SimulatedLog, "commit", _commit_without_lock),
    "the timer is armed after the commit": _swap(SimulatedLog, "commit", _commit_then_arm),
    "a play's id is drawn": _swap(SimulatedLog, "start", _start_with_a_new_id),
    "an unfinished command is acknowledged": _swap(World, "_handle", _acknowledge_anyway),
    "an unknown outcome counts as done": _swap(Fires, "fire", _acknowledge_a_conflict),
    "the misfire policy is not asked": _swap(firing._Firing, "_past_misfires", _skip_all_late),
}


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_the_simulation_finds_the_planted_bug(name: str) -> None:
    for seed in range(SEEDS_MAX):
        with PLANTED[name]():
            try:
                all_occurrences_run_once(seed)
            except (AssertionError, IndexError, RuntimeError):
                return
    pytest.fail(f"{name} was not found in {SEEDS_MAX} worlds")
