"""Lanes: who holds a slot of a limit and who waits for one, in order; a limit is a flow's, or a company's."""

from datetime import datetime

import msgspec


class LaneEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A fact about a lane."""

    at: datetime


class Seat(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One play in a lane, for its so manieth `retry`; 0 is the play itself.

    `promoted_by` names the seat whose commit gave it the slot, when it had to wait.
    """

    play_id: str
    flow_id: str
    promoted_by: str = ""
    retry: int = 0

    @property
    def name(self) -> str:
        """Return what tells this seat from all others of its lane."""
        return seat_name(self.play_id, self.retry)


def seat_name(play_id: str, retry: int) -> str:
    """Return the name of a play's seat for its so manieth retry."""
    return f"{play_id}.{retry}" if retry else play_id


class LaneLimited(LaneEvent, frozen=True, kw_only=True):
    """The lane has so many slots from now on, 0 for any number, by the flow's definition at this place."""

    limit: int
    definition: int = 0


class SlotTaken(LaneEvent, frozen=True, kw_only=True):
    """A play holds a slot."""

    seat: Seat


class SlotQueued(LaneEvent, frozen=True, kw_only=True):
    """A play waits for a slot, behind all that wait already."""

    seat: Seat


class SlotFreed(LaneEvent, frozen=True, kw_only=True):
    """A play has ended, after so many retries: whatever it held or waited for until then, it does so no more.

    A later retry of it keeps its own seat: this may be the repeat of an earlier end.
    """

    play_id: str
    retry: int = 0


class LaneFolded(LaneEvent, frozen=True, kw_only=True):
    """The whole lane after this commit; always the last event of it. What came before is not needed any more."""

    limit: int
    definition: int = 0
    holders: tuple[Seat, ...] = ()
    queue: tuple[Seat, ...] = ()


AnyLaneEvent = LaneLimited | SlotTaken | SlotQueued | SlotFreed | LaneFolded
