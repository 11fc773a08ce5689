"""What plays that people hold, retry and vote on must keep, by the log alone.

A held play begins nothing and is un-parked by a resume or a cancel only; an end is retried at most once, by a command
that names it; an approval is decided once, by enough different people or by its time, and never before that.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from libs.common.codec import Commit
from libs.common.messages import play as m
from libs.common.messages.approval import Gate, has_voted
from services.executor.play import Play, run_of

if TYPE_CHECKING:
    from tests.simulation.truth import Truth

Fail = Callable[[str, str], None]
UNPARKS_HELD = {"lifted", "cancel"}


class Operated:
    """Follows what people do to one play."""

    def __init__(self) -> None:
        self.retried_epoch = 0
        self.retried_at = 0  # the stream sequence of the newest retry
        self.hold_at = 0  # of the newest hold
        self.lifted_at = 0  # of the newest resume
        self._retried: set[int] = set()

    # ── what is stored ──────────────────────────────────────────────────────────────────────────────

    def check_after_end(self, truth: "Truth", commit: Commit, fail: Fail) -> None:
        """Check a commit of a play that has ended: a retry of this very end, once."""
        first, end = commit.events[0], truth.commits[-1].sequence
        if not isinstance(first, m.PlayRetried | m.RetryDeferred) or truth.play.status != "FAIL":
            fail("I2", f"{[type(e).__name__ for e in commit.events]} after {truth.play.status}")
            return
        meant = [command.after for _, id, command in truth.commands.values() if id == commit.causation_id]
        if meant[:1] != [end]:
            fail("I6", f"the end at {end} is retried by {commit.causation_id}, which means {meant}")
        if end in self._retried:
            fail("I6", f"the end at {end} is retried twice")
        self._retried.add(end)

    def see(self, play: Play, commit: Commit, event: m.PlayEvent, fail: Fail) -> None:
        """Take in one event of a play as it was before it; call `fail` with the law that it breaks."""
        match event:
            case m.HoldRequested():
                self.hold_at = commit.sequence
            case m.HoldLifted():
                self.lifted_at = commit.sequence
            case m.PlayResumed() if play.status == "DEFERRED":
                # In line it ran in no epoch of its own.
                self.retried_epoch = event.epoch
            case m.PlayResumed() if play.status == "ON_HOLD" and event.reason not in UNPARKS_HELD:
                fail("hold", f"a held play is driven again for {event.reason}")
            case m.PlayWaiting() if play.status != "RUN":
                fail("I6", f"parked while it is {play.status}")
            case m.PlayRetried() | m.RetryDeferred():
                self._retried_now(play, commit, event, fail)
            case m.ApprovalDecided() | m.ApprovalVoted() | m.ApprovalReminded() | m.ApprovalEscalated():
                self._approval(play, event, fail)
            case _:
                pass
        if isinstance(event, m.LayerEvent):
            self._held(play, commit, event, fail)

    def _retried_now(
        self, play: Play, commit: Commit, event: m.PlayRetried | m.RetryDeferred, fail: Fail
    ) -> None:
        if not play.ended:
            fail("I6", f"a play in {play.status} is retried")
        epoch = event.epoch if isinstance(event, m.PlayRetried) else play.epoch + 1
        if epoch != play.epoch + 1:
            fail("I4", f"epoch {epoch} after {play.epoch}")
        if event.number != play.retries + 1:
            fail("I6", f"retry {event.number} after {play.retries}")
        self.retried_epoch, self.retried_at = epoch, commit.sequence

    def _held(self, play: Play, commit: Commit, event: m.LayerEvent, fail: Fail) -> None:
        """Nothing begins and nothing goes on by itself while a play is held, unless all of it ends."""
        if play.hold is None or isinstance(commit.events[-1], m.PlayFailed):
            return
        by_people = isinstance(event, m.ApprovalDecided | m.ApprovalVoted) and bool(commit.causation_id)
        run = run_of(play, event.ref, event.iteration)
        if not by_people and (run is None or run.state != "RUN"):
            fail("hold", f"{type(event).__name__} of {event.ref} in a held play")

    def _approval(
        self,
        play: Play,
        event: Any,
        fail: Fail,
    ) -> None:
        run = run_of(play, event.ref, event.iteration)
        kind = type(event).__name__
        if run is None or run.waits_for != "approval":
            fail("12", f"{kind} of step {event.ref}, which waits for none")
            return
        if run.approval is not None:
            fail("12", f"{kind} of step {event.ref} after its decision")
        if run.gate is not None:
            self._gate(run.gate, event, fail)

    def _gate(self, gate: Gate, event: Any, fail: Fail) -> None:
        """Check an event about a pending approval that has rules; `gate` is how it was before."""
        new = [vote for vote in event.gate.votes if vote not in gate.votes]
        if any(has_voted(gate, vote.by) for vote in new):
            fail("12", f"{new} votes once more on step {event.ref}")
        match event:
            case m.ApprovalDecided(by=by, gate=Gate(votes=votes)) if by:
                approved = sum(vote.decision == "approved" for vote in votes)
                if event.decision == "approved" and approved < gate.count:
                    fail("12", f"step {event.ref} is approved by {approved} of {gate.count}")
            case m.ApprovalDecided() | m.ApprovalEscalated():
                if gate.timeout_at is None or event.at < gate.timeout_at:
                    fail(
                        "12", f"{type(event).__name__} of step {event.ref} before its time {gate.timeout_at}"
                    )
            case m.ApprovalReminded():
                if gate.remind_at is None or event.at < gate.remind_at:
                    fail("12", f"step {event.ref} is reminded of before {gate.remind_at}")
            case _:
                pass

    # ── what is acknowledged ────────────────────────────────────────────────────────────────────────

    def check_acked(self, truth: "Truth", sequence: int, verb: str, id: str, fail: Fail) -> None:
        """Check that a hold or a resume that is acknowledged was not forgotten."""
        play = truth.play
        if id in play.applied or sequence < self.retried_at:
            return
        started = any(v == "start" and at < sequence for at, (v, _, _) in truth.commands.items())
        if verb == "hold" and started and play.hold is None and self.lifted_at < sequence:
            fail("I5", "hold acknowledged, and forgotten")
        if verb == "resume" and play.hold is not None and self.hold_at < sequence:
            fail("I5", "resume acknowledged, and forgotten")
