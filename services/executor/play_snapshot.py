"""A play's whole state as an event, pure: what a reader starts from instead of the history before it (ADR 26).

The state travels as JSON. In `prev` the views of steps come back as views, each sharing its output with its step.
"""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages import play as m
from libs.expressions import StepView
from services.executor.play import Play
from services.executor.play_levels import levels, runs

# Raised whenever the shape of a play's state changes; fields that are added have defaults, so older ones can be read.
# Fields that nothing is decided by may come without: an older release reads the state without them, and its own next
# snapshot lacks them (ADR 26).
SNAPSHOT_VERSION = 3
# Below this much history a reader is faster with the history.
HISTORY_BYTES_MIN = 524_288
# What is written in snapshots stays below the history's own size by this: the total cost is linear.
HISTORY_PER_SNAPSHOT = 2


class Base(msgspec.Struct, frozen=True):
    """What a reader of a play has to read: from the newest snapshot on, or from the beginning.

    `snapshot` is the snapshot's stream sequence, 0 when there is none, `snapshot_bytes` the size of its state, `bytes`
    that of the commits after it, `at` the time of the oldest commit that is read.
    """

    snapshot: int = 0
    snapshot_bytes: int = 0
    bytes: int = 0
    at: datetime | None = None


def is_long(base: Base, added_bytes: int) -> bool:
    """Tell whether so much lies behind the newest snapshot that a commit should hold another."""
    history_bytes = base.bytes + added_bytes
    return history_bytes > max(HISTORY_BYTES_MIN, HISTORY_PER_SNAPSHOT * base.snapshot_bytes)


def snapshot_of(play: Play, at: datetime) -> m.PlaySnapshot:
    """Return the event that holds the whole state of this play."""
    state: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(play, prev={}), str_keys=True)
    state["prev"] = {name: _frozen(play, name, value) for name, value in play.prev.items()}
    return m.PlaySnapshot(
        at=at,
        started=_started(play),
        gates=_gates(play, at),
        version=SNAPSHOT_VERSION,
        bytes=len(msgspec.json.encode(state)),
        play=state,
    )


def play_of(event: m.PlaySnapshot) -> Play:
    """Return the play that a snapshot holds. Its version must be readable."""
    state = dict(event.play)
    shown = state.pop("prev")
    play = msgspec.convert(state, Play, str_keys=True)
    play.prev = {name: _thawed(play, name, value) for name, value in shown.items()}
    for iteration, level in levels(play):
        if iteration:
            level.prev = _views(level.prev)
        if level.loop is not None and level.loop.shown is not None:
            level.loop.shown.prev = _views(level.loop.shown.prev)
    return play


def is_readable(event: m.PlaySnapshot) -> bool:
    """Tell whether this release understands a snapshot; of a newer one's state it would lose what it does not know."""
    return event.version <= SNAPSHOT_VERSION


def _started(play: Play) -> m.PlayStarted | None:
    if play.driver is None or play.started_at is None:
        return None
    return m.PlayStarted(
        at=play.started_at,
        definition=play.definition,
        flow_version=play.flow_version,
        driver=play.driver,
        epoch=play.epoch,
        requested_at=play.requested_at,
        by=play.by,
        trigger=play.trigger,
        seed=play.seed,
        parent_play_id=play.parent_play_id,
        schedule_id=play.schedule_id,
        replay=play.replay,
        isolated=play.isolated,
    )


def _gates(play: Play, at: datetime) -> tuple[m.LayerWaiting, ...]:
    return tuple(
        m.LayerWaiting(
            at=run.started_at or at,
            ref=ref,
            layer_id=run.layer_id,
            order=run.order,
            iteration=iteration,
            kind="approval",
            until=run.until,
            gate=run.gate,
        )
        for ref, iteration, run in runs(play)
        if run.state == "WAIT" and run.waits_for == "approval" and run.approval is None
    )


def _frozen(play: Play, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, StepView):
        return {"value": value}
    run = play.layers.get(name)
    view: dict[str, Any] = {"state": value.state, "error": value.error, "approval": value.approval}
    if run is None or run.out is not value.out:
        view["out"] = value.out
    return {"view": view}


def _thawed(play: Play, name: str, value: dict[str, Any]) -> Any:
    view = value.get("view")
    if view is None:
        return value["value"]
    out = view["out"] if "out" in view else play.layers[name].out
    return StepView(out=out, state=view["state"], error=view["error"], approval=view["approval"])


def _views(prev: dict[str, Any]) -> dict[str, Any]:
    return msgspec.convert(prev, dict[str, StepView])
