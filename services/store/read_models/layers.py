"""The table `layers`: one row per step of a play that was reached."""

from datetime import datetime
from operator import attrgetter
from typing import Any

from libs.common.codec import encode
from libs.common.messages import play as m
from services.store.read_models.text import storable

COLUMNS = (
    "play_id", "ref", "layer_id", "order", "state", "started_at", "completed_at", "out", "error", "error_code",
    "attempts", "approval",
)  # fmt: skip
TYPES = (
    "text", "text", "text", "integer", "text", "timestamptz", "timestamptz", "text", "text", "text", "integer", "text",
)  # fmt: skip
row_of = attrgetter(*COLUMNS)


def upsert(first: int) -> str:
    """Return the statement that merges rows, given as arrays from parameter number `first` on.

    What is null in a row stays as it is in the table; NEW is the state of a row that says nothing about it; an end
    (completed_at is set) replaces what an earlier attempt left.
    """
    arrays = ", ".join(f"${first + n}::{kind}[]" for n, kind in enumerate(TYPES))
    return f"""
        insert into layers as t (play_id, ref, layer_id, "order", state, started_at, completed_at, out, error,
            error_code, attempts, approval)
        select play_id, ref, layer_id, "order", state, started_at, completed_at, out::json, error,
            error_code, attempts, approval::json
        from unnest({arrays}) as row (play_id, ref, layer_id, "order", state, started_at, completed_at, out, error,
            error_code, attempts, approval)
        where exists (select from moved)
        on conflict (play_id, ref) do update set
            state = case when excluded.state = 'NEW' then t.state else excluded.state end,
            started_at = coalesce(t.started_at, excluded.started_at),
            completed_at = coalesce(excluded.completed_at, t.completed_at),
            out = case when excluded.completed_at is null then coalesce(excluded.out, t.out) else excluded.out end,
            error = case when excluded.completed_at is null then coalesce(excluded.error, t.error)
                else excluded.error end,
            error_code = case when excluded.completed_at is null then coalesce(excluded.error_code, t.error_code)
                else excluded.error_code end,
            attempts = greatest(t.attempts, excluded.attempts),
            approval = coalesce(excluded.approval, t.approval)
    """  # noqa: S608 - numbers and type names of ours


class LayerRow:
    """What the events of a batch say about one step; None where they say nothing."""

    __slots__ = COLUMNS

    def __init__(self, play_id: str, event: m.LayerEvent) -> None:
        self.play_id = play_id
        self.ref = event.ref
        self.layer_id = event.layer_id
        self.order = event.order
        self.state = "NEW"
        self.started_at: datetime | None = None
        self.completed_at: datetime | None = None
        self.out: str | None = None
        self.error: str | None = None
        self.error_code: str | None = None
        self.attempts = 0
        self.approval: str | None = None


def completed(row: LayerRow, event: m.LayerCompleted) -> None:
    """Fold in an end that is no failure."""
    out = event.out
    row.state = event.state
    row.out = None if out is None else encode(out).decode()
    _ended(row, event, event.error, event.error_code)


def failed(row: LayerRow, event: m.LayerFailed) -> None:
    """Fold in a failure."""
    row.state = "FAIL"
    row.out = None
    _ended(row, event, event.error, event.error_code)


def _ended(
    row: LayerRow, event: m.LayerCompleted | m.LayerFailed, error: str | None, error_code: str | None
) -> None:
    row.started_at = row.started_at or event.started_at
    row.completed_at = event.at
    row.error = None if error is None else storable(error)
    row.error_code = error_code
    row.attempts = max(row.attempts, event.attempts)


def started(row: LayerRow, event: m.LayerStarted) -> None:
    """Fold in the start of an attempt."""
    row.state = "RUN"
    row.started_at = row.started_at or event.at
    row.attempts = max(row.attempts, event.attempt)


def waiting(row: LayerRow, event: m.LayerWaiting) -> None:
    """Fold in a wait for a decision or a time; what a delay will put out is not shown before its time."""
    row.state = "DEFERRED" if event.kind == "defer" else "WAIT"
    row.started_at = row.started_at or event.at


def retrying(row: LayerRow, event: m.LayerRetrying) -> None:
    """Fold in a failed attempt that will be repeated."""
    row.state = "WAIT"
    row.attempts = max(row.attempts, event.attempt)
    row.error = storable(event.error)
    row.error_code = event.error_code


def approval_decided(row: LayerRow, event: m.ApprovalDecided) -> None:
    """Fold in a decision (spec flow8 section 12: `approval {decision, note, by, at}`)."""
    approval: dict[str, Any] = {
        "decision": event.decision,
        "note": event.note,
        "by": event.by,
        "at": event.at,
    }
    row.approval = encode(approval).decode()
