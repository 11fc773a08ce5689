"""Plays: the commands people and clocks send, and the facts executors record.

The type names on the wire are in `codec`. Every event carries `at`; nothing here asks for time or chance (D8).
"""

# ruff: noqa: PLC0414 - everybody says `play.StartPlay`, wherever it is written
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from libs.common.messages import approval
from libs.common.messages.approval import Gate
from libs.common.messages.payload import PayloadRef
from libs.common.messages.play_commands import (
    ApprovePlay as ApprovePlay,
    CancelPlay as CancelPlay,
    CarryOverPlay as CarryOverPlay,
    ChildEnded as ChildEnded,
    ChildPlay as ChildPlay,
    Command as Command,
    HoldPlay as HoldPlay,
    Parent as Parent,
    PlayCommand as PlayCommand,
    PlayState as PlayState,
    ReleasePlay as ReleasePlay,
    Replay as Replay,
    ResumePlay as ResumePlay,
    RetryPlay as RetryPlay,
    RevivePlay as RevivePlay,
    StartPlay as StartPlay,
    Trigger as Trigger,
    WakePlay as WakePlay,
)

LayerState = Literal["NEW", "RUN", "DONE", "FAIL", "SKIP", "FILTERED", "WAIT", "DEFERRED"]
WaitKind = Literal["approval", "delay", "defer", "child", "kv", "kv-filters"]
Decision = approval.Decision
# `resume` is a driver that hands over, `lifted` the end of a hold, `released` a retry that has waited for a slot.
ResumeReason = Literal[
    "redelivery", "wake", "approval", "cancel", "revive", "resume", "child", "lifted", "released"
]

PLAY_STATES: tuple[PlayState, ...] = (
    "NEW", "RUN", "DONE", "FAIL", "SKIP", "FILTERED", "DEFERRED", "WAIT", "ON_HOLD",
)  # fmt: skip
TERMINAL: frozenset[str] = frozenset({"DONE", "FAIL", "SKIP", "FILTERED"})
# What may be big, and then travels by reference: the field holds its default, `payloads` says where the value lies.
BIG_FIELDS = ("args", "out", "items", "play")


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A fact: past tense, never changed."""

    at: datetime
    payloads: dict[str, PayloadRef] | None = None


class Driver(msgspec.Struct, frozen=True, rename="camel"):
    """The driving command of a play: its stream sequence and the delivery that drives (D5)."""

    sequence: int
    delivery: int


def run_name(ref: str, iteration: tuple[int, ...]) -> str:
    """Return what tells one run of a step from all others of its play: `<ref>`, in a loop `<ref>:<item>[.<item>]`."""
    return f"{ref}:{'.'.join(map(str, iteration))}" if iteration else ref


def shown_iteration(iteration: Sequence[int]) -> int | list[int] | None:
    """Return an iteration as people see it: the item's number, in nested loops a list, outside of loops null."""
    match list(iteration):
        case []:
            return None
        case [number]:
            return number
        case numbers:
            return numbers


class Hold(msgspec.Struct, frozen=True, rename="camel"):
    """Who holds a play, since when, and why."""

    at: datetime
    by: str = ""
    note: str = ""


# ── events ──────────────────────────────────────────────────────────────────────────────────────────


class PlayStarted(Event, frozen=True, kw_only=True):
    """The play began: what it runs, with what, and who drives it."""

    definition: int
    flow_version: int
    driver: Driver
    epoch: int = 1
    requested_at: datetime | None = None
    args: dict[str, Any] = {}
    trigger: Trigger = "api"
    by: str = ""
    seed: str = ""
    idempotency_key: str = ""
    parent_play_id: str = ""
    schedule_id: str = ""
    parent: Parent | None = None
    depth: int = 0
    replay: Replay | None = None
    isolated: bool = False
    lanes: tuple[str, ...] = ()


class PlayDeferred(Event, frozen=True, kw_only=True):
    """The play waits for a slot of these lanes, at this place in line, and will begin with `start` and `args`."""

    start: StartPlay
    args: dict[str, Any] = {}
    lanes: tuple[str, ...] = ()
    position: int = 0


class ChildReturned(Event, frozen=True, kw_only=True):
    """The play that a step waits for, or waited for, has ended."""

    child_play_id: str
    state: PlayState
    out: Any = None
    error: str | None = None


class PlayResumed(Event, frozen=True, kw_only=True):
    """A driver took the play over: after a wait, or from one that was lost. Raises the epoch (R5)."""

    epoch: int
    driver: Driver
    reason: ResumeReason


class PlayWaiting(Event, frozen=True, kw_only=True):
    """Nothing can run until a time or a decision comes: the play is parked and nobody drives it.

    `ref`, `layer_id` and `iteration` name the step that it waits for, a gate before all others.
    """

    wait_id: str
    until: datetime | None = None
    ref: str | None = None
    layer_id: str | None = None
    iteration: tuple[int, ...] = ()


class HoldRequested(Event, frozen=True, kw_only=True):
    """Somebody asked for a pause: what runs may end, nothing else begins. A play in line keeps its place."""

    by: str = ""
    note: str = ""


class PlayHeld(Event, frozen=True, kw_only=True):
    """Nothing runs any more: the play is parked on hold and nobody drives it."""


class HoldLifted(Event, frozen=True, kw_only=True):
    """Somebody let a held play go on; one `in_line` for a slot still waits for that."""

    by: str = ""
    note: str = ""
    in_line: bool = False


class PlayRetried(Event, frozen=True, kw_only=True):
    """A failed play runs again, with slots of these lanes: the only event after an end, beside RetryDeferred.

    Raises the epoch (R5). `refs` are the steps that begin anew; what the others put out is kept. It is the `number`-th
    retry of the play.
    """

    epoch: int
    driver: Driver
    number: int = 1
    refs: tuple[str, ...] = ()
    by: str = ""
    note: str = ""
    lanes: tuple[str, ...] = ()


class RetryDeferred(Event, frozen=True, kw_only=True):
    """A failed play is to run again, and waits for a slot of these lanes, at this place in line; nobody drives it.

    The rest is as in PlayRetried. A PlayResumed (`released`) follows when it has its slot.
    """

    number: int = 1
    refs: tuple[str, ...] = ()
    by: str = ""
    note: str = ""
    lanes: tuple[str, ...] = ()
    position: int = 0


class CancelRequested(Event, frozen=True, kw_only=True):
    """Somebody asked for the end of the play."""

    by: str = ""


class LayerEvent(Event, frozen=True, kw_only=True):
    """A fact about one step; `order` is its place among the flow's steps (by index, then as listed).

    `iteration` has the number of the item in each loop around the step, the outermost first; empty outside of loops.
    """

    ref: str
    layer_id: str
    order: int = 0
    iteration: tuple[int, ...] = ()


class ApprovalDecided(LayerEvent, frozen=True, kw_only=True):
    """A pending approval was decided; `by` is empty when its time was over."""

    decision: Decision
    note: str = ""
    by: str = ""
    gate: Gate | None = None


class ApprovalVoted(LayerEvent, frozen=True, kw_only=True):
    """Somebody approved, and more have to: the last of the gate's votes."""

    gate: Gate


class ApprovalEscalated(LayerEvent, frozen=True, kw_only=True):
    """A pending approval was not decided in time: others may decide it now, too."""

    gate: Gate


class ApprovalReminded(LayerEvent, frozen=True, kw_only=True):
    """A pending approval still waits: whoever may decide it should know."""

    gate: Gate


class LayerStarted(LayerEvent, frozen=True, kw_only=True):
    """A step with effects is about to run; durable before its first byte leaves (D6).

    `read` is what its args read of KV, encrypted: every attempt has the same args.
    """

    attempt: int = 1
    read: tuple[str, ...] = ()


class LayerWaiting(LayerEvent, frozen=True, kw_only=True):
    """A step waits: for a decision, for another play, or until a time.

    A delay ends with `out` when the time has come; who waits for a play, started with `args`, gives it up at
    `until`. With `kv` or `kv-filters` it waits for the store, whose entries its args or filters read.
    """

    kind: WaitKind
    until: datetime | None = None
    out: Any = None
    child: ChildPlay | None = None
    args: dict[str, Any] = {}
    gate: Gate | None = None


class LayerRetrying(LayerEvent, frozen=True, kw_only=True):
    """An attempt failed and another will follow at `until`; `read` as in LayerStarted."""

    attempt: int
    error: str
    error_code: str
    until: datetime
    read: tuple[str, ...] = ()


class LayerCompleted(LayerEvent, frozen=True, kw_only=True):
    """A step ended well: DONE with its output, SKIP, or FILTERED without having run.

    `announced` tells whether a LayerStarted was stored before; a pure step has none (docs/bus.md). `reused` tells that
    a replay took it over from the play it repeats.
    """

    state: LayerState
    out: Any = None
    started_at: datetime | None = None
    attempts: int = 1
    announced: bool = False
    error: str | None = None
    error_code: str | None = None
    reused: bool = False


class LayerFailed(LayerEvent, frozen=True, kw_only=True):
    """A step ended in failure after its last attempt; `out` is what the attempt left all the same."""

    error: str
    error_code: str
    started_at: datetime | None = None
    attempts: int = 1
    announced: bool = False
    out: Any = None
    reused: bool = False


class LayerIterating(LayerEvent, frozen=True, kw_only=True):
    """An iterator begins to hand out its items, `batch_size` at once; it ends with a LayerCompleted.

    `collects` names what aggregators will ask of the items: `<ref>` or `<ref>.<field>`.
    """

    items: list[Any] = []
    batch_size: int = 1
    collects: tuple[str, ...] = ()


class ItemEnded(LayerEvent, frozen=True, kw_only=True):
    """All steps of one item have ended; `ref` is the iterator's, the last number of `iteration` the item's.

    `failed` tells that a failure in it stands, so that no further batch follows.
    """

    failed: bool = False


class LayerCollected(LayerEvent, frozen=True, kw_only=True):
    """A replay took over what the loop of this iterator gathered: `items`, under a `key` that it `collects`."""

    key: str
    items: list[Any] = []


class PlayCompleted(Event, frozen=True, kw_only=True):
    """The play ended without an unhandled failure; `state` is DONE, SKIP or FILTERED."""

    state: PlayState
    out: Any = None
    started_at: datetime | None = None


class PlayFailed(Event, frozen=True, kw_only=True):
    """The play ended in failure."""

    error: str
    error_code: str
    ref: str | None = None
    layer_id: str | None = None
    started_at: datetime | None = None


class PlaySnapshot(Event, frozen=True, kw_only=True):
    """The play's whole state after this commit, always its last event: who reads the play may begin here.

    `play` is the executors' own affair, in the shape that `version` names; `bytes` is its size as JSON. For readers
    who find nothing before it: `started` tells how the play began, without its args, `gates` which steps wait for a
    decision, and some parts of `play` are promised (docs/bus.md).
    """

    started: PlayStarted | None = None
    gates: tuple[LayerWaiting, ...] = ()
    version: int
    bytes: int = 0
    play: Any = None


PlayEvent = (
    PlayStarted
    | PlayResumed
    | PlayDeferred
    | PlayWaiting
    | ChildReturned
    | HoldRequested
    | PlayHeld
    | HoldLifted
    | PlayRetried
    | RetryDeferred
    | CancelRequested
    | ApprovalDecided
    | ApprovalVoted
    | ApprovalEscalated
    | ApprovalReminded
    | LayerStarted
    | LayerWaiting
    | LayerRetrying
    | LayerCompleted
    | LayerFailed
    | LayerIterating
    | ItemEnded
    | LayerCollected
    | PlayCompleted
    | PlayFailed
    | PlaySnapshot
)
