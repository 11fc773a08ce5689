"""The wire: CloudEvents 1.0 JSON for commands, JSON batches for commits (design D2, docs/bus.md).

A commit is one message: the batch of all events of one decision, so it is atomic by construction. Types carry their
version (`headrace.play.started.v1`); upcasters turn an older version's data into today's, once, when it is read.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from libs.common.errors import Invalid
from libs.common.messages import (
    access,
    app,
    app_key,
    channel,
    flow,
    grant,
    group,
    key,
    kv,
    lane,
    module,
    pat,
    play,
    request,
    review,
    schedule,
    token_key,
)

CONTENT_TYPE_EVENT = "application/cloudevents+json"
CONTENT_TYPE_BATCH = "application/cloudevents-batch+json"
COMMIT_EVENTS_MAX = 10_000

TYPES: dict[str, type[msgspec.Struct]] = {
    "headrace.play.start.v1": play.StartPlay,
    "headrace.play.wake.v1": play.WakePlay,
    "headrace.play.approve.v1": play.ApprovePlay,
    "headrace.play.cancel.v1": play.CancelPlay,
    "headrace.play.hold.v1": play.HoldPlay,
    "headrace.play.resume.v1": play.ResumePlay,
    "headrace.play.retry.v1": play.RetryPlay,
    "headrace.play.revive.v1": play.RevivePlay,
    "headrace.play.carry-over.v1": play.CarryOverPlay,
    "headrace.play.child-ended.v1": play.ChildEnded,
    "headrace.play.release.v1": play.ReleasePlay,
    "headrace.play.started.v1": play.PlayStarted,
    "headrace.play.resumed.v1": play.PlayResumed,
    "headrace.play.deferred.v1": play.PlayDeferred,
    "headrace.play.waiting.v1": play.PlayWaiting,
    "headrace.play.child-returned.v1": play.ChildReturned,
    "headrace.play.hold-requested.v1": play.HoldRequested,
    "headrace.play.held.v1": play.PlayHeld,
    "headrace.play.hold-lifted.v1": play.HoldLifted,
    "headrace.play.retried.v1": play.PlayRetried,
    "headrace.play.retry-deferred.v1": play.RetryDeferred,
    "headrace.play.cancel-requested.v1": play.CancelRequested,
    "headrace.play.approval.decided.v1": play.ApprovalDecided,
    "headrace.play.approval.voted.v1": play.ApprovalVoted,
    "headrace.play.approval.escalated.v1": play.ApprovalEscalated,
    "headrace.play.approval.reminded.v1": play.ApprovalReminded,
    "headrace.play.layer.started.v1": play.LayerStarted,
    "headrace.play.layer.waiting.v1": play.LayerWaiting,
    "headrace.play.layer.retrying.v1": play.LayerRetrying,
    "headrace.play.layer.completed.v1": play.LayerCompleted,
    "headrace.play.layer.failed.v1": play.LayerFailed,
    "headrace.play.layer.iterating.v1": play.LayerIterating,
    "headrace.play.item.ended.v1": play.ItemEnded,
    "headrace.play.layer.collected.v1": play.LayerCollected,
    "headrace.play.completed.v1": play.PlayCompleted,
    "headrace.play.failed.v1": play.PlayFailed,
    "headrace.play.snapshot.v1": play.PlaySnapshot,
    "headrace.lane.limited.v1": lane.LaneLimited,
    "headrace.lane.taken.v1": lane.SlotTaken,
    "headrace.lane.queued.v1": lane.SlotQueued,
    "headrace.lane.freed.v1": lane.SlotFreed,
    "headrace.lane.folded.v1": lane.LaneFolded,
    "headrace.flow.created.v1": flow.FlowCreated,
    "headrace.flow.updated.v1": flow.FlowUpdated,
    "headrace.flow.deleted.v1": flow.FlowDeleted,
    "headrace.flow.layer.added.v1": flow.LayerAdded,
    "headrace.flow.layer.updated.v1": flow.LayerUpdated,
    "headrace.flow.layer.deleted.v1": flow.LayerDeleted,
    "headrace.schedule.wake.v1": schedule.WakeSchedule,
    "headrace.schedule.created.v1": schedule.ScheduleCreated,
    "headrace.schedule.updated.v1": schedule.ScheduleUpdated,
    "headrace.schedule.deleted.v1": schedule.ScheduleDeleted,
    "headrace.schedule.paused.v1": schedule.SchedulePaused,
    "headrace.schedule.resumed.v1": schedule.ScheduleResumed,
    "headrace.schedule.run.requested.v1": schedule.RunRequested,
    "headrace.schedule.backfill.requested.v1": schedule.BackfillRequested,
    "headrace.schedule.backfill.cancelled.v1": schedule.BackfillCancelled,
    "headrace.schedule.fired.v1": schedule.ScheduleFired,
    "headrace.company.created.v1": access.CompanyCreated,
    "headrace.user.created.v1": access.UserCreated,
    "headrace.user.updated.v1": access.UserUpdated,
    "headrace.session.opened.v1": access.SessionOpened,
    "headrace.session.closed.v1": access.SessionClosed,
    "headrace.session.refused.v1": access.SessionRefused,
    "headrace.name.claimed.v1": access.NameClaimed,
    "headrace.key.issued.v1": key.KeyIssued,
    "headrace.key.revoked.v1": key.KeyRevoked,
    "headrace.key.used.v1": key.KeyUsed,
    "headrace.grant.opened.v1": grant.GrantOpened,
    "headrace.grant.refreshed.v1": grant.GrantRefreshed,
    "headrace.grant.ended.v1": grant.GrantEnded,
    "headrace.attempt.used.v1": grant.AttemptUsed,
    "headrace.refresh.issued.v1": grant.RefreshIssued,
    "headrace.pat.issued.v1": pat.PatIssued,
    "headrace.pat.revoked.v1": pat.PatRevoked,
    "headrace.tokenkey.changed.v1": token_key.TokenKeysChanged,
    "headrace.app.created.v1": app.AppCreated,
    "headrace.app.updated.v1": app.AppUpdated,
    "headrace.app.deleted.v1": app.AppDeleted,
    "headrace.snapshot.taken.v1": app.SnapshotTaken,
    "headrace.appkey.issued.v1": app_key.AppKeyIssued,
    "headrace.appkey.revoked.v1": app_key.AppKeyRevoked,
    "headrace.review.written.v1": review.ReviewWritten,
    "headrace.review.deleted.v1": review.ReviewDeleted,
    "headrace.group.created.v1": group.GroupCreated,
    "headrace.group.updated.v1": group.GroupUpdated,
    "headrace.group.deleted.v1": group.GroupDeleted,
    "headrace.channel.created.v1": channel.ChannelCreated,
    "headrace.channel.updated.v1": channel.ChannelUpdated,
    "headrace.channel.deleted.v1": channel.ChannelDeleted,
    "headrace.channel.route.added.v1": channel.RouteAdded,
    "headrace.channel.route.updated.v1": channel.RouteUpdated,
    "headrace.channel.route.deleted.v1": channel.RouteDeleted,
    "headrace.request.recorded.v1": request.RequestRecorded,
    "headrace.kv.set.v1": kv.KvSet,
    "headrace.kv.deleted.v1": kv.KvDeleted,
    "headrace.module.announced.v1": module.ModuleAnnounced,
}
TYPE_NAMES: dict[type[msgspec.Struct], str] = {kind: name for name, kind in TYPES.items()}

Json = dict[str, Any]
# old type → (next type, data step); applied until a type of TYPES is reached.
UPCASTERS: dict[str, tuple[str, Callable[[Json], Json]]] = {}

M = TypeVar("M", bound=msgspec.Struct)


class UnknownType(msgspec.ValidationError):
    """A message of a type that this release does not know; a newer one may."""

    def __init__(self, type_name: str) -> None:
        super().__init__(f"unknown message type {type_name}")
        self.type_name = type_name


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The CloudEvents 1.0 envelope with our extensions (https://cloudevents.io, JSON event format)."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    data: Any
    datacontenttype: str = "application/json"
    sequence: str = ""
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""


class RawEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope as read: its data is still bytes."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    data: msgspec.Raw
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What all messages about one thing share; becomes the envelope's attributes."""

    source: str
    subject: str
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One decoded message with its envelope."""

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    data: Any
    correlation_id: str
    causation_id: str
    traceparent: str


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One decision as read from the log: its events in order. `sequence` is the stream's."""

    id: str
    sequence: int
    events: tuple[Any, ...]
    source: str
    subject: str
    time: datetime
    correlation_id: str
    causation_id: str
    traceparent: str


_encode = msgspec.json.Encoder().encode
_decode_event = msgspec.json.Decoder(RawEvent).decode
_decode_batch = msgspec.json.Decoder(list[RawEvent]).decode
_decoders: dict[str, Callable[[msgspec.Raw], Any]] = {
    name: msgspec.json.Decoder(kind).decode for name, kind in TYPES.items()
}


def source_of(company_id: str, flow_id: str | None = None) -> str:
    """Return the CloudEvents source of a company's or flow's messages."""
    return f"/companies/{company_id}/flows/{flow_id}" if flow_id else f"/companies/{company_id}"


def company_of(source: str) -> str:
    """Return the company of a CloudEvents source, "" when it is nobody's."""
    return source.removeprefix("/companies/").partition("/")[0] if source.startswith("/companies/") else ""


def encode_message(message: Any, *, id: str, context: Context) -> bytes:
    """Encode one command, or one event that stands alone, as a CloudEvent."""
    return _encode(_envelope(message, id, context))


def encode_commit(events: Sequence[Any], *, commit_id: str, context: Context) -> bytes:
    """Encode the events of one decision, at least one, as a CloudEvents batch; event n has the id `<commit>.<n>`.

    Raises Invalid when there are more than COMMIT_EVENTS_MAX events.
    """
    first = _envelope(events[0], "", context)
    # One more of a dozen fields would cost twice as much.
    batch = [
        replace(first, id=f"{commit_id}.{n}", type=TYPE_NAMES[type(event)], time=event.at, data=event)
        for n, event in enumerate(events)
    ]
    if len(batch) > COMMIT_EVENTS_MAX:
        raise Invalid(f"a commit holds at most {COMMIT_EVENTS_MAX} events, not {len(batch)}")
    return _encode(batch)


def _envelope(message: Any, id: str, context: Context) -> CloudEvent:
    return CloudEvent(
        specversion="1.0",
        id=id,
        source=context.source,
        type=TYPE_NAMES[type(message)],
        subject=context.subject,
        time=message.at,
        data=message,
        correlationid=context.correlation_id,
        causationid=context.causation_id,
        traceparent=context.traceparent,
    )


def decode_message(payload: bytes) -> Envelope:
    """Decode one CloudEvent, in today's shape.

    Raises msgspec.DecodeError when it is not one, or its data does not fit its type.
    """
    raw = _decode_event(payload)
    return Envelope(
        id=raw.id,
        type=raw.type,
        source=raw.source,
        subject=raw.subject,
        time=raw.time,
        data=data_of(raw.type, raw.data),
        correlation_id=raw.correlationid,
        causation_id=raw.causationid,
        traceparent=raw.traceparent,
    )


def decode_commit(payload: bytes, *, sequence: int) -> Commit:
    """Decode a batch from the log, in today's shape.

    Raises UnknownType when it holds an event of a newer release, msgspec.DecodeError when it is not a batch of at least
    one event.
    """
    batch = _batch(payload)
    return _commit(batch, tuple(data_of(raw.type, raw.data) for raw in batch), sequence)


def known_part(payload: bytes, *, sequence: int) -> tuple[Commit, tuple[str, ...]]:
    """Decode a batch without the events of newer releases; also return their types.

    For those who show what happened. Who decides needs all of it. Raises msgspec.DecodeError as `decode_commit`.
    """
    batch = _batch(payload)
    known = [raw for raw in batch if is_known(raw.type)]
    events = tuple(data_of(raw.type, raw.data) for raw in known)
    newer = () if len(known) == len(batch) else tuple(raw.type for raw in batch if not is_known(raw.type))
    return _commit(batch, events, sequence), newer


def is_known(type_name: str) -> bool:
    """Tell whether this release can read messages of a type."""
    return type_name in _decoders or type_name in UPCASTERS


def _batch(payload: bytes) -> list[RawEvent]:
    batch = _decode_batch(payload)
    if not batch:
        raise msgspec.ValidationError("a commit holds at least one event")
    return batch


def _commit(batch: list[RawEvent], events: tuple[Any, ...], sequence: int) -> Commit:
    first = batch[0]
    return Commit(
        id=first.id.partition(".")[0],
        sequence=sequence,
        events=events,
        source=first.source,
        subject=first.subject,
        time=first.time,
        correlation_id=first.correlationid,
        causation_id=first.causationid,
        traceparent=first.traceparent,
    )


def last_event(payload: bytes) -> Envelope:
    """Decode a definition's message: a CloudEvent, or the last event of a batch, under the id of its commit (D7).

    Raises msgspec.DecodeError when it is neither.
    """
    if not payload.startswith(b"["):
        return decode_message(payload)
    commit = decode_commit(payload, sequence=0)
    event = commit.events[-1]
    return Envelope(
        id=commit.id,
        type=TYPE_NAMES[type(event)],
        source=commit.source,
        subject=commit.subject,
        time=commit.time,
        data=event,
        correlation_id=commit.correlation_id,
        causation_id=commit.causation_id,
        traceparent=commit.traceparent,
    )


def data_of(type_name: str, data: msgspec.Raw) -> Any:
    """Decode a message's data into today's struct of its type, through the upcasters when it is older.

    Raises UnknownType for a type nobody knows, msgspec.ValidationError for data that does not fit its type.
    """
    decode = _decoders.get(type_name)
    if decode is not None:
        return decode(data)
    if type_name not in UPCASTERS:
        raise UnknownType(type_name)
    json: Json = msgspec.json.decode(data)
    return upcast(type_name, json)


def upcast(
    type_name: str, data: Json, upcasters: Mapping[str, tuple[str, Callable[[Json], Json]]] | None = None
) -> Any:
    """Lift old data step by step to a current type and convert it to that type's struct."""
    steps = UPCASTERS if upcasters is None else upcasters
    while type_name in steps:
        type_name, step = steps[type_name]
        data = step(data)
    return msgspec.convert(data, TYPES[type_name])


def raw(value: Any) -> msgspec.Raw:
    """Encode any struct or JSON value as a part of another."""
    return msgspec.Raw(_encode(value))


def encode(value: Any) -> bytes:
    """Encode any struct or JSON value."""
    return _encode(value)
