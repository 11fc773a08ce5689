"""What readers who find nothing before a snapshot may read of its `play`: these fields stay, whatever is added.

They are in snapshots from `SEEN_FROM_VERSION` on. In memory an executor's play is of another type.
"""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages import play as m
from libs.common.messages.approval import Gate

SEEN_FROM_VERSION = 2


class SeenStep(msgspec.Struct):
    """One step, in a loop for the item that `iteration` names; `round` is the retry that began it anew."""

    layer_id: str
    order: int
    state: m.LayerState
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    waits_for: str = ""
    until: datetime | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    approval: dict[str, Any] | None = None
    gate: Gate | None = None
    iteration: tuple[int, ...] = ()
    round: int = 0
    reused: bool = False


class SeenLevel(msgspec.Struct):
    """The steps outside of all loops, or those of one item, by ref; `loop` is the one that is under way here.

    Of items which have ended, of this loop and of those before it, `failures` has the first steps that failed, and
    `counts` how many runs of each step ended in which state.
    """

    layers: dict[str, SeenStep] = {}
    failures: dict[str, list[SeenStep]] = {}
    counts: dict[str, dict[str, int]] = {}
    loop: "SeenLoop | None" = None


class SeenLoop(msgspec.Struct):
    """A loop under way: its items that have begun, by number, and of those that have ended the steps that are shown."""

    ref: str
    open: dict[int, SeenLevel] = {}
    best: dict[str, SeenStep] = {}


class SeenPlay(SeenLevel):
    """A play; `start` is what one in line will begin with, without its args.

    Without `counted` the play was in the hands of a release that does not count: `counts` are too low.
    """

    args: dict[str, Any] = {}
    hold: m.Hold | None = None
    retries: int = 0
    start: m.StartPlay | None = None
    counted: bool = False
