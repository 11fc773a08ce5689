"""A lane, pure: slots of a limit, who holds them, and who waits in order (ADR 36)."""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple, assert_never

from libs.common.messages.lane import (
    AnyLaneEvent,
    LaneFolded,
    LaneLimited,
    Seat,
    SlotFreed,
    SlotQueued,
    SlotTaken,
)

# What one message can hold of a lane, with room to spare.
QUEUED_MAX = 10_000
HOLDERS_MAX = 2_000
# What a raised limit lets in with one commit; the ends of those let in the next.
PROMOTED_MAX = 500
# A lane is written whole when so many commits, or as many as it has plays, lie behind the last time.
FOLD_COMMITS_MIN = 64


class Limit(NamedTuple):
    """How many slots there are, 0 for any number, and the place of the definition that says so."""

    slots: int
    definition: int = 0


class Lane:
    """Who holds a slot and who waits. The empty lane has no limit yet."""

    def __init__(self) -> None:
        self.limit = Limit(0)
        self.holders: dict[str, Seat] = {}
        # Linked, for the first one leaves it again and again.
        self.queue: OrderedDict[str, Seat] = OrderedDict()
        self.commits = 0

    @property
    def is_fold_due(self) -> bool:
        """Tell whether the next commit should hold the whole lane."""
        return self.commits >= max(FOLD_COMMITS_MIN, len(self.holders) + len(self.queue))

    @property
    def has_room(self) -> bool:
        """Tell whether another play may run."""
        slots = self.limit.slots
        return slots == 0 or len(self.holders) < min(slots, HOLDERS_MAX)

    def standing(self, play_id: str) -> Literal["holds", "waits", "absent"]:
        """Return where a play stands."""
        if play_id in self.holders:
            return "holds"
        return "waits" if play_id in self.queue else "absent"

    def position(self, play_id: str) -> int:
        """Return a waiting play's place in the line, from 1; 0 when it does not wait."""
        return next((n for n, waiting in enumerate(self.queue, start=1) if waiting == play_id), 0)

    def promoted(self, by: str) -> list[Seat]:
        """Return the plays that this one's commits gave their slots: they are to be released."""
        return [seat for seat in self.holders.values() if seat.promoted_by == by]


def fold(commits: Iterable[Iterable[AnyLaneEvent]], lane: Lane | None = None) -> Lane:
    """Return the lane after these commits."""
    lane = lane or Lane()
    for events in commits:
        lane.commits += 1
        evolve(lane, events)
    return lane


def evolve(lane: Lane, events: Iterable[AnyLaneEvent]) -> None:
    """Record the events of a commit."""
    for event in events:
        match event:
            case SlotTaken():
                lane.queue.pop(event.seat.play_id, None)
                lane.holders[event.seat.play_id] = event.seat
            case SlotQueued():
                lane.queue[event.seat.play_id] = event.seat
            case SlotFreed():
                lane.queue.pop(event.play_id, None)
                lane.holders.pop(event.play_id, None)
            case LaneLimited():
                lane.limit = Limit(event.limit, event.definition)
            case LaneFolded():
                lane.limit = Limit(event.limit, event.definition)
                lane.holders = {seat.play_id: seat for seat in event.holders}
                lane.queue = OrderedDict((seat.play_id, seat) for seat in event.queue)
                lane.commits = 0
            case _:
                assert_never(event)


def acquire(lane: Lane, seat: Seat, limit: Limit, at: datetime) -> list[AnyLaneEvent] | None:
    """Return what follows when a play wants a slot; nothing when it stands in the lane already. Moves the lane.

    None when too many wait already. A newer limit lets in those who waited first.
    """
    events = _limited(lane, limit, at)
    events += _promoted(lane, seat.play_id, at)
    if lane.standing(seat.play_id) != "absent":
        return events
    if not lane.queue and lane.has_room:
        event: AnyLaneEvent = SlotTaken(at=at, seat=seat)
    elif len(lane.queue) < QUEUED_MAX:
        event = SlotQueued(at=at, seat=seat)
    else:
        return None
    evolve(lane, [event])
    return [*events, event]


def free(lane: Lane, play_id: str, at: datetime, *, limit: Limit | None = None) -> list[AnyLaneEvent]:
    """Return what follows when a play has ended: its slot is free, and the next ones have it. Moves the lane.

    Something always follows, for a handler that was about to take a slot for this play must see that the lane moved.
    """
    events = _limited(lane, limit, at) if limit is not None else []
    freed = SlotFreed(at=at, play_id=play_id)
    evolve(lane, [freed])
    return [*events, freed, *_promoted(lane, play_id, at)]


def folded(lane: Lane, at: datetime) -> LaneFolded:
    """Return the event that holds the whole lane."""
    return LaneFolded(
        at=at,
        limit=lane.limit.slots,
        definition=lane.limit.definition,
        holders=tuple(lane.holders.values()),
        queue=tuple(lane.queue.values()),
    )


def _limited(lane: Lane, limit: Limit, at: datetime) -> list[AnyLaneEvent]:
    if limit.slots == lane.limit.slots or limit.definition < lane.limit.definition:
        return []
    event = LaneLimited(at=at, limit=limit.slots, definition=limit.definition)
    evolve(lane, [event])
    return [event]


def _promoted(lane: Lane, by: str, at: datetime) -> list[AnyLaneEvent]:
    events: list[AnyLaneEvent] = []
    while lane.queue and lane.has_room and len(events) < PROMOTED_MAX:
        first = next(iter(lane.queue.values()))
        # Who lets itself in needs no release.
        promoted_by = "" if first.play_id == by else by
        seat = Seat(play_id=first.play_id, flow_id=first.flow_id, promoted_by=promoted_by)
        events.append(SlotTaken(at=at, seat=seat))
        evolve(lane, events[-1:])
    return events
