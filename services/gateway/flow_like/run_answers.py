"""What is answered about runs (spec flow-like sections 8.1 to 8.3 and 11.3)."""

from datetime import datetime
from typing import Any

import msgspec

from services.gateway.flow_like.run_events import RunEvent
from services.gateway.flow_like.statuses import RunStatus


class RunAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is in the log."""

    run_id: str
    job_id: str
    status: RunStatus
    poll_token: str
    backend: str


class RunEnded(RunAccepted, frozen=True, kw_only=True):
    """A run that was waited for; without an end in time its output and times are null."""

    output: Any
    error: str | None
    started_at: datetime | None
    completed_at: datetime | None


class RunTitled(msgspec.Struct, frozen=True, kw_only=True):
    """A run; its status is written with a capital."""

    run_id: str
    job_id: str
    app_id: str | None
    board_id: str
    event_id: str | None
    status: str
    mode: str
    progress: int
    current_step: str | None
    error: str | None
    input_payload_len: int
    output_payload_len: int
    output: Any
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    id: str
    result: Any


class RunShown(RunTitled, frozen=True, kw_only=True):
    """A run; `id` is `run_id` and `result` is `output`, for clients that know them so."""

    status: RunStatus


class PollAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a run, and how it stands."""

    run_id: str
    status: str
    progress: int
    current_step: str | None
    error: str | None
    events: list[RunEvent]
    started_at: datetime | None
    completed_at: datetime | None
    done: bool


class RunCancelled(msgspec.Struct, frozen=True, kw_only=True):
    """A run after somebody asked for its end; `cancelled` tells whether that was how it ended."""

    run_id: str
    status: RunStatus
    cancelled: bool
