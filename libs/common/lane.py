"""A lane as its commits make it, pure: who holds a slot of a limit, and who waits in order (ADR 36).

Executors decide about lanes (services/executor/lane.py); gateways read in them who is next.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Literal, NamedTuple, assert_never

from libs.common.messages.lane import (
    AnyLaneEvent,
    LaneFolded,
    LaneLimited,
    Seat,
    SlotFreed,
    SlotQueued,
    SlotTaken,
    seat_name,
)

# The lane of all plays of a company; any other is called as its flow.
COMPANY = "_"
# What one message can hold of a lane, with room to spare.
HOLDERS_MAX = 2_000
# A lane is written whole when so many commits, or as many as it has plays, lie behind the last time.
FOLD_COMMITS_MIN = 64


class Limit(NamedTuple):
    """How many slots there are, 0 for any number, and the place of the definition that says so."""

    slots: int
    definition: int = 0


class Lane:
    """Who holds a slot and who waits, by the names of their seats. The empty lane has no limit yet."""

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

    def standing(self, name: str) -> Literal["holds", "waits", "absent"]:
        """Return where a play stands with the seat of this name."""
        if name in self.holders:
            return "holds"
        return "waits" if name in self.queue else "absent"

    def position(self, name: str) -> int:
        """Return a waiting seat's place in the line, from 1; 0 when it does not wait."""
        return next((n for n, waiting in enumerate(self.queue, start=1) if waiting == name), 0)

    def promoted(self, by: str) -> list[Seat]:
        """Return the seats that commits for the one of this name gave their slots: they are to be released."""
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
                lane.queue.pop(event.seat.name, None)
                lane.holders[event.seat.name] = event.seat
            case SlotQueued():
                lane.queue[event.seat.name] = event.seat
            case SlotFreed():
                _freed(lane, event)
            case LaneLimited():
                lane.limit = Limit(event.limit, event.definition)
            case LaneFolded():
                lane.limit = Limit(event.limit, event.definition)
                lane.holders = {seat.name: seat for seat in event.holders}
                lane.queue = OrderedDict((seat.name, seat) for seat in event.queue)
                lane.commits = 0
            case _:
                assert_never(event)


def _freed(lane: Lane, event: SlotFreed) -> None:
    # Of earlier retries as well: those have ended, whether or not somebody lived to say so.
    for retry in range(event.retry + 1):
        name = seat_name(event.play_id, retry)
        lane.queue.pop(name, None)
        lane.holders.pop(name, None)
