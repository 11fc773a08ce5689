"""The AsyncAPI 3.0 document of the socket, the event streams and the bus, made from `subjects`, `codec` and frames.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

import re
from datetime import datetime
from typing import Any, Literal

import msgspec

from libs.common import codec, subjects
from libs.common.health import VERSION
from services.gateway import samples

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/{name}"
_PART = re.compile(r"\{(\w+)\}")


class Frame(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What all frames have; `sequence` is opaque: a number, or text when there are several shards."""

    play_id: str
    flow_id: str
    state: str
    timestamp: datetime
    sequence: int | str


class PlayStartedFrame(Frame, frozen=True, kw_only=True):
    """A play began."""

    type: Literal["play:started"]


class PlayWaitingFrame(Frame, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A play waits; the step that it waits for is named, one with a gate first."""

    type: Literal["play:waiting"]
    layer_id: str = ""
    play_layer_id: str = ""
    ref: str = ""
    iteration: int | list[int] | None = None


class PlayHeldFrame(Frame, frozen=True, kw_only=True):
    """A play is on hold: nothing of it runs until somebody resumes it."""

    type: Literal["play:held"]


class PlayResumedFrame(Frame, frozen=True, kw_only=True):
    """Somebody let a held play go on."""

    type: Literal["play:resumed"]
    by: str


class PlayRetriedFrame(Frame, frozen=True, kw_only=True):
    """A failed play runs again, or waits for a slot to do so (`DEFERRED`); `refs` are the steps that begin anew."""

    type: Literal["play:retried"]
    by: str
    refs: tuple[str, ...]


class _ApprovalFrame(Frame, frozen=True, kw_only=True, rename="camel"):
    layer_id: str
    play_layer_id: str
    ref: str
    approvers: tuple[str, ...]
    votes: int
    count: int


class PlayVotedFrame(_ApprovalFrame, frozen=True, kw_only=True, rename="camel"):
    """Somebody approved a waiting step, and more have to."""

    type: Literal["play:voted"]


class PlayEscalatedFrame(_ApprovalFrame, frozen=True, kw_only=True, rename="camel"):
    """A waiting step was not decided in time: more people may decide it now."""

    type: Literal["play:escalated"]


class PlayRemindedFrame(_ApprovalFrame, frozen=True, kw_only=True, rename="camel"):
    """A step still waits for an approval: whoever may decide it should know."""

    type: Literal["play:reminded"]


class LayerStartedFrame(Frame, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A step began."""

    type: Literal["play:layer:started"]
    layer_id: str
    play_layer_id: str
    ref: str
    iteration: int | list[int] | None = None


class LayerCompletedFrame(Frame, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A step ended well: DONE, SKIP or FILTERED."""

    type: Literal["play:layer:completed"]
    layer_id: str
    play_layer_id: str
    ref: str
    iteration: int | list[int] | None = None
    out: Any


class LayerFailedFrame(Frame, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A step failed after its last attempt."""

    type: Literal["play:layer:failed"]
    layer_id: str
    play_layer_id: str
    ref: str
    iteration: int | list[int] | None = None
    error: str
    error_code: str


class PlayCompletedFrame(Frame, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A play ended without a failure; `duration` in milliseconds. Its last frame."""

    type: Literal["play:completed"]
    out: Any
    duration: int = 0


class PlayFailedFrame(Frame, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A play failed; the step is named when one did it. `duration` in milliseconds. Its last frame."""

    type: Literal["play:failed"]
    ref: str | None
    layer_id: str | None
    error: str
    error_code: str
    duration: int = 0


FRAMES: dict[str, type[Frame]] = {
    "play:started": PlayStartedFrame,
    "play:waiting": PlayWaitingFrame,
    "play:held": PlayHeldFrame,
    "play:resumed": PlayResumedFrame,
    "play:retried": PlayRetriedFrame,
    "play:voted": PlayVotedFrame,
    "play:escalated": PlayEscalatedFrame,
    "play:reminded": PlayRemindedFrame,
    "play:layer:started": LayerStartedFrame,
    "play:layer:completed": LayerCompletedFrame,
    "play:layer:failed": LayerFailedFrame,
    "play:completed": PlayCompletedFrame,
    "play:failed": PlayFailedFrame,
}
_KEY: Any = subjects.PlayKey("{shard}", "{company}", "{flow}", "{play}")  # type: ignore[arg-type]
_LANE: Any = subjects.LaneKey("{shard}", "{company}", "{flow}")  # type: ignore[arg-type]
_NOUNS = (
    "flow", "group", "company", "user", "key", "module", "channel", "grant", "refresh", "pat", "tokenkey",
    "app", "snapshot", "appkey", "review",
    "attempt",
)  # fmt: skip
_COMMANDS = frozenset(
    {
        "start",
        "wake",
        "approve",
        "cancel",
        "hold",
        "resume",
        "retry",
        "revive",
        "release",
        "child-ended",
        "carry-over",
    }
)
_PARTS = {
    "shard": "The play's shard, from 0",
    "company": "A company's id",
    "flow": "A flow's id",
    "play": "A play's id",
    "verb": "The command's verb, such as `start`",
    "state": "The play's state after the commit",
    "id": "The definition's id",
    "kind": "What kind of name it is, such as `permanent`",
    "name": "The name",
    "digest": "The SHA-256 of the session's id",
    "scope": "The entry's scope",
    "scopeKey": "The flow or group that the entry belongs to, `-` for none",
    "key": "An API key's id",
    "channel": "A channel's id",
    "schedule": "A schedule's id",
    "noun": "What it is about, such as `flow`",
}

_DESCRIPTION = (
    "Live events over HTTP, and the log that they come from. The bus is told in docs/bus.md. Not told here, "
    "for they have ports of their own: the MCP server for agents (HEADRACE_MCP_PORT, 4445, path /mcp; docs/mcp.md), "
    "and the WebSocket channels (HEADRACE_CHANNEL_PORTS, 7701-7799), whose messages are the args and outputs of flows."
)


def document() -> Json:
    """Return the document, as JSON."""
    structs = [*FRAMES.values(), *codec.TYPES.values()]
    found, schemas = msgspec.json.schema_components(structs, ref_template=SCHEMAS)
    payloads = dict(zip(structs, found, strict=True))
    messages = {
        **{_name(kind): _frame(kind, struct, payloads[struct]) for kind, struct in FRAMES.items()},
        **{name: _event(name, struct, payloads[struct]) for name, struct in codec.TYPES.items()},
    }
    channels = {**_live_channels(), **_bus_channels()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace, as it happens",
            "version": VERSION,
            "description": _DESCRIPTION,
        },
        "servers": {
            "api": {"host": "127.0.0.1:4454", "protocol": "http", "description": "A gateway"},
            "bus": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "NATS with JetStream"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            f"send{name[0].upper()}{name[1:]}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in channels
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _live_channels() -> Json:
    frames = list(map(_name, FRAMES))
    return {
        "socket": {
            **_channel("/api/ws", "The WebSocket: all plays of the company, a flow's, or one", frames, "api"),
            "bindings": {"ws": {"method": "GET", "query": _query("flowId", "playId", "since", "token")}},
        },
        "events": {
            **_channel(
                "/api/plays/{play}/events",
                "One play as Server-Sent Events: `id` is the frame's sequence, `event` its type, `data` the frame",
                frames,
                "api",
            ),
            "bindings": {"http": {}},
        },
    }


def _query(*names: str) -> Json:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _bus_channels() -> Json:
    """Return a channel for each kind of subject that carries messages of `codec`."""
    company, one = "{company}", "{id}"
    schedule = subjects.ScheduleKey(company, "{schedule}")
    stored: dict[str, tuple[str, str, list[str]]] = {
        "playCommands": (_KEY.command("{verb}"), "Commands to a play", _types("play", commands=True)),
        "playCommits": (_KEY.event("{state}"), "A play's commits: batches of its events", _types("play")),
        "playCommitsLive": (
            _KEY.live[:-1] + "{state}",
            "Every stored commit, republished as soon as it is durable",
            _types("play"),
        ),
        "playTimers": (_KEY.timer, "A play's one durable timer", ["headrace.play.wake.v1"]),
        "lanes": (
            _LANE.step.removesuffix("step") + "{kind}",
            "Who holds a slot of a limit and who waits: batches of events",
            _types("lane"),
        ),
        "claims": (subjects.claim(company, "{kind}", "{name}"), "Who owns a unique name", _types("name")),
        "sessions": (subjects.session("{digest}"), "An open session", _types("session")),
        "kvEntries": (subjects.kv(company, "{scope}", "{scopeKey}", one), "A KV entry", _types("kv")),
        "keyUses": (subjects.key_use(company, "{key}"), "When a key was last used", ["headrace.key.used.v1"]),
        "channelRequests": (
            subjects.requests(company, "{channel}"),
            "What a channel was asked: batches of records",
            _types("request"),
        ),
        "schedules": (schedule.events, "A schedule, whole, with each event", _types("schedule")),
        "scheduleFires": (schedule.fire, "What a schedule's timer sends", ["headrace.schedule.wake.v1"]),
        "scheduleTimers": (schedule.timer, "A schedule's one durable timer", ["headrace.schedule.wake.v1"]),
    }
    for noun in _NOUNS:
        told = f"A {noun}, whole, with each event; the last message on a subject is the definition"
        stored[f"{noun}Definitions"] = (subjects.definition(noun, company, one), told, _types(noun))
    stored["definitionsLive"] = (
        subjects.LIVE_DEFINITIONS + ".{noun}.{company}.{id}",
        "Every stored definition event, republished",
        sorted({name for noun in _NOUNS for name in _types(noun)}),
    )
    return {name: _channel(address, words, types, "bus") for name, (address, words, types) in stored.items()}


def _types(noun: str, *, commands: bool = False) -> list[str]:
    """Return the names of a noun's events, or of its commands."""
    wake = {"headrace.schedule.wake.v1", "headrace.key.used.v1"}
    found = [name for name in codec.TYPES if name.split(".")[1] == noun and name not in wake]
    if noun != "play":
        return found
    return [name for name in found if (name.split(".")[2] in _COMMANDS) == commands]


def _channel(address: str, words: str, messages: list[str], server: str) -> Json:
    parts = _PART.findall(address)
    found: Json = {
        "address": address,
        "description": words,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if parts:
        found["parameters"] = {part: {"description": _PARTS[part]} for part in parts}
    return found


def _name(frame_type: str) -> str:
    return frame_type.replace(":", ".")


def _frame(kind: str, struct: type[msgspec.Struct], payload: Json) -> Json:
    return {
        "name": kind,
        "summary": (struct.__doc__ or "").partition("\n")[0],
        "contentType": "application/json",
        "payload": payload,
        "examples": [{"payload": {**samples.of(struct), "type": kind}}],
    }


def _event(name: str, struct: type[msgspec.Struct], data: Json) -> Json:
    text = {"type": "string"}
    attributes = {
        "specversion": {"const": "1.0"}, "id": text, "source": text, "type": {"const": name}, "subject": text,
        "time": {"type": "string", "format": "date-time"}, "datacontenttype": text, "correlationid": text,
        "causationid": text, "traceparent": text, "data": data,
    }  # fmt: skip
    return {
        "name": name,
        "summary": " ".join((struct.__doc__ or "").partition("\n\n")[0].split()),
        "contentType": codec.CONTENT_TYPE_EVENT,
        "payload": {
            "type": "object",
            "properties": attributes,
            "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
        },
    }
