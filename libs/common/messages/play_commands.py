"""What people, clocks and services ask of plays: commands, which may be refused."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from libs.common.messages.approval import Decision
from libs.common.messages.origin import Origin
from libs.common.messages.payload import PayloadRef

PlayState = Literal["NEW", "RUN", "DONE", "FAIL", "SKIP", "FILTERED", "DEFERRED", "WAIT", "ON_HOLD"]
Trigger = Literal["api", "schedule", "channel", "mcp", "subflow", "error", "job"]
# How a caller of the second surface wants a play to run; empty for everybody else (spec flow-like section 11.3).
RunMode = Literal["", "async", "sync", "stream", "isolated", "pool"]


class Command(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A wish: imperative, may be refused; carries every input of the decision."""

    at: datetime
    payloads: dict[str, PayloadRef] | None = None


class Parent(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where the step lives that waits for a play: it is told of the end. In the same company."""

    flow_id: str
    play_id: str
    lanes: tuple[str, ...] = ()  # in which it, or who waits for it, holds a slot


class ChildPlay(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A play that a step waits for, with all that its start says; its id derives from the step and the attempt."""

    play_id: str
    flow_id: str
    definition: int
    flow_version: int
    seed: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which play a replay repeats: its shard, and its history up to this stream sequence.

    The outputs of the steps in groups before that of `from_ref` are taken over; without one, none.
    """

    play_id: str
    shard: int = 0
    sequence: int = 0
    from_ref: str = ""


class Deed(Command, frozen=True, kw_only=True):
    """What somebody asks for: the user `by`, empty for nobody, from where `origin` tells (the audit shows both)."""

    by: str = ""
    origin: Origin = Origin()


class StartPlay(Deed, frozen=True, kw_only=True):
    """Begin a play of a flow, pinned to one stored version of its definition."""

    definition: int
    flow_version: int
    args: dict[str, Any] = {}
    trigger: Trigger = "api"
    seed: str = ""
    idempotency_key: str = ""
    parent_play_id: str = ""
    schedule_id: str = ""
    parent: Parent | None = None
    depth: int = 0
    replay: Replay | None = None
    mode: RunMode = ""


class ChildEnded(Command, frozen=True, kw_only=True):
    """A play that a step of this one waits for has ended: how, and with what."""

    child_play_id: str
    state: PlayState
    out: Any = None
    error: str | None = None


class ReleasePlay(Command, frozen=True, kw_only=True):
    """Start a play that waits for a slot, if it has one now."""


class WakePlay(Command, frozen=True, kw_only=True):
    """The durable timer of a wait fired."""

    wait_id: str


class ApprovePlay(Deed, frozen=True, kw_only=True):
    """Decide a pending approval; `layer_id` is the flowlet's id or its ref (Q22), `iteration` the item of a loop.

    Without an iteration it decides the first pending approval of that step. `by`, `role` and `email` are those of the
    caller as the gateway knows them.
    """

    layer_id: str
    decision: Decision
    note: str = ""
    iteration: tuple[int, ...] = ()
    role: str = ""
    email: str = ""


class CancelPlay(Deed, frozen=True, kw_only=True):
    """End the play now."""


class HoldPlay(Deed, frozen=True, kw_only=True):
    """Pause the play: what runs may end, nothing else begins."""

    note: str = ""


class ResumePlay(Deed, frozen=True, kw_only=True):
    """Let a held play go on."""

    note: str = ""


class RetryPlay(Deed, frozen=True, kw_only=True):
    """Run a failed play again from where it failed; `after` is the stream sequence of the end that is meant."""

    after: int
    note: str = ""


class RevivePlay(Command, frozen=True, kw_only=True):
    """Take over a play whose driver has not been heard of (the sweep's command, D5).

    `epoch` is set by a driver that stops and hands its play over: whoever finds it in that epoch need not ask whether
    the driver lives. 0 asks first.
    """

    epoch: int = 0


class CarryOverPlay(Command, frozen=True, kw_only=True):
    """Write the state of a parked play anew, before the log forgets its history (design D16)."""


PlayCommand = (
    StartPlay
    | WakePlay
    | ApprovePlay
    | CancelPlay
    | HoldPlay
    | ResumePlay
    | RetryPlay
    | RevivePlay
    | CarryOverPlay
    | ChildEnded
    | ReleasePlay
)
