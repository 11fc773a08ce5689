"""Given a play that commands and outcomes brought about, when something comes, then this follows.

A `Scene` plays the driver's part without a driver: it applies what `receive`, `advance` and the outcomes of steps say,
commit by commit, so that no history in a test is typed by hand.
"""

from datetime import datetime, timedelta
from typing import Any

from libs.common.codec import Commit
from libs.common.messages import play as m
from services.executor import steps
from services.executor.plan import Plan
from services.executor.play import Play, evolve_commit
from services.executor.play_commands import Received, receive
from services.executor.play_levels import Iteration, levels
from services.executor.play_order import Todo, advance
from services.executor.play_outcomes import started, waiting
from services.executor.play_retry import restarts
from tests.builders import AT, a_start

DONE = steps.Done(None, 4)
FAILED = steps.Failed("it broke", "MODULE_ERROR", final=False)


class Scene:
    """One play and its log."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.play = Play()
        self.now = AT
        self.commits: list[Commit] = []
        self._sequence = 0

    # ── given ───────────────────────────────────────────────────────────────────────────────────────

    def started(self, **fields: Any) -> "Scene":
        """Let the play have begun, driven by the delivery 1 of the command at sequence 1."""
        self.send(a_start(**fields), id="start", sequence=1)
        return self

    def running(self, *refs: str, at: Iteration = ()) -> "Scene":
        """Let these steps have started; `at` is the item of their loops."""
        for ref in refs:
            self.commit((started(self.plan.steps[ref].at(at), self.now, 1),))
        return self

    def ended(self, ref: str, outcome: steps.Outcome = DONE, *, at: Iteration = ()) -> "Scene":
        """Let an attempt of this step have ended so."""
        self.commit((steps.event_of(outcome, self.plan.steps[ref].at(at), self.play, self.now),))
        return self

    def waiting(
        self, ref: str, kind: m.WaitKind, *, until: datetime | None = None, at: Iteration = ()
    ) -> "Scene":
        """Let this step wait."""
        self.commit((waiting(self.plan.steps[ref].at(at), self.now, kind, until=until),))
        return self

    def parked(self, wait_id: str = "w1", *, until: datetime | None = None) -> "Scene":
        """Let the driver have left the play in WAIT."""
        self.commit((m.PlayWaiting(at=self.now, wait_id=wait_id, until=until),))
        return self

    def later(self, seconds: float) -> "Scene":
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    def settled(self) -> "Scene":
        """Let all that follows by itself have happened: every ready step runs and is done."""
        while not self.play.ended:
            todo = self.follow()
            for step in todo.ready:
                self.ended(step.ref, at=step.iteration)
            if not todo.events and not todo.ready:
                return self
        return self

    # ── when ────────────────────────────────────────────────────────────────────────────────────────

    def receive(
        self, command: m.PlayCommand, *, id: str = "x", sequence: int = 99, delivery: int = 1, **rest: Any
    ) -> Received:
        """Return what a command means now."""
        return receive(self.play, command, id=id, driver=m.Driver(sequence, delivery), **rest)

    def send(
        self, command: m.PlayCommand, *, id: str = "x", sequence: int = 99, delivery: int = 1
    ) -> Received:
        """Receive a command and commit what it says."""
        received = self.receive(command, id=id, sequence=sequence, delivery=delivery)
        if received.events:
            self.commit(received.events, cause=id)
        return received

    def retry(self, id: str, *, sequence: int) -> Received:
        """Let somebody retry the end that the play came to."""
        command = m.RetryPlay(at=self.now, after=self._sequence)
        refs = restarts(self.play, self.plan)
        received = self.receive(command, id=id, sequence=sequence, restarts=refs)
        if received.events:
            self.commit(received.events, cause=id)
        return received

    def look(self) -> Todo:
        """Return what follows by itself."""
        return advance(self.play, self.plan, self.now)

    def follow(self) -> Todo:
        """Commit what follows by itself, and return it."""
        todo = self.look()
        if todo.events:
            self.commit(tuple(todo.events))
        return todo

    def commit(self, events: tuple[m.PlayEvent, ...], *, cause: str = "start") -> None:
        """Append a commit."""
        self._sequence += 1
        commit = Commit(
            id=f"c{self._sequence}",
            sequence=self._sequence,
            events=events,
            source="/",
            subject="p",
            time=self.now,
            correlation_id="p",
            causation_id=cause,
            traceparent="",
        )
        self.commits.append(commit)
        evolve_commit(self.play, commit)


def given(plan: Plan) -> Scene:
    """Return a scene with a play of this plan that has not begun."""
    return Scene(plan)


def names(events: Any) -> list[str]:
    """Return the kinds of these events."""
    return [type(event).__name__ for event in events]


def without_memory(play: Play) -> Play:
    """Return the play without what `advance` remembers of earlier looks, which is derived and not in the log."""
    for _, level in levels(play):
        level.cursor = 0
    return play
