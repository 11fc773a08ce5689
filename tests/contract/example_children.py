"""One realistic message of each type that plays and their children, or plays in line for a slot, have to say."""

from datetime import UTC, datetime

import msgspec

from libs.common.messages import lane, play

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
FLOW = "69b52a3d0c1f5e8a90000003"
PARENT = "69b52a3d0c1f5e8a90000006"
CHILD = "69b52a3d0c1f5e8a9000000e"
OUT = {"charged": True, "total": "128.40"}


def child_messages() -> list[msgspec.Struct]:
    """Return what a child tells its parent, what the parent writes down of it, and what sweeps send to plays."""
    return [
        play.RevivePlay(at=AT),
        play.CarryOverPlay(at=AT),
        play.ChildEnded(at=AT, child_play_id=CHILD, state="FAIL", out=OUT, error="HTTP 503"),
        play.ChildReturned(at=AT, child_play_id=CHILD, state="FAIL", out=OUT, error="HTTP 503"),
        play.ReleasePlay(at=AT),
        play.PlayDeferred(
            at=AT,
            start=play.StartPlay(at=AT, definition=42, flow_version=3, trigger="api", seed="0c5f"),
            args={"total": "128.40"},
            lanes=(FLOW, "_"),
            position=3,
        ),
        play.RetryDeferred(
            at=AT,
            number=2,
            refs=("charge", "ship"),
            by="69b52a3d0c1f5e8a90000009",
            note="the shop is back",
            lanes=(FLOW, "_"),
            position=3,
        ),
    ]


def lane_events() -> list[msgspec.Struct]:
    """Return one of each fact about a lane."""
    seat = lane.Seat(play_id=CHILD, flow_id=FLOW, promoted_by=PARENT)
    return [
        lane.LaneLimited(at=AT, limit=4, definition=42),
        lane.SlotTaken(at=AT, seat=seat),
        lane.SlotQueued(at=AT, seat=lane.Seat(play_id=CHILD, flow_id=FLOW)),
        lane.SlotFreed(at=AT, play_id=PARENT),
        lane.LaneFolded(at=AT, limit=4, definition=42, holders=(seat,), queue=(seat,)),
    ]
