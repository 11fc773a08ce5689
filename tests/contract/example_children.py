"""One realistic message of each type that plays and their children, or plays in line for a slot, have to say."""

from datetime import UTC, datetime

import msgspec

from libs.common.messages import play

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
CHILD = "69b52a3d0c1f5e8a9000000e"
OUT = {"charged": True, "total": "128.40"}


def child_messages() -> list[msgspec.Struct]:
    """Return what a child tells its parent, what the parent writes down of it, and what sweeps send to plays."""
    return [
        play.RevivePlay(at=AT),
        play.CarryOverPlay(at=AT),
        play.ChildEnded(at=AT, child_play_id=CHILD, state="FAIL", out=OUT, error="HTTP 503"),
        play.ChildReturned(at=AT, child_play_id=CHILD, state="FAIL", out=OUT, error="HTTP 503"),
    ]
