"""What the API answers: its shapes, and the response they travel in (spec flow8 section 2)."""

import functools
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from libs.common.messages.flow import Execution, Layer

JSON_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

S = TypeVar("S", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode


class FlowSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A flow as lists show it."""

    id: str
    company_id: str
    permanent_id: str
    name: str
    enabled: bool
    category: str
    group_id: str | None
    kv_inherit: str
    kv_conflict: str
    execution: Execution
    version: int
    created_at: datetime
    updated_at: datetime


class FlowDetail(FlowSummary, frozen=True, kw_only=True, rename="camel"):
    """A flow with its steps."""

    layers: tuple[Layer, ...] = ()


class FlowWritten(FlowDetail, frozen=True, kw_only=True, rename="camel"):
    """A flow after a change; `warnings` tell what it will stumble over."""

    warnings: tuple[str, ...] = ()


class LayerWritten(Layer, frozen=True, kw_only=True, rename="camel"):
    """A step after a change, with the warnings of its flow."""

    warnings: tuple[str, ...] = ()


class Me(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The caller."""

    id: str
    email: str
    name: str
    company_id: str
    role: str
    permissions: tuple[str, ...]


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    """The user whose session was opened."""

    id: str
    email: str
    name: str


class LoggedOut(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The session is over."""

    logged_out: bool = True


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """Something is gone."""

    id: str
    deleted: bool = True


class PlayAccepted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play that was started, or that its idempotency key had started before."""

    play_id: str
    state: str
    started_at: datetime | None


class PlayEnded(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play whose end the caller waited for; `duration` in milliseconds."""

    play_id: str
    state: str
    started_at: datetime | None
    completed_at: datetime | None
    duration: int | None
    out: Any
    error: str | None
    error_code: str | None


class PlayCancelled(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play that was told to end, and its state now."""

    play_id: str
    state: str


class PlayTold(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play that was held, resumed or retried, and its state now."""

    play_id: str
    state: str


class PlayReplayed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new play that repeats another one."""

    play_id: str
    state: str
    replay_of: str


class ApprovalAnswered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A decision that was recorded, and the state it left the play in."""

    play_id: str
    layer_id: str
    decision: str
    state: str


def whole_seconds(answer: S) -> S:
    """Return the answer with its times cut to whole seconds, as the API shows them."""
    times = {
        name: value.replace(microsecond=0)
        for name in _time_fields(type(answer))
        if (value := getattr(answer, name)) is not None
    }
    return msgspec.structs.replace(answer, **times) if times else answer


@functools.cache
def _time_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        name for name, hint in hints.items() if hint is datetime or datetime in typing.get_args(hint)
    )


def reply(answer: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the response that carries this answer as JSON."""
    all_headers = JSON_HEADERS if headers is None else {**JSON_HEADERS, **headers}
    return web.Response(body=_encode(answer), status=status, headers=all_headers)
