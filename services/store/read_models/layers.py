"""The table `layers`: one row per step of a play that was reached, in a loop one for each item."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.codec import encode
from libs.common.messages import play as m
from libs.common.messages.approval import Gate
from services.store.read_models.text import storable

COLUMNS = """play_id text, ref text, layer_id text, "order" integer, state text, started_at timestamptz,
    completed_at timestamptz, out text, error text, error_code text, attempts integer, approval text, waits_for text,
    until timestamptz, iteration integer[], reused boolean, round integer"""


def upsert(parameter: int) -> str:
    """Return the statement that merges rows, given as one JSON array in this parameter.

    What a row leaves out stays as it is in the table; NEW is the state of a row that says nothing about it; an end
    (completed_at is set) replaces what an earlier attempt left. A row of a later round replaces what the rounds before
    left, but for their error, which stands until this round has an end, and for an approval that was given.
    """
    again = "excluded.round > t.round"
    return f"""
        insert into layers as t (play_id, ref, layer_id, "order", state, started_at, completed_at, out, error,
            error_code, attempts, approval, waits_for, until, iteration, reused, round)
        select play_id, ref, layer_id, "order", state, started_at, completed_at, out::json, error,
            error_code, attempts, approval::json, waits_for, until, coalesce(iteration, '{{}}'),
            coalesce(reused, false), coalesce(round, 0)
        from json_to_recordset(${parameter}::json) as row ({COLUMNS})
        where exists (select from moved) and (layer_id <> '' or exists (
            select from layers known
            where (known.play_id, known.ref, known.iteration) = (row.play_id, row.ref, coalesce(row.iteration, '{{}}'))
        ))
        on conflict (play_id, ref, iteration) do update set
            state = case when excluded.state = 'NEW' and not {again} then t.state else excluded.state end,
            started_at = case when {again} then excluded.started_at
                else coalesce(t.started_at, excluded.started_at) end,
            completed_at = case when {again} then excluded.completed_at
                else coalesce(excluded.completed_at, t.completed_at) end,
            out = case when excluded.completed_at is null and not {again} then coalesce(excluded.out, t.out)
                else excluded.out end,
            error = case when excluded.completed_at is null then coalesce(excluded.error, t.error)
                else excluded.error end,
            error_code = case when excluded.completed_at is null then coalesce(excluded.error_code, t.error_code)
                else excluded.error_code end,
            attempts = case when {again} then excluded.attempts else greatest(t.attempts, excluded.attempts) end,
            approval = case when {again} and t.approval ->> 'decision' is distinct from 'approved'
                then excluded.approval else coalesce(excluded.approval, t.approval) end,
            waits_for = case when excluded.state = 'NEW' and not {again} then t.waits_for
                else excluded.waits_for end,
            until = case when excluded.state = 'NEW' and excluded.until is null and not {again} then t.until
                else excluded.until end,
            reused = excluded.reused or (t.reused and not {again}),
            round = greatest(t.round, excluded.round)
    """  # noqa: S608 - names and numbers of ours


class LayerRow(msgspec.Struct, omit_defaults=True):
    """What the events of a batch say about one step; None where they say nothing. `out` and `approval` are JSON."""

    play_id: str
    ref: str
    layer_id: str
    order: int
    state: str
    attempts: int
    started_at: datetime | None = None
    completed_at: datetime | None = None
    out: str | None = None
    error: str | None = None
    error_code: str | None = None
    approval: str | None = None
    waits_for: str | None = None
    until: datetime | None = None
    iteration: tuple[int, ...] = ()
    reused: bool = False
    round: int = 0


def again(play_id: str, ref: str, number: int, before: LayerRow | None) -> LayerRow:
    """Return the row of a step that a retry of its play, the `number`-th, begins anew."""
    row = LayerRow(play_id, ref, "", 0, "NEW", 0, round=number)
    if before is None:
        return row
    row.layer_id, row.order = before.layer_id, before.order
    row.error, row.error_code = before.error, before.error_code
    if before.approval is not None and msgspec.json.decode(before.approval).get("decision") == "approved":
        row.approval = before.approval
    return row


def completed(row: LayerRow, event: m.LayerCompleted) -> None:
    """Fold in an end that is no failure."""
    out = event.out
    row.state = event.state
    row.out = None if out is None else encode(out).decode()
    _ended(row, event, event.error, event.error_code)


def failed(row: LayerRow, event: m.LayerFailed) -> None:
    """Fold in a failure."""
    row.state = "FAIL"
    row.out = None if event.out is None else encode(event.out).decode()
    _ended(row, event, event.error, event.error_code)


def _ended(
    row: LayerRow, event: m.LayerCompleted | m.LayerFailed, error: str | None, error_code: str | None
) -> None:
    row.started_at = row.started_at or event.started_at
    row.completed_at = event.at
    row.waits_for = row.until = None
    row.reused = event.reused
    row.error = None if error is None else storable(error)
    row.error_code = error_code
    row.attempts = max(row.attempts, event.attempts)


def started(row: LayerRow, event: m.LayerStarted) -> None:
    """Fold in the start of an attempt."""
    row.state = "RUN"
    row.waits_for = row.until = None
    row.started_at = row.started_at or event.at
    row.attempts = max(row.attempts, event.attempt)


def iterating(row: LayerRow, event: m.LayerIterating) -> None:
    """Fold in the opening of a loop."""
    row.state = "RUN"
    row.waits_for = row.until = None
    row.started_at = row.started_at or event.at


def waiting(row: LayerRow, event: m.LayerWaiting) -> None:
    """Fold in a wait for a decision or a time; what a delay will put out is not shown before its time."""
    row.state = "DEFERRED" if event.kind == "defer" else "WAIT"
    row.waits_for, row.until = event.kind, event.until
    row.started_at = row.started_at or event.at
    if event.gate is not None:
        row.approval = pending(event.gate)


def retrying(row: LayerRow, event: m.LayerRetrying) -> None:
    """Fold in a failed attempt that will be repeated."""
    row.state = "WAIT"
    row.waits_for, row.until = "retry", event.until
    row.attempts = max(row.attempts, event.attempt)
    row.error = storable(event.error)
    row.error_code = event.error_code


def approval_decided(row: LayerRow, event: m.ApprovalDecided) -> None:
    """Fold in a decision (spec flow8 section 12: `approval {decision, note, by, at}`)."""
    approval: dict[str, Any] = {
        "decision": event.decision,
        "note": event.note,
        "by": event.by,
        "at": _seconds(event.at),
    }
    if event.gate is not None:
        approval["votes"] = _votes(event.gate)
    row.approval = encode(approval).decode()


def approval_pending(
    row: LayerRow, event: m.ApprovalVoted | m.ApprovalEscalated | m.ApprovalReminded
) -> None:
    """Fold in what an approval that is not decided yet waits for."""
    row.until = event.gate.due_at
    row.approval = pending(event.gate)


def pending(gate: Gate) -> str:
    """Return what is shown of an approval that is not decided yet, as JSON."""
    approval: dict[str, Any] = {
        "decision": None,
        "count": gate.count,
        "approvers": gate.approvers,
        "votes": _votes(gate),
        "timeoutAt": _seconds(gate.timeout_at),
        "onTimeout": gate.on_timeout,
        "escalated": gate.escalated,
        "reminders": gate.reminders,
    }
    return encode(approval).decode()


def _votes(gate: Gate) -> list[dict[str, Any]]:
    return [{"by": v.by, "decision": v.decision, "note": v.note, "at": _seconds(v.at)} for v in gate.votes]


def _seconds(time: datetime | None) -> datetime | None:
    # Times of the API are whole seconds (spec flow8 section 2); this JSON is shown as it is.
    return None if time is None else time.replace(microsecond=0)
