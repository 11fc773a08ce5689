"""What a play's state obliges to beyond its own log, pure: messages to its children, its parent, its error flow.

A commit and a message are two writes. So a duty is sent after the commit and before the acknowledgement, under an id
that makes a repeat harmless, and again by whoever finds the play in that state: a new driver, or a command that is
delivered again. A driver does the duties of what it takes over before its own first commit, so that no start of a lost
driver comes after the cancel that follows it (tests/model).
"""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from libs.common.ids import derived_id
from libs.common.messages import play as m
from services.executor.plan import Plan
from services.executor.play import Play

DEPTH_MAX = 10
# Of the outputs that an error flow is told, together: each of them may have as many bytes as a step may put out.
ERROR_OUTS_BYTES_MAX = 8 * 1024 * 1024


class StartChild(NamedTuple):
    """A step waits for this play: see that it is started."""

    child: m.ChildPlay
    args: dict[str, Any]


class CancelChild(NamedTuple):
    """Nobody waits for this play any more: see that it ends."""

    child: m.ChildPlay


class TellParent(NamedTuple):
    """The play has ended: the step that waits for it is to know."""

    parent: m.Parent
    state: m.PlayState
    out: Any
    error: str | None


class StartErrorFlow(NamedTuple):
    """The play has failed: start this flow with what is known of the failure (spec flow8 section 11)."""

    flow: str
    play_id: str
    args: dict[str, Any]
    depth: int


class FreeSlots(NamedTuple):
    """The play has ended, after so many retries: its slots are for the next ones in line."""

    lanes: tuple[str, ...]
    retry: int


class LookInLine(NamedTuple):
    """A retry stands in line: see whether it has its slot, for its release may have found the play ended."""

    lanes: tuple[str, ...]
    retry: int


Duty = StartChild | CancelChild | TellParent | StartErrorFlow | FreeSlots | LookInLine


def has_duties(play: Play) -> bool:
    """Tell whether this state may oblige to anything; cheap, for every commit asks."""
    if play.children or is_retry_in_line(play):
        return True
    if not play.ended:
        return False
    # Slots, a parent, an error flow; of whose beginning is forgotten nobody knows.
    return bool(play.lanes or play.retries or play.parent) or play.status == "FAIL" or not play.definition


def is_retry_in_line(play: Play) -> bool:
    """Tell whether a play that ran before waits for a slot."""
    return play.status == "DEFERRED" and play.start is None


def duties(play: Play, plan: Plan | None, *, play_id: str) -> dict[str, Duty]:
    """Return what this state obliges to, by an id: who has done a duty once need not do it again.

    Without its plan a play starts no error flow: what it was to run is not in the log any more.
    """
    due: dict[str, Duty] = {}
    for child_id, child in play.children.items():
        if child.abandoned:
            due[f"cancel-{child_id}"] = CancelChild(child.start)
        elif child.state is None:
            due[start_id(child_id)] = StartChild(child.start, child.args)
    if is_retry_in_line(play):
        due["line"] = LookInLine(play.lanes, play.retries)
    if not play.ended:
        return due
    if play.lanes or play.retries:
        due["slots"] = FreeSlots(play.lanes, play.retries)
    if play.parent is not None:
        due["parent"] = TellParent(play.parent, play.status, play.out, play.error)
    if plan is not None and _has_error_flow(play, plan):
        due["error"] = StartErrorFlow(
            flow=plan.flow.execution.on_fail_flow_id or "",
            play_id=derived_id("error", play_id, *_again(play)),
            args=_error_args(play, plan, play_id),
            depth=play.depth + 1,
        )
    return due


def start_id(child_id: str) -> str:
    """Return the id of the duty to start this play."""
    return f"start-{child_id}"


def lanes_above(play: Play) -> tuple[str, ...]:
    """Return the lanes whose slots a child shares: those of its parent, and of who waits for that one.

    Nobody waits for a retried play any more: whoever did was told of the end.
    """
    above = play.parent.lanes if play.parent is not None and not play.retries else ()
    return (*above, *play.lanes)


def start_of(duty: StartChild, play: Play, parent: m.Parent, at: datetime) -> m.StartPlay:
    """Return the command that starts a child of this play."""
    return m.StartPlay(
        at=at,
        definition=duty.child.definition,
        flow_version=duty.child.flow_version,
        args=duty.args,
        trigger="subflow",
        by=play.by,
        seed=duty.child.seed,
        parent_play_id=parent.play_id,
        parent=parent,
        depth=play.depth + 1,
    )


def _again(play: Play) -> tuple[str, ...]:
    # A retried play that fails once more is another failure.
    return (str(play.retries),) if play.retries else ()


def _has_error_flow(play: Play, plan: Plan) -> bool:
    if play.status != "FAIL" or play.error_code == "CANCELLED" or play.trigger == "error":
        return False
    return bool(plan.flow.execution.on_fail_flow_id) and play.depth < DEPTH_MAX


def _error_args(play: Play, plan: Plan, play_id: str) -> dict[str, Any]:
    return {
        "playId": play_id,
        "flowId": plan.flow.id,
        "flowName": plan.flow.name,
        "ref": play.failed_ref,
        "error": play.error,
        "errorCode": play.error_code,
        "args": play.args,
        "state": play.status,
        "layers": _told_layers(play),
    }


def _told_layers(play: Play) -> dict[str, Any]:
    """Return what an error flow is told of the steps: their outputs, in their order, as far as there is room."""
    layers: dict[str, Any] = {}
    room = ERROR_OUTS_BYTES_MAX
    for ref, run in sorted(play.layers.items(), key=lambda item: item[1].order):
        size = len(msgspec.json.encode(run.out))
        if size <= room:
            room -= size
            layers[ref] = {"state": run.state, "out": run.out}
        else:
            layers[ref] = {"state": run.state, "out": None, "outTruncated": True}
    return layers
