"""The table `audit`: who did what, without any secret (spec flow8 section 24)."""

import re
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from libs.common.codec import Envelope, company_of, encode
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
    pat,
    play,
    review,
    schedule,
)
from libs.common.messages.origin import Fact
from services.store.database import Connection
from services.store.read_models.text import storable

USER_AGENT_CHARS_MAX = 500
REDACTED = "[redacted]"
ACTIONS: dict[type, str] = {
    flow.FlowCreated: "flow.create",
    flow.FlowUpdated: "flow.update",
    flow.FlowDeleted: "flow.delete",
    flow.LayerAdded: "flow.layer.create",
    flow.LayerUpdated: "flow.layer.update",
    flow.LayerDeleted: "flow.layer.delete",
    group.GroupCreated: "group.create",
    group.GroupUpdated: "group.update",
    group.GroupDeleted: "group.delete",
    access.CompanyCreated: "company.create",
    access.UserCreated: "user.create",
    access.UserUpdated: "user.update",
    access.SessionOpened: "auth.login",
    access.SessionClosed: "auth.logout",
    access.SessionRefused: "auth.login.failed",
    grant.GrantOpened: "auth.login",
    grant.GrantEnded: "auth.logout",
    pat.PatIssued: "pat.create",
    pat.PatRevoked: "pat.revoke",
    app.AppCreated: "app.create",
    app.AppUpdated: "app.update",
    app.AppDeleted: "app.delete",
    app.SnapshotTaken: "app.publish",
    app_key.AppKeyIssued: "app.key.create",
    app_key.AppKeyRevoked: "app.key.revoke",
    review.ReviewWritten: "app.review",
    review.ReviewDeleted: "app.review.delete",
    key.KeyIssued: "apikey.create",
    key.KeyRevoked: "apikey.revoke",
    channel.ChannelCreated: "channel.create",
    channel.ChannelUpdated: "channel.update",
    channel.ChannelDeleted: "channel.delete",
    channel.RouteAdded: "channel.route.create",
    channel.RouteUpdated: "channel.route.update",
    channel.RouteDeleted: "channel.route.delete",
    kv.KvSet: "kv.set",
    kv.KvDeleted: "kv.delete",
    schedule.ScheduleCreated: "schedule.create",
    schedule.ScheduleUpdated: "schedule.update",
    schedule.ScheduleDeleted: "schedule.delete",
    schedule.SchedulePaused: "schedule.pause",
    schedule.ScheduleResumed: "schedule.resume",
    schedule.RunRequested: "schedule.run",
    schedule.BackfillRequested: "schedule.backfill",
    schedule.BackfillCancelled: "schedule.backfill.cancel",
}
_GONE = frozenset(
    {
        flow.FlowDeleted,
        group.GroupDeleted,
        app.AppDeleted,
        kv.KvDeleted,
        channel.ChannelDeleted,
        schedule.ScheduleDeleted,
    }
)
_SECRET_NAMES = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|authorization|cookie|api[-_]?key|credential|private[-_]?key|signature",
    re.IGNORECASE,
)
COLUMNS = """stream text, sequence bigint, company_id text, user_id text, at timestamptz, action text,
    entity_type text, entity_id text, after text, request_id text, ip text, user_agent text, key_id text"""


def insert(parameter: int, guard: str = "true") -> str:
    """Return the statement that adds records, given as one JSON array in this parameter, if the guard holds."""
    return f"""
        insert into audit (stream, sequence, company_id, user_id, at, action, entity_type, entity_id, after,
            request_id, ip, user_agent, key_id)
        select stream, sequence, company_id, user_id, at, action, entity_type, entity_id, after::json,
            request_id, ip, user_agent, key_id
        from json_to_recordset(${parameter}::json) as row ({COLUMNS})
        where {guard}
        on conflict (stream, sequence) do nothing
    """  # noqa: S608 - names and numbers of ours


INSERT = insert(1)


DEEDS: dict[type, str] = {
    play.StartPlay: "play.run",
    play.ApprovePlay: "play.approve",
    play.CancelPlay: "play.cancel",
    play.HoldPlay: "play.hold",
    play.ResumePlay: "play.resume",
    play.RetryPlay: "play.retry",
}


class AuditRow(msgspec.Struct, frozen=True):
    """One record as the table holds it; `after` is JSON."""

    stream: str
    sequence: int
    company_id: str
    user_id: str
    at: datetime
    action: str
    entity_type: str
    entity_id: str
    after: str | None
    request_id: str
    ip: str
    user_agent: str
    key_id: str


class _Thing(NamedTuple):
    entity_type: str
    entity_id: str
    content: dict[str, Any] | None


def row_of(envelope: Envelope, *, stream: str, sequence: int) -> AuditRow | None:
    """Return the record of an event, None for one that is nobody's deed."""
    event = envelope.data
    action = ACTIONS.get(type(event))
    if action is None or not isinstance(event, Fact):
        return None
    thing = _thing(event)
    shown = thing._replace(content=None) if type(event) in _GONE else thing
    return _row(envelope, action, shown, stream=stream, sequence=sequence)


def deed_of(envelope: Envelope, *, play_id: str, stream: str, sequence: int) -> AuditRow | None:
    """Return the record of what somebody asked of a play, None for a command of nobody.

    A play that another one starts is the deed of whoever started that one.
    """
    command = envelope.data
    if not command.by or (isinstance(command, play.StartPlay) and command.trigger in {"subflow", "error"}):
        return None
    action = DEEDS[type(command)]
    if isinstance(command, play.ApprovePlay) and command.decision == "declined":
        action = "play.decline"
    # What became of the play is in the play.
    return _row(envelope, action, _Thing("play", play_id, None), stream=stream, sequence=sequence)


def _row(envelope: Envelope, action: str, thing: _Thing, *, stream: str, sequence: int) -> AuditRow:
    deed = envelope.data
    return AuditRow(
        stream=stream,
        sequence=sequence,
        company_id=company_of(envelope.source),
        user_id=deed.by,
        at=deed.at,
        action=action,
        entity_type=thing.entity_type,
        entity_id=thing.entity_id,
        after=None if thing.content is None else encode(redacted(thing.content)).decode(),
        request_id=storable(deed.origin.request_id),
        ip=storable(deed.origin.ip),
        user_agent=storable(deed.origin.user_agent)[:USER_AGENT_CHARS_MAX],
        key_id=storable(deed.origin.key_id),
    )


def redacted(value: Any) -> Any:
    """Return a JSON value in which texts whose names speak of secrets are not shown, expressions excepted."""
    if isinstance(value, dict):
        return {name: _shown(name, entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(entry) for entry in value]
    return value


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, str) and value and _SECRET_NAMES.search(name) and "{{" not in value:
        return REDACTED
    return redacted(value)


def _thing(event: Fact) -> _Thing:
    match event:
        case flow.FlowEvent():
            return _Thing("flow", event.flow.id, _json(event.flow))
        case group.GroupEvent():
            return _Thing("group", event.group.id, _json(event.group))
        case access.UserCreated() | access.UserUpdated():
            user = _json(event.user)
            # Not even that a hash is there: what is left is what an admin may see.
            return _Thing("user", event.user.id, {n: v for n, v in user.items() if n != "password"})
        case access.CompanyCreated():
            return _Thing("company", event.company.id, _json(event.company))
        case key.KeyEvent():
            return _Thing("apikey", event.key.id, _json(event.key))
        case app.AppEvent() | app.SnapshotTaken() | app_key.AppKeyEvent() | review.ReviewEvent():
            return _of_app(event)
        case channel.ChannelEvent():
            shown = _json(channel.channel_view(event.channel))
            return _Thing("channel", event.channel.id, shown)
        case kv.KvEvent():
            entry = _json(event.entry)
            return _Thing(
                "kv", event.entry.id, {n: v for n, v in entry.items() if n not in {"sealed", "applied"}}
            )
        case schedule.ScheduleEvent():
            return _Thing("schedule", event.schedule.id, _json(event.schedule))
        case access.SessionOpened() | access.SessionClosed() | access.SessionRefused() | grant.GrantEvent():
            return _Thing("session", event.by, None)
        case pat.PatEvent():
            return _Thing("pat", event.pat.id, {n: v for n, v in _json(event.pat).items() if n != "digest"})
        case _:
            raise ValueError(f"{type(event).__name__} is not audited")


def _of_app(event: app.AppEvent | app.SnapshotTaken | app_key.AppKeyEvent | review.ReviewEvent) -> _Thing:
    match event:
        case app.AppEvent():
            return _Thing("app", event.app.id, _json(event.app))
        case app.SnapshotTaken():
            return _Thing("app", event.app_id, None)
        case app_key.AppKeyEvent():
            shown = {n: v for n, v in _json(event.key).items() if n != "digest"}
            return _Thing("appkey", event.key.id, shown)
        case review.ReviewEvent():
            return _Thing("review", event.review.id, _json(event.review))


def _json(struct: msgspec.Struct) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(struct)
    return made


async def write(connection: Connection, rows: list[AuditRow]) -> None:
    """Write records, inside the caller's transaction."""
    await connection.execute(INSERT, encode(rows).decode())
