"""What queries answer: plays and their layers as the read models hold them, and the HTTP API shows them."""

from datetime import datetime
from typing import Any

import msgspec


class PlayView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play (spec flow8 section 8); `duration` in milliseconds, null until it ended."""

    id: str
    flow_id: str
    state: str
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    duration: int | None = None
    args: dict[str, Any] = {}
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    failed_ref: str | None = None
    flow_version: int = 1
    trigger: str = "api"
    parent_play_id: str | None = None
    schedule_id: str | None = None


class PlayLayerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step of a play; `layer_id` is the flowlet's id (Q22)."""

    id: str
    layer_id: str
    ref: str
    state: str
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration: int | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    attempts: int = 0
    approval: dict[str, Any] | None = None
