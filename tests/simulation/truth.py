"""What really happened, seen at the server the moment it became a fact, and the laws it must keep.

I1 every accepted play ends or waits visibly, every command is acknowledged   I2 nothing after the end
I3 an effect that is durably done never runs again, and runs once plus once for each fault   I4 one driver per epoch
I5 no accepted command is dropped   I6 each fact once
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from libs.common.codec import Commit, UnknownType, decode_commit, decode_message
from libs.common.messages import play as m
from libs.common.messages.approval import has_voted
from libs.common.subjects import PlayKey, parse_play
from services.executor.play import Play, apply, evolve, run_of
from services.executor.play_levels import Iteration, runs
from tests.simulation import memory
from tests.simulation.clockwork import EPOCH, Process, SimLoop
from tests.simulation.items import Items
from tests.simulation.line import Lines
from tests.simulation.operated import Operated
from tests.simulation.server import Observer, Server
from tests.simulation.streams import Kept
from tests.simulation.touched import EffectRun

WOKEN_LATE_S_MAX = 75.0
CANCELLED_LATE_S_MAX = 4.0  # a heartbeat is ack_wait/3 apart, and then there is the abandoned step
CANCELLED_LATE_TROUBLED_S_MAX = 120.0


class Violated(AssertionError):
    """A law was broken; the message names it and the play."""


class Truth(msgspec.Struct, kw_only=True):
    """One play as the log has it, and its commands."""

    key: PlayKey
    play: Play = msgspec.field(default_factory=Play)
    commits: list[Commit] = []
    commands: dict[int, tuple[str, str, Any]] = {}  # by stream sequence: verb, id, command
    ended_refs: dict[str, str] = {}
    retries: set[tuple[str, int]] = set()
    facts: set[tuple[str, str]] = set()
    items: Items = msgspec.field(default_factory=Items)
    operated: Operated = msgspec.field(default_factory=Operated)
    cancelled_at: float | None = None
    timer: str = ""  # the wait whose timer was set last
    newer: list[Kept] = []  # commits that none of the executors can read


class Laws(Observer):
    """Follows the log and raises Violated where it breaks a law."""

    def __init__(self, loop: SimLoop, faults: Counter[str], *, pause_s_max: float) -> None:
        self.loop = loop
        self.faults = faults
        self.plays: dict[str, Truth] = {}
        self.lines = Lines(self.fail)
        self.server: Server | None = None
        self.slowest_wake_s = 0.0
        self.windows = 0
        self.pause_s_max = pause_s_max
        self.touches = 0
        self.commits = 0
        self.commit_hits: dict[int, Callable[[Process], None]] = {}  # by the number of the commit
        self.drives: dict[str, list[Any]] = {}  # by play: those that run and whose process lives
        self.hits: dict[int, Callable[[Process], None]] = {}  # by the number of the touch

    def fail(self, law: str, play_id: str, text: str) -> None:
        """Raise Violated, and end the world with it: an executor may well survive an error in one of its modules."""
        self.loop.fatal = self.loop.fatal or Violated(
            f"{law}: {text} (play {play_id}, at {self.loop.time():.3f} s)"
        )
        raise self.loop.fatal

    # ── what is stored ──────────────────────────────────────────────────────────────────────────────

    def stored(self, kept: Kept) -> None:
        if self.lines.stored(kept):
            return
        key, last = parse_play(kept.subject)
        truth = self.plays.get(key.play_id)
        if truth is None:
            truth = self.plays[key.play_id] = Truth(key=key)
        if kept.subject.startswith("cmd."):
            try:
                envelope = decode_message(kept.data)
            except UnknownType:
                truth.commands[kept.sequence] = (last, "of a newer release", None)
                return
            truth.commands[kept.sequence] = (last, envelope.id, envelope.data)
            if last == "cancel" and truth.cancelled_at is None:
                truth.cancelled_at = self.loop.time()
        elif kept.subject.startswith("tmr."):
            self._timer_set(truth, decode_message(kept.data).data)
        elif kept.subject.startswith("evt."):
            for unread in [*truth.newer, kept]:
                self._commit_stored(truth, unread)

    def _commit_stored(self, truth: Truth, kept: Kept) -> None:
        key, state = parse_play(kept.subject)
        assert self.server is not None
        try:
            read = decode_commit(kept.data, sequence=kept.sequence)
        except UnknownType:
            if truth.newer:
                self.fail("newer", key.play_id, "somebody drives it who cannot read all of its history")
            truth.newer.append(kept)
            return
        if kept in truth.newer:
            truth.newer.remove(kept)
        commit, missing = memory.whole(self.server, read)
        if missing:
            self.fail("D13", key.play_id, f"a commit refers to a value that is not durable: {missing}")
        self._committed(truth, commit, state)

    def _timer_set(self, truth: Truth, wake: m.WakePlay) -> None:
        waits_for_time = truth.play.status == "WAIT" and truth.play.wait_until is not None
        if waits_for_time and truth.timer == truth.play.wait_id != wake.wait_id:
            self.fail("I1", truth.key.play_id, "the timer of the wait at hand was replaced by a stale one")
        truth.timer = wake.wait_id

    def _committed(self, truth: Truth, commit: Commit, state: str) -> None:
        play, play_id = truth.play, truth.key.play_id
        if play.ended:
            truth.operated.check_after_end(truth, commit, partial(self._fail_of, play_id))
        if any(known.id == commit.id for known in truth.commits):
            self.fail("I6", play_id, "one commit twice")
        apply(play, commit.causation_id)
        for event in commit.events:
            self._event(truth, commit, event)
            evolve(play, event)
        if trouble := memory.differs(commit, play):
            self.fail("D16", play_id, trouble)
        truth.commits.append(commit)
        if play.ended and truth.cancelled_at is not None:
            self._cancelled(truth, self.loop.time() - truth.cancelled_at)
        if play.status != state:
            self.fail("subject", play_id, f"a commit on {state} leaves the play in {play.status}")

    def _event(self, truth: Truth, commit: Commit, event: m.PlayEvent) -> None:  # noqa: C901, PLR0912
        play, play_id = truth.play, truth.key.play_id
        fail = partial(self._fail_of, play_id)
        truth.operated.see(play, commit, event, fail)
        if isinstance(event, m.LayerEvent):
            truth.items.see(event, fail)
        match event:
            case m.PlayRetried() | m.RetryDeferred():
                self._retried(truth, event)
            case m.PlayStarted():
                if play.epoch:
                    self.fail("I6", play_id, "started twice")
            case m.PlayResumed():
                if event.epoch != play.epoch + 1:
                    self.fail("I4", play_id, f"epoch {event.epoch} after {play.epoch}")
                self._resumed(truth, event)
            case m.ApprovalDecided(by=""):
                pass  # by its time: one driver may see several of them
            case (
                m.CancelRequested()
                | m.ApprovalDecided()
                | m.ApprovalVoted()
                | m.HoldRequested()
                | m.HoldLifted()
            ):
                self._fact(truth, commit, event)
            case m.LayerCompleted() | m.LayerFailed():
                name = m.run_name(event.ref, event.iteration)
                if name in truth.ended_refs:
                    self.fail("I6", play_id, f"step {name} ended twice")
                truth.ended_refs[name] = type(event).__name__
            case m.LayerRetrying():
                name = m.run_name(event.ref, event.iteration)
                if (name, event.attempt) in truth.retries:
                    self.fail("I6", play_id, f"failure {event.attempt} of step {name} counted twice")
                run = run_of(play, event.ref, event.iteration)
                if event.attempt != (run.attempts if run else 0) + 1:
                    self.fail(
                        "I6",
                        play_id,
                        f"failure {event.attempt} of step {name} after {run and run.attempts}",
                    )
                truth.retries.add((name, event.attempt))
            case m.PlayFailed():
                if play.cancelled_by is not None and event.error_code != "CANCELLED":
                    self.fail("I5", play_id, f"a cancelled play ended by {event.error_code}")
            case m.PlayCompleted():
                if play.cancelled_by is not None:
                    self.fail("I5", play_id, f"a cancelled play ended in {event.state}")
            case _:
                pass

    def _fact(self, truth: Truth, commit: Commit, event: m.PlayEvent) -> None:
        fact = (commit.causation_id, type(event).__name__)
        if fact in truth.facts:
            self.fail("I6", truth.key.play_id, f"the fact of {commit.causation_id} twice")
        truth.facts.add(fact)

    def _retried(self, truth: Truth, event: m.PlayRetried | m.RetryDeferred) -> None:
        """What begins anew may end again, count its failures again, and be cancelled."""
        is_anew = truth.items.begin_anew(event.refs)
        truth.ended_refs = {name: how for name, how in truth.ended_refs.items() if not is_anew(name)}
        truth.retries = {(name, attempt) for name, attempt in truth.retries if not is_anew(name)}
        truth.cancelled_at = None

    def _fail_of(self, play_id: str, law: str, text: str) -> None:
        self.fail(law, play_id, text)

    def _cancelled(self, truth: Truth, took_s: float) -> None:
        f = self.faults
        troubled = f["stall"] or f["crash"] or f["stop"] or f["restart"] or f["read_lost"] or f["append_lost"]
        troubled = troubled or f["append_ack_lost"] or f["append_delayed"] or f["pull_lost"] or f["late"]
        if took_s > (CANCELLED_LATE_TROUBLED_S_MAX if troubled else CANCELLED_LATE_S_MAX):
            self.fail("I1", truth.key.play_id, f"cancelled only after {took_s:.1f} s")

    def _resumed(self, truth: Truth, event: m.PlayResumed) -> None:
        play, play_id = truth.play, truth.key.play_id
        before, now = play.driver, event.driver
        parked = play.status in {"WAIT", "DEFERRED", "ON_HOLD"}
        if parked == (event.reason in {"redelivery", "revive", "resume"}):
            self.fail("I4", play_id, f"resumed for {event.reason} in {play.status}")
        if event.reason == "wake":
            self._woken(truth, play.wait_until)
        if event.reason == "redelivery":
            assert before is not None
            if now.sequence != before.sequence or now.delivery <= before.delivery:
                self.fail("I4", play_id, f"{now} took over from {before}")
        if event.reason in {"redelivery", "revive"} and not self._may_rob(event.reason):
            robbed = [drive for drive in self.drives.get(play_id, []) if drive.epoch == play.epoch]
            if robbed:
                self.fail("I3", play_id, f"a living driver was robbed by {event.reason}: {dict(self.faults)}")

    def _may_rob(self, reason: str) -> bool:
        # Whoever was frozen, or could not reach the server, looks dead; so does one whose answer to a ping was lost.
        f = self.faults
        return bool(
            f["stall"]
            or f["outage"]
            or (reason == "revive" and (f["nudge_lost"] or f["read_lost"] or f["restart"]))
        )

    def _woken(self, truth: Truth, until: datetime | None) -> None:
        if until is None:
            self.fail("timer", truth.key.play_id, "woken from a wait that had no time")
            return
        late_s = self.loop.time() - (until - EPOCH).total_seconds()
        self.slowest_wake_s = max(self.slowest_wake_s, late_s)
        if late_s > WOKEN_LATE_S_MAX + 10 * self.faults["outage"]:
            self.fail("timer", truth.key.play_id, f"woken {late_s:.1f} s late")

    # ── what is acknowledged ────────────────────────────────────────────────────────────────────────

    def acked(self, kept: Kept) -> None:
        key, verb = parse_play(kept.subject)
        truth = self.plays[key.play_id]
        play = truth.play
        _, id, command = truth.commands[kept.sequence]
        if play.ended:
            return
        drives = play.driver is not None and play.driver.sequence == kept.sequence
        if drives and play.status == "RUN":
            self.fail("I1", key.play_id, f"{verb} acknowledged while it drives")
        if (
            drives
            and play.status == "WAIT"
            and play.wait_until is not None
            and not self._has_timer(truth, kept.sequence)
        ):
            self.fail("I1", key.play_id, "parked without a timer")
        assert self.server is not None
        if memory.was_sent_anew(self.server, truth.commands, kept):
            # The new message is still to be acknowledged, and held to what follows.
            return
        if not play.begun:
            if verb == "start" or (
                verb in {"cancel", "hold"} and any(v == "start" for v, _, _ in truth.commands.values())
            ):
                self.fail("I5", key.play_id, f"{verb} acknowledged before the play began")
            return
        truth.operated.check_acked(truth, kept.sequence, verb, id, partial(self._fail_of, key.play_id))
        # What the end absorbed before a retry is not held against the play that goes on.
        if kept.sequence > truth.operated.retried_at:
            self._check_decided(truth, verb, id, command)

    def _check_decided(self, truth: Truth, verb: str, id: str, command: Any) -> None:
        play, play_id = truth.play, truth.key.play_id
        if verb == "cancel" and play.cancelled_by is None and id not in play.applied:
            self.fail("I5", play_id, "cancel acknowledged, and forgotten")
        if verb == "wake" and play.status == "WAIT" and command.wait_id == play.wait_id:
            self.fail("I1", play_id, "the wake of the wait at hand acknowledged, and forgotten")
        if verb == "approve" and id not in play.applied:
            for _, iteration, run in runs(play):
                meant = (command.layer_id, command.iteration) == (run.layer_id, iteration)
                waits = run.waits_for == "approval" and run.approval is None and meant
                waits = waits and not has_voted(run.gate, command.by)
                if waits and command.at > self._waiting_since(truth, run.layer_id, iteration):
                    self.fail("I5", play_id, "approval of a waiting step acknowledged, and forgotten")

    def _waiting_since(self, truth: Truth, layer_id: str, iteration: Iteration) -> datetime:
        return max(
            event.at
            for commit in truth.commits
            for event in commit.events
            if isinstance(event, m.LayerWaiting)
            and (event.layer_id, event.iteration) == (layer_id, iteration)
        )

    def _has_timer(self, truth: Truth, sequence: int) -> bool:
        assert self.server is not None
        timer = self.server.timer_of(truth.key.timer)
        if timer is not None and decode_message(timer.data).data.wait_id == truth.play.wait_id:
            return True
        if memory.is_unacked(self.server, truth.commands, truth.commits[-1].causation_id, besides=sequence):
            return True  # whoever appended last, as to carry the play over, sets it before he acknowledges
        return any(
            verb == "wake" and c.wait_id == truth.play.wait_id for verb, _, c in truth.commands.values()
        )

    def heard(self, process: Process, *, commits: bool) -> None:
        self.touches += 1
        if self.touches in self.hits:
            self.hits[self.touches](process)
        if commits:
            self.commits += 1
            if self.commits in self.commit_hits:
                self.commit_hits[self.commits](process)

    def effect_begins(self, run: EffectRun, runs: list[EffectRun]) -> None:
        """Check I3 and I4 for a run that starts now."""
        truth = self.plays[run.play_id]
        if truth.play.epoch > run.epoch and run.process.last_stall_s <= self.pause_s_max:
            # The window that stays: a pause too short to be noticed, and a redelivery that was under way before it.
            self.windows += 1
            return
        if run.name in truth.ended_refs:
            self.fail("I3", run.play_id, f"step {run.name} runs although its end is durable")
        layer = run_of(truth.play, run.ref, run.iteration)
        if layer is None or layer.state != "RUN":
            state = layer.state if layer else "NEW"
            self.fail(
                "I3", run.play_id, f"step {run.name} runs although its start is not durable (it is {state})"
            )
        if (run.name, run.attempt) in truth.retries:
            self.fail(
                "I3",
                run.play_id,
                f"attempt {run.attempt} of step {run.name} runs although its failure is durable",
            )
        since = truth.operated.retried_epoch
        others = [r for r in runs if r is not run and r.play_id == run.play_id and r.epoch >= since]
        same = [r for r in others if r.name == run.name and r.attempt == run.attempt]
        if any(r.epoch == run.epoch for r in same):
            self.fail(
                "I3", run.play_id, f"attempt {run.attempt} of step {run.name} runs twice in epoch {run.epoch}"
            )
        if len(same) > self.excuses():
            text = f"attempt {run.attempt} of step {run.name} runs {len(same) + 1} times: {dict(self.faults)}"
            self.fail("I3", run.play_id, text)
        if any(r.epoch == run.epoch and r.drive is not run.drive for r in others):
            self.fail("I4", run.play_id, f"two drivers in epoch {run.epoch}")

    def excuses(self) -> int:
        """Return how often an effect may run again: each of these can take a play from a living driver."""
        f = self.faults
        return f["crash"] + f["stall"] + f["stop"] + f["outage"] + f["revive"]

    def unfinished(self) -> list[str]:
        """Return what is still to be done, as sentences; empty at rest (I1)."""
        assert self.server is not None
        open_plays = []
        for truth in self.plays.values():
            play = truth.play
            started = any(verb == "start" for verb, _, _ in truth.commands.values())
            waits = play.status == "WAIT" and play.wait_until is None
            if started and not play.ended and not (waits and self.pending_approvals(truth)):
                open_plays.append(f"play {truth.key.play_id} is {play.status} in epoch {play.epoch}")
        unacked = [sequence for consumer in self.server.consumers.values() for sequence in consumer.unacked]
        messages = self.server.streams["PLAYS_0"].messages
        open_plays += [f"{messages[at].subject} at {at} is not acknowledged" for at in unacked]
        return [*open_plays, *self.lines.unfinished()]

    def pending_approvals(self, truth: Truth) -> list[tuple[str, Iteration]]:
        """Return the layers of a play that wait for a decision, and for which item."""
        return [
            (run.layer_id, iteration)
            for _, iteration, run in runs(truth.play)
            if run.state == "WAIT" and run.waits_for == "approval" and run.approval is None
        ]
