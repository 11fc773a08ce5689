"""Bugs of plays that wait for other plays (ADR 31) and for slots (ADR 36), planted on purpose."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.common import ids
from libs.common.consumer import PullConsumer
from libs.common.messages import play as m
from libs.common.messages.lane import AnyLaneEvent, Seat
from libs.common.subjects import PlayKey
from services.executor import lane as lane_module
from services.executor import lanes as lanes_module
from services.executor import play_duties
from services.executor.admission import Admissions
from services.executor.commands import Commands
from services.executor.drive import Drive
from services.executor.lane import Lane, Limit
from services.executor.lanes import Lanes, Standing
from services.executor.plan import Plan
from services.executor.play import Play
from services.executor.plays import Plays
from tests.simulation.planting import Planted, swap

# ── who does a duty again ───────────────────────────────────────────────────────────────────────────

_again = Commands._do_duties


async def _slots_not_freed_again(self: Commands, key: PlayKey, envelope: Any, play: Play) -> None:
    """A slot not freed on a crash: only the driver that ended the play frees its slots."""
    await _again(self, key, envelope, msgspec.structs.replace(play, lanes=()))


async def _result_not_told_again(self: Commands, key: PlayKey, envelope: Any, play: Play) -> None:
    """A child's result lost between two writes: only the driver that ended the child tells its parent."""
    await _again(self, key, envelope, msgspec.structs.replace(play, parent=None))


def _inherits_nothing(self: Drive, events: Any) -> None:
    """A driver takes the duties of what it takes over for done."""
    plan, play_id = self._plan, self.key.play_id
    self._duties._done.update(play_duties.duties(self.journal.play, plan, play_id=play_id))
    _begin(self, events)


_begin = Drive.begin


async def _commit_only(self: Drive) -> bool:
    """Nothing is sent after a commit but what an end obliges to."""
    if not await self.journal.commit():
        return False
    if self.play.ended:
        await self._duties.perform(self.play, self._plan)
    return True


async def _duty_first(self: Drive) -> bool:
    """The result is sent before the end is durable."""
    ahead = self.journal.play
    if ahead.ended:
        await self._duties.perform(ahead, self._plan)
    return await _commit(self)


_commit = Drive._commit


# ── children ────────────────────────────────────────────────────────────────────────────────────────


def _drawn_id(*parts: str) -> str:
    """A child started twice: its id is drawn, not derived from its play, step and attempt."""
    return ids.new_id() if parts[0] == "child" else _derived_id(*parts)


_derived_id = ids.derived_id


def _no_cancels(play: Play, plan: Plan | None, *, play_id: str) -> dict[str, play_duties.Duty]:
    """A cancel does not reach the child."""
    due = _duties(play, plan, play_id=play_id)
    return {id: duty for id, duty in due.items() if not isinstance(duty, play_duties.CancelChild)}


_duties = play_duties.duties


def _error_flow_of_each_try(play: Play, plan: Plan | None, *, play_id: str) -> dict[str, play_duties.Duty]:
    """Whoever does the duty of a failure again starts another error flow."""
    due = _duties(play, plan, play_id=play_id)
    error = due.get("error")
    if isinstance(error, play_duties.StartErrorFlow):
        due["error"] = error._replace(play_id=ids.new_id())
    return due


async def _start_any(self: Plays, key: PlayKey, command: m.StartPlay, *, correlation_id: str = "") -> None:
    """A start is sent although there is one already."""
    await self.send(key, "start", command, id=ids.commit_id(), correlation_id=correlation_id)


# Each look at the clock takes a little of the time; a slow machine may take as long without one.
LOOKS_OF_A_MOMENT = 16


def _lingers_asked_twice(self: Drive) -> datetime | None:
    """Whether a driver lingers is asked again a moment later: when it is over just then, the play is not parked."""
    lingers = _lingers(self)
    for _ in range(LOOKS_OF_A_MOMENT):
        self._now()
    if lingers is not None and _lingers(self) is None:
        return datetime.max.replace(tzinfo=UTC)
    return lingers


_lingers = Drive._lingers


async def _deaf_at_once(self: PullConsumer) -> None:
    """What the server had sent to who stops is thrown away: it comes again when it is overdue."""
    assert self._task is not None
    assert self._subscription is not None
    self._task.cancel()
    await asyncio.gather(self._task, return_exceptions=True)
    await self._subscription.close()


# ── slots ───────────────────────────────────────────────────────────────────────────────────────────


async def _acquire_unseen(self: Lanes, key: Any, seat: Seat, limit: Limit, still_wanted: Any) -> Standing:
    """A slot is taken for a play that nobody looked at since: it may have ended."""
    del still_wanted

    async def wanted() -> None:
        return

    return await _acquire(self, key, seat, limit, wanted)


_acquire = Lanes.acquire


def _free_quietly(lane: Lane, seat: Seat, at: datetime, *, limit: Limit | None = None) -> list[AnyLaneEvent]:
    """Freeing appends nothing when the play has no slot yet."""
    if lane.standing(seat.name) == "absent":
        return []
    return _free(lane, seat, at, limit=limit)


_free = lane_module.free


def _one_too_many(lane: Lane) -> bool:
    """There is a slot more than the limit says."""
    return lane.limit.slots == 0 or len(lane.holders) <= lane.limit.slots


def _queue_jumped(lane: Lane, seat: Seat, limit: Limit, at: datetime) -> list[AnyLaneEvent] | None:
    """Who comes last is put first in the line."""
    events = _take(lane, seat, limit, at)
    if seat.name in lane.queue:
        lane.queue.move_to_end(seat.name, last=False)
    return events


_take = lane_module.acquire


async def _no_release(self: Admissions, of: PlayKey, seats: Sequence[Seat], *, by: str) -> None:
    """Who is let in is not told when the process that let it in is lost."""
    del self, of, seats, by


async def _released_once(self: Lanes, key: Any, seat: Seat, limit: Limit | None = None) -> Sequence[Seat]:
    """A repeated freeing releases nobody: who was let in by the first waits for ever when that one was lost."""
    before = (await self._newest(key)).lane.standing(seat.name)
    promoted = await _free_slot(self, key, seat, limit)
    return promoted if before != "absent" else ()


_free_slot = Lanes.free


FAMILIES: dict[str, tuple[str, Planted]] = {
    "31 a child's result lost between two writes": (
        "family",
        swap(Commands, "_do_duties", _result_not_told_again),
    ),
    "31 duties of what is taken over forgotten": ("orphans", swap(Drive, "begin", _inherits_nothing)),
    "31 a child is not started": ("family", swap(Drive, "_commit", _commit_only)),
    "31 a result before its end": ("family", swap(Drive, "_commit", _duty_first)),
    "31 a child started twice": ("async", swap(ids, "derived_id", _drawn_id)),
    "31 a start sent twice": ("family", swap(Plays, "start", _start_any)),
    "31 a cancel does not reach the child": ("orphans", swap(play_duties, "duties", _no_cancels)),
    "31 an error flow started twice": ("family", swap(play_duties, "duties", _error_flow_of_each_try)),
    "31 a parent that is never parked": ("unhurried", swap(Drive, "_lingers", _lingers_asked_twice)),
    "D5 what came to who stops is thrown away": (
        "deploys",
        swap(PullConsumer, "stop_pulling", _deaf_at_once),
    ),
    "36 a slot not freed on a crash": ("lanes", swap(Commands, "_do_duties", _slots_not_freed_again)),
    "36 a slot for a play that ended": ("late taker", swap(Lanes, "acquire", _acquire_unseen)),
    "36 freeing without a trace": ("late taker", swap(lanes_module, "free", _free_quietly)),
    "36 one too many": ("lanes", swap(Lane, "has_room", property(_one_too_many))),
    "36 the last one first": ("lanes", swap(lanes_module, "acquire", _queue_jumped)),
    "36 nobody released": ("lanes", swap(Admissions, "_release", _no_release)),
    "36 released once": ("lane of one", swap(Lanes, "free", _released_once)),
}
