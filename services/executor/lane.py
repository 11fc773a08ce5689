"""What may happen in a lane, pure: taking a slot or a place in line, freeing it, letting in who is next (ADR 36)."""

from datetime import datetime

from msgspec import structs

from libs.common.lane import Lane, Limit, evolve, fold
from libs.common.messages.lane import (
    AnyLaneEvent,
    LaneFolded,
    LaneLimited,
    Seat,
    SlotFreed,
    SlotQueued,
    SlotTaken,
)

__all__ = ["Lane", "Limit", "acquire", "evolve", "fold", "folded", "free"]

# What one message can hold of a lane, with room to spare.
QUEUED_MAX = 10_000
# What a raised limit lets in with one commit; the ends of those let in the next.
PROMOTED_MAX = 500


def acquire(lane: Lane, seat: Seat, limit: Limit, at: datetime) -> list[AnyLaneEvent] | None:
    """Return what follows when a play wants a slot; nothing when it stands in the lane already. Moves the lane.

    None when too many wait already. A newer limit lets in those who waited first.
    """
    events = _limited(lane, limit, at)
    events += _promoted(lane, seat.name, at)
    if lane.standing(seat.name) != "absent":
        return events
    if not lane.queue and lane.has_room:
        event: AnyLaneEvent = SlotTaken(at=at, seat=seat)
    elif len(lane.queue) < QUEUED_MAX:
        event = SlotQueued(at=at, seat=seat)
    else:
        return None
    evolve(lane, [event])
    return [*events, event]


def free(lane: Lane, seat: Seat, at: datetime, *, limit: Limit | None = None) -> list[AnyLaneEvent]:
    """Return what follows when a play has ended: its slot is free, and the next ones have it. Moves the lane.

    The slot of a later retry of it stays. Something always follows, for a handler that was about to take a slot for
    this play must see that the lane moved.
    """
    events = _limited(lane, limit, at) if limit is not None else []
    freed = SlotFreed(at=at, play_id=seat.play_id, retry=seat.retry)
    evolve(lane, [freed])
    return [*events, freed, *_promoted(lane, seat.name, at)]


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
    # A newer definition with as many slots counts too: an older one that comes late must not undo it.
    if limit == lane.limit or limit.definition < lane.limit.definition:
        return []
    event = LaneLimited(at=at, limit=limit.slots, definition=limit.definition)
    evolve(lane, [event])
    return [event]


def _promoted(lane: Lane, by: str, at: datetime) -> list[AnyLaneEvent]:
    events: list[AnyLaneEvent] = []
    while lane.queue and lane.has_room and len(events) < PROMOTED_MAX:
        first = next(iter(lane.queue.values()))
        # Who lets itself in needs no release; the retry that an earlier end of its own play lets in does.
        promoted_by = "" if first.name == by else by
        seat = structs.replace(first, promoted_by=promoted_by)
        events.append(SlotTaken(at=at, seat=seat))
        evolve(lane, events[-1:])
    return events
