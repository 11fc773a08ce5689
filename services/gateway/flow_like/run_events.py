"""What watchers of a run are told, in the words of this surface (spec flow-like section 8.4). Pure.

A frame of the socket becomes up to two events. An event's sequence is its frame's position and its own place, in one
number, so that a client may stop anywhere and go on right there.
"""

from datetime import datetime
from typing import Any

import msgspec

from services.gateway.flow_like.statuses import run_status
from services.gateway.frames import Frame

EVENTS_PER_FRAME = 2
COMPLETED = "completed"
# The levels of a log, of which a run's is the highest.
INFO, ERROR = 1, 3


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened in a run."""

    sequence: int
    event_type: str
    payload: Any
    created_at: datetime


class _Fields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a frame holds that an event shows."""

    timestamp: datetime
    state: str = ""
    ref: str | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    duration: int = 0


_decode = msgspec.json.Decoder(_Fields).decode


def position_of(sequence: int) -> int:
    """Return the frame's position behind an event's sequence."""
    return sequence // EVENTS_PER_FRAME


def events_of(frame: Frame, run_id: str, *, out: Any = None) -> list[RunEvent]:
    """Return the events of a frame; `out` stands for an output that the frame is too small for."""
    fields = _decode(frame.head + "}")
    told = _told(frame.type, fields, run_id, fields.out if out is None else out)
    return [
        RunEvent(
            sequence=frame.position * EVENTS_PER_FRAME + place,
            event_type=kind,
            payload=payload,
            created_at=fields.timestamp,
        )
        for place, (kind, payload) in enumerate(told)
    ]


def _told(kind: str, fields: _Fields, run_id: str, out: Any) -> list[tuple[str, Any]]:
    match kind:
        case "play:started":
            return [("run_initiated", {"run_id": run_id})]
        case "play:layer:started":
            return [_nodes(run_id, fields, "add")]
        case "play:layer:completed":
            return [_nodes(run_id, fields, "remove")]
        case "play:layer:failed":
            return [_nodes(run_id, fields, "remove"), ("log", {"message": f"{fields.ref}: {fields.error}"})]
        case "play:waiting" if fields.ref is not None:
            return [("interaction_request", {"run_id": run_id, "node_id": fields.ref, "kind": "approval"})]
        case "play:completed":
            return [("generic_result", out), _completed(run_id, fields, INFO)]
        case "play:failed":
            return [("error", {"message": fields.error}), _completed(run_id, fields, ERROR)]
        case _:
            return []


def _nodes(run_id: str, fields: _Fields, method: str) -> tuple[str, Any]:
    return f"run:{run_id}", {"run_id": run_id, "node_ids": [fields.ref], "method": method}


def _completed(run_id: str, fields: _Fields, log_level: int) -> tuple[str, Any]:
    status = run_status(fields.state, fields.error_code)
    said = {"run_id": run_id, "status": status, "duration_ms": fields.duration, "log_level": log_level}
    return COMPLETED, said


def event_text(event: RunEvent) -> bytes:
    """Return an event as Server-Sent Events have it."""
    said = {
        "event_id": str(event.sequence),
        "event_type": event.event_type,
        "payload": event.payload,
        "timestamp": event.created_at,
    }
    data = msgspec.json.encode(said)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, event.event_type.encode(), data)
