"""A play's bookkeeping, pure: what is known of it, and what each event changes.

One driver owns a Play and evolves it in place; `fold` makes a new one from a history. The rules are in `play_commands`
(what a command means) and `play_order` (what follows by itself).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, assert_never

import msgspec

from libs.common.codec import Commit
from libs.common.messages import play as m
from libs.expressions import StepView

# The first event of a play that has a history.
BEGINNINGS = (m.PlayStarted,)
# A command's copies come within the bus's duplicate window or, redelivered, while it is not acknowledged. One that
# came after so many others would still meet the wait, the gate or the epoch it was meant for closed.
APPLIED_MAX = 10_000


class LayerRun(msgspec.Struct):
    """How far one step is."""

    layer_id: str
    order: int
    state: m.LayerState = "NEW"
    attempts: int = 0  # attempts that ended in failure
    announced: bool = False
    started_at: datetime | None = None
    waits_for: str = ""  # approval, delay, defer or retry while in WAIT
    until: datetime | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    approval: dict[str, Any] | None = None
    deferred: bool = False
    read: tuple[str, ...] = ()  # what its args read of KV, encrypted

    @property
    def ended(self) -> bool:
        """Tell whether nothing can happen to this step any more."""
        return self.state in m.TERMINAL


class Play(msgspec.Struct):
    """All that deciding about a play needs to know. The empty play has not begun."""

    status: m.PlayState = "NEW"
    definition: int = 0
    flow_version: int = 0
    args: dict[str, Any] = {}
    seed: str = ""
    epoch: int = 0
    driver: m.Driver | None = None
    started_at: datetime | None = None
    layers: dict[str, LayerRun] = {}
    prev: dict[str, Any] = {}
    applied: dict[str, None] = {}  # the ids of the newest APPLIED_MAX commands, oldest first
    wait_id: str = ""
    wait_until: datetime | None = None
    cancelled_by: str | None = None
    resumes: int = 0
    failed: set[str] = set()
    cursor: int = 0  # groups before this one have ended; a memory of `advance`, derived

    @property
    def begun(self) -> bool:
        """Tell whether the play has a history."""
        return self.epoch > 0

    @property
    def ended(self) -> bool:
        """Tell whether the play is in a terminal state."""
        return self.status in m.TERMINAL


def fold(commits: Iterable[Commit]) -> Play:
    """Return the state after these commits."""
    play = Play()
    for commit in commits:
        evolve_commit(play, commit)
    return play


def evolve_commit(play: Play, commit: Commit) -> None:
    """Record one commit: its events, and the command that caused it (R10)."""
    apply(play, commit.causation_id)
    for event in commit.events:
        evolve(play, event)


def apply(play: Play, command_id: str) -> None:
    """Remember that a command was applied; the oldest is forgotten when there are too many."""
    play.applied[command_id] = None
    if len(play.applied) > APPLIED_MAX:
        del play.applied[next(iter(play.applied))]


def evolve(play: Play, event: m.PlayEvent) -> None:  # noqa: C901, PLR0915 - one branch an event, nothing else
    """Record one event. Accepts every event ever stored and refuses nothing."""
    # The first branch is by far the most frequent one.
    match event:
        case m.LayerCompleted():
            _ended(play, event, state=event.state, out=event.out)
        case m.PlayStarted():
            _started(play, event)
        case m.PlayResumed():
            play.status, play.epoch, play.driver = "RUN", event.epoch, event.driver
            play.wait_id, play.wait_until = "", None
            play.resumes = play.resumes + 1 if event.reason in {"redelivery", "revive"} else 0
        case m.PlayWaiting():
            play.status, play.wait_id, play.wait_until = "WAIT", event.wait_id, event.until
        case m.CancelRequested():
            play.cancelled_by = event.by
        case m.ApprovalDecided():
            run = _run(play, event)
            run.approval = {
                "decision": event.decision,
                "note": event.note,
                "by": event.by,
                "at": event.at.isoformat().replace("+00:00", "Z"),
            }
        case m.LayerStarted():
            run = _run(play, event)
            run.state, run.announced, run.until, run.waits_for = "RUN", True, None, ""
            run.started_at = run.started_at or event.at
            run.read = event.read or run.read
            play.resumes = 0
        case m.LayerWaiting():
            run = _run(play, event)
            run.state, run.waits_for, run.until, run.out = "WAIT", event.kind, event.until, event.out
            run.deferred = run.deferred or event.kind == "defer"
            run.started_at = run.started_at or event.at
            play.resumes = 0
        case m.LayerRetrying():
            run = _run(play, event)
            run.state, run.waits_for, run.until, run.attempts = "WAIT", "retry", event.until, event.attempt
            run.error, run.error_code = event.error, event.error_code
            run.read = event.read or run.read
            play.resumes = 0
        case m.LayerFailed():
            play.failed.add(event.ref)
            _ended(play, event, state="FAIL", out=None)
        case m.PlayCompleted():
            play.status = event.state
        case m.PlayFailed():
            play.status = "FAIL"
        case m.PlaySnapshot():
            return
        case _:
            assert_never(event)


def _started(play: Play, event: m.PlayStarted) -> None:
    play.status = "RUN"
    play.definition, play.flow_version = event.definition, event.flow_version
    play.args, play.seed = event.args, event.seed
    play.epoch, play.driver, play.started_at = event.epoch, event.driver, event.at
    play.prev = {"args": event.args}


def _run(play: Play, event: m.LayerEvent) -> LayerRun:
    run = play.layers.get(event.ref)
    if run is None:
        run = play.layers[event.ref] = LayerRun(event.layer_id, event.order)
    return run


def _ended(play: Play, event: m.LayerCompleted | m.LayerFailed, *, state: m.LayerState, out: Any) -> None:
    run = _run(play, event)
    run.state, run.out, run.until, run.waits_for, run.read = state, out, None, "", ()
    run.error, run.error_code = event.error, event.error_code
    run.started_at = event.started_at
    # A skipped or filtered step has no output; its state can still be asked for (spec flow8 sections 6 and 7).
    play.prev[event.ref] = StepView(out=out, state=state, error=event.error, approval=run.approval)
    play.resumes = 0
