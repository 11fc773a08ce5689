"""From a commit to the frames that sockets send (spec flow8 section 16). Pure.

A frame's position is its commit's place in the stream and its own place in the commit, in one number, so that a
client may stop anywhere and resume right there. A commit with C events has at most 2·C frames, far below 65,536.
"""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from libs.common import ids
from libs.common.codec import Commit
from libs.common.messages import play as m

POSITIONS_PER_COMMIT = 65_536
# After one of these a play has no more frames.
LAST_TYPES = frozenset({"play:completed", "play:failed"})

_encode = msgspec.json.Encoder().encode
Fields = dict[str, Any]


class Frame(NamedTuple):
    """One message for a socket; `head` is its JSON without the closing brace, for `sequence` to follow."""

    position: int
    type: str
    head: str

    def text(self, sequence: str) -> str:
        """Return the whole JSON; `sequence` is a JSON value."""
        return f'{self.head},"sequence":{sequence}}}'


class CommitFrames(NamedTuple):
    """The frames of one commit of one play, in order."""

    shard: int
    flow_id: str
    play_id: str
    end: int
    frames: tuple[Frame, ...]


def position_of(sequence: int, place: int) -> int:
    """Return the position of the frame at this place in the commit at this stream sequence."""
    return sequence * POSITIONS_PER_COMMIT + place


def end_of(sequence: int) -> int:
    """Return the position after all frames of the commit at this stream sequence."""
    return sequence * POSITIONS_PER_COMMIT + POSITIONS_PER_COMMIT - 1


def sequence_after(position: int) -> int:
    """Return the stream sequence from which to read what follows a position."""
    return (position + 1) // POSITIONS_PER_COMMIT


def frames_of(commit: Commit, *, shard: int) -> CommitFrames:
    """Return the frames of a commit; commits that tell a watcher nothing have none."""
    flow_id = commit.source.rpartition("/")[2]
    play_id = commit.subject
    bodies: list[Fields] = []
    started_at: datetime | None = None
    for event in commit.events:
        if isinstance(event, m.PlayStarted):
            started_at = event.at
        bodies += _bodies(event, commit, play_id, started_at)
    frames = tuple(
        Frame(position_of(commit.sequence, place), body["type"], _head(body, play_id, flow_id))
        for place, body in enumerate(bodies)
    )
    return CommitFrames(shard, flow_id, play_id, end_of(commit.sequence), frames)


def _head(body: Fields, play_id: str, flow_id: str) -> str:
    at: datetime = body.pop("at")
    first = {"type": body.pop("type"), "playId": play_id, "flowId": flow_id}
    whole = {**first, **body, "timestamp": at.replace(microsecond=0)}
    return _encode(whole)[:-1].decode()


def _bodies(event: m.PlayEvent, commit: Commit, play_id: str, started_at: datetime | None) -> list[Fields]:
    match event:
        case m.PlayStarted() | m.PlayResumed(reason="released"):
            return [{"type": "play:started", "at": event.at, "state": "RUN"}]
        case m.PlayWaiting():
            return [
                {"type": "play:waiting", "at": event.at, **_awaited(event, commit, play_id), "state": "WAIT"}
            ]
        case m.PlayHeld():
            return [{"type": "play:held", "at": event.at, "state": "ON_HOLD"}]
        case m.HoldLifted():
            state = "DEFERRED" if event.in_line else "RUN"
            return [{"type": "play:resumed", "at": event.at, "by": event.by, "state": state}]
        case m.PlayRetried() | m.RetryDeferred():
            state = "RUN" if isinstance(event, m.PlayRetried) else "DEFERRED"
            return [
                {"type": "play:retried", "at": event.at, "by": event.by, "refs": event.refs, "state": state}
            ]
        case m.ApprovalVoted() | m.ApprovalEscalated() | m.ApprovalReminded():
            return [_approval(event, play_id)]
        case m.LayerStarted(attempt=1) | m.LayerIterating():
            return [_layer_started(event, event.at, play_id)]
        case m.LayerCompleted():
            body = {**_layer("play:layer:completed", event, play_id), "state": event.state, **_out(event)}
            # The module of a step that was filtered or never reached did not run, so nothing started.
            announced = event.announced or event.state == "FILTERED" or event.started_at is None
            return [body] if announced else [_layer_started(event, event.started_at, play_id), body]
        case m.LayerFailed():
            failure = {"state": "FAIL", "error": event.error, "errorCode": event.error_code}
            body = {**_layer("play:layer:failed", event, play_id), **failure}
            return [body] if event.announced else [_layer_started(event, event.started_at, play_id), body]
        case m.PlayCompleted():
            body = {"type": "play:completed", "at": event.at, "state": event.state, **_out(event)}
            return [{**body, **_duration(event, started_at)}]
        case m.PlayFailed():
            body = {
                "type": "play:failed",
                "at": event.at,
                "state": "FAIL",
                "ref": event.ref,
                "layerId": event.layer_id,
            }
            return [
                {**body, "error": event.error, "errorCode": event.error_code, **_duration(event, started_at)}
            ]
        case _:
            return []


def _out(event: m.LayerCompleted | m.PlayCompleted) -> Fields:
    """Return the output as a frame shows it: one that travels by reference is left to `GET /api/plays/:id`."""
    if event.payloads and "out" in event.payloads:
        return {"out": None, "outTruncated": True}
    return {"out": event.out}


_APPROVALS = {
    m.ApprovalVoted: "play:voted",
    m.ApprovalEscalated: "play:escalated",
    m.ApprovalReminded: "play:reminded",
}


def _approval(event: m.ApprovalVoted | m.ApprovalEscalated | m.ApprovalReminded, play_id: str) -> Fields:
    gate = event.gate
    counts = {"approvers": gate.approvers, "votes": len(gate.votes), "count": gate.count}
    return {**_layer(_APPROVALS[type(event)], event, play_id), **counts, "state": "WAIT"}


def _layer(kind: str, event: m.LayerEvent, play_id: str) -> Fields:
    return {"type": kind, "at": event.at, **_names(event, play_id)}


def _layer_started(event: m.LayerEvent, at: datetime | None, play_id: str) -> Fields:
    return {"type": "play:layer:started", "at": at or event.at, **_names(event, play_id), "state": "RUN"}


def _names(event: m.LayerEvent, play_id: str) -> Fields:
    return _named(event.ref, event.layer_id, event.iteration, play_id)


def _named(ref: str, layer_id: str, iteration: tuple[int, ...], play_id: str) -> Fields:
    play_layer_id = ids.derived_id(play_id, m.run_name(ref, iteration))
    names = {"layerId": layer_id, "playLayerId": play_layer_id, "ref": ref}
    return {**names, "iteration": m.shown_iteration(iteration)} if iteration else names


def _awaited(event: m.PlayWaiting, commit: Commit, play_id: str) -> Fields:
    if event.ref is not None and event.layer_id is not None:
        return _named(event.ref, event.layer_id, event.iteration, play_id)
    # Older events name nothing; a gate of theirs may stand beside them.
    for other in commit.events:
        if isinstance(other, m.LayerWaiting) and other.kind == "approval":
            return _names(other, play_id)
    return {}


def _duration(event: m.PlayCompleted | m.PlayFailed, started_at: datetime | None) -> Fields:
    began = event.started_at or started_at
    return {} if began is None else {"duration": milliseconds(began, event.at)}


def milliseconds(start: datetime, end: datetime) -> int:
    """Return the whole milliseconds between two times, never below 0: clocks of two machines may disagree."""
    return max(0, round((end - start).total_seconds() * 1000))
