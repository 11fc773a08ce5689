"""What must be true of plays that call plays when a world has come to rest, by the log alone (ADR 31).

Each call starts one play, each result reaches the step that waits for it, whoever is waited for no longer is told to
end, and each failure that has an error flow starts it once.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from libs.common.messages import play as m
from services.executor.drive import LINGER_S, PARK_ABOVE_S
from services.executor.play import Play, evolve
from services.executor.play_levels import runs
from tests.simulation.truth import Truth, Violated

if TYPE_CHECKING:
    from tests.simulation.world import World

# How long the news of an end may take through crashes, stalls and redeliveries.
TOLD_LATE_S_MAX = 120.0
# When nothing goes wrong, a play that waits for others alone is parked after its linger, or a timer of it is due soon.
PARKED_LATE_S_MAX = PARK_ABOVE_S + LINGER_S + 0.5

_MAKES_DRIVER = (m.PlayStarted, m.PlayResumed, m.PlayRetried)


class Kin:
    """The families of a world at rest."""

    def __init__(self, world: "World") -> None:
        self.flows = [*world.plan.flows, *world.plan.subflows]
        self.plays = world.laws.plays
        self.children: dict[str, list[Truth]] = defaultdict(list)
        self.errors: Counter[str] = Counter()
        self.calls = self.left = 0
        self.troubled, self.broken = world.plan.troubled, world.plan.broken
        for truth in self.plays.values():
            start = _start(truth)
            if start is None or not start.parent_play_id:
                continue
            if start.trigger == "error":
                self.errors[start.parent_play_id] += 1
            else:
                self.children[start.parent_play_id].append(truth)

    def check(self) -> None:
        """Raise Violated where a law is broken."""
        for truth in self.plays.values():
            self._starts(truth)
            self._calls(truth)
            self._error_flow(truth)
            if not self.troubled:
                self._parked(truth)
            if not self.broken:
                self._driven_at_once(truth)

    def _driven_at_once(self, truth: Truth) -> None:
        """Check that no command had to come again: whoever stops deals with what has come, and hands plays over."""
        for commit in truth.commits:
            for event in commit.events:
                if isinstance(event, _MAKES_DRIVER) and event.driver.delivery > 1:
                    raise Violated(f"D5: {truth.key.play_id} waited for a redelivery: {event}")

    def _parked(self, truth: Truth) -> None:
        """Check that nobody drives the play while it waits for other plays alone, but for a short while."""
        play = Play()
        for before, commit in pairwise(truth.commits):
            for event in before.events:
                evolve(play, event)
            waited_s = (commit.events[0].at - before.events[-1].at).total_seconds()
            if play.status == "RUN" and _waits_for_plays(play) and waited_s > PARKED_LATE_S_MAX:
                raise Violated(
                    f"I1: {truth.key.play_id} was driven for {waited_s:.1f} s while others ran for it"
                )

    def _starts(self, truth: Truth) -> None:
        start = _start(truth)
        if start is None:
            return
        starts = sum(verb == "start" for verb, _, _ in truth.commands.values())
        if start.parent_play_id and starts != 1:
            raise Violated(f"I6: play {truth.key.play_id} was started by {starts} messages")

    def _calls(self, parent: Truth) -> None:
        play_id = parent.key.play_id
        for ref, started in Counter(_start_of(child).args["by"] for child in self.children[play_id]).items():
            allowed = 1 + sum(name == ref for name, _ in parent.retries)
            if started > allowed:
                raise Violated(f"I6: {allowed} attempts of step {ref} of {play_id} started {started} plays")
        waited: dict[str, str] = {}
        heard: dict[str, m.ChildReturned] = {}
        for commit in parent.commits:
            for event in commit.events:
                match event:
                    case m.LayerWaiting(child=m.ChildPlay() as child):
                        self.calls += 1
                        waited[event.ref] = child.play_id
                    case m.ChildReturned():
                        self._result(play_id, event)
                        heard[event.child_play_id] = event
                    case m.LayerCompleted() | m.LayerFailed() | m.LayerRetrying() if event.ref in waited:
                        child_id = waited.pop(event.ref)
                        self._over(parent, event, child_id, heard)
        if waited:
            raise Violated(f"I1: steps {sorted(waited)} of {play_id} wait for plays although it has ended")

    def _result(self, play_id: str, event: m.ChildReturned) -> None:
        child = self._child(play_id, event.child_play_id).play
        if (event.state, event.out, event.error) != (child.status, child.out, child.error):
            raise Violated(
                f"I6: {play_id} was told {event.state} of {event.child_play_id}, not {child.status}"
            )

    def _over(
        self, parent: Truth, event: m.LayerEvent, child_id: str, heard: dict[str, m.ChildReturned]
    ) -> None:
        """Check the end of a step that waited: by the result of its child, or without it, and then the child knows."""
        child, returned = self._child(parent.key.play_id, child_id), heard.get(child_id)
        if isinstance(event, m.LayerCompleted) and event.state == "DONE":
            told = (
                None
                if returned is None
                else {"state": returned.state, "playId": child_id, "out": returned.out}
            )
            if event.out != told:
                raise Violated(
                    f"I5: step {event.ref} of {parent.key.play_id} ended in {event.out}, not {told}"
                )
            return
        if returned is not None:
            return
        self.left += 1
        self._late_news(parent, event, child)
        later = any(
            isinstance(known, m.ChildReturned) and known.child_play_id == child_id
            for commit in parent.commits
            for known in commit.events
        )
        if not later and not any(verb == "cancel" for verb, _, _ in child.commands.values()):
            raise Violated(f"I5: play {child_id} is not waited for any more, and nobody told it to end")

    def _late_news(self, parent: Truth, event: m.LayerEvent, child: Truth) -> None:
        ended_at = child.commits[-1].events[0].at
        late_s = (event.at - ended_at).total_seconds()
        if late_s > TOLD_LATE_S_MAX:
            raise Violated(f"I5: {parent.key.play_id} did not know of {child.key.play_id} for {late_s:.0f} s")

    def _child(self, play_id: str, child_id: str) -> Truth:
        child = self.plays.get(child_id)
        if child is None or not child.commits:
            raise Violated(f"I5: {play_id} waits for {child_id}, which never began")
        return child

    def _error_flow(self, truth: Truth) -> None:
        play, started = truth.play, self.errors[truth.key.play_id]
        flow = next(flow for flow in self.flows if flow.id == truth.key.flow_id)
        wanted = bool(flow.execution.on_fail_flow_id) and play.trigger != "error"
        # Each retry that fails once more is another failure.
        failures = sum(
            isinstance(event, m.PlayFailed) and event.error_code != "CANCELLED"
            for commit in truth.commits
            for event in commit.events
        )
        expected = failures if wanted else 0
        if started != expected:
            raise Violated(
                f"I6: the ends of {truth.key.play_id} started {started} error flows, not {expected}"
            )


def _start(truth: Truth) -> m.StartPlay | None:
    return next((command for verb, _, command in truth.commands.values() if verb == "start"), None)


def _start_of(truth: Truth) -> m.StartPlay:
    start = _start(truth)
    assert start is not None
    return start


def _waits_for_plays(play: Play) -> bool:
    begun = [run for _, _, run in runs(play) if run.state != "NEW" and not run.ended]
    return bool(begun) and all(run.waits_for == "child" for run in begun)
