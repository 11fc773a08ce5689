"""People of a simulated world: they start, cancel, approve, hold, resume and retry its plays."""

from collections import Counter
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from libs.common.codec import Context, encode_message, source_of
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from services.executor.play_levels import Iteration
from tests.simulation.clockwork import EPOCH
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from tests.simulation.world import World

VOTERS = 4
RETRIES_UNTIL_S = 150.0  # some steps hang for long, each time


class People:
    """Sends commands to the plays of a world, as its plan says and as what they see asks for."""

    def __init__(self, world: "World") -> None:
        self.keys: list[PlayKey] = []
        self._world = world
        self._plan = world.plan
        self._random = Random(f"people {world.seed}")
        self._retries: Counter[str] = Counter()

    def start(self, n: int, times: int) -> None:
        """Start the n-th play, with so many messages."""
        definition = self._world.definition_of(n)
        command = m.StartPlay(
            at=self._now(), definition=definition, flow_version=1, args={"n": n}, seed=f"seed {n}"
        )
        self.send(self.keys[n], "start", command, f"start-{n}", times=times)

    def cancel(self, n: int) -> None:
        """Cancel the n-th play."""
        command = m.CancelPlay(at=self._now(), by="somebody")
        self.send(self.keys[n], "cancel", command, f"cancel-{n}", times=self._plan.cancel_times)

    def revive(self, n: int) -> None:
        """Doubt that the n-th play is driven."""
        self._world.faults["revive"] += 1
        self.send(self.keys[n], "revive", m.RevivePlay(at=self._now()), f"revive-{n}")

    def carry(self, n: int) -> None:
        """Carry the n-th play over, if it is parked, as the sweep does with one that was silent for long (D16)."""
        command = m.CarryOverPlay(at=self._now())
        self.send(self.keys[n], "carry", command, f"carry-{n}-{self._now():%M%S%f}")

    def hold(self, n: int, times: int) -> None:
        """Put the n-th play on hold."""
        self._world.faults["hold"] += 1
        command = m.HoldPlay(at=self._now(), by="somebody")
        self.send(self.keys[n], "hold", command, f"hold-{n}-{self._now():%M%S%f}", times=times)

    def look(self, number: int) -> None:
        """See what waits for somebody, and do it, as likely as the plan says."""
        world, plan = self._world, self._plan
        for truth in list(world.laws.plays.values()):
            for layer_id, iteration in world.laws.pending_approvals(truth):
                if world.random.random() < plan.approvals:
                    self._approve(truth, layer_id, iteration, number)
            if truth.play.hold is not None and self._random.random() < plan.resumes:
                command = m.ResumePlay(at=self._now(), by="somebody")
                self.send(truth.key, "resume", command, f"resume-{truth.key.play_id}-{number}")
        for truth in self.to_retry():
            self._retry(truth)

    def to_retry(self) -> list[Truth]:
        """Return the plays that somebody is going to retry."""
        plays = self._world.laws.plays.values()
        return [
            truth
            for truth in plays
            if truth.play.status == "FAIL"
            and truth.play.error_code != "FLOW_NOT_FOUND"
            and self._world.loop.time() < RETRIES_UNTIL_S
            and self._retries[truth.key.play_id] < self._plan.retries
        ]

    def send(self, key: PlayKey, verb: str, command: m.Command, id: str, *, times: int = 1) -> None:
        """Send a command, later when the server is away; more than once it stands in as many messages."""
        world = self._world
        if world.server.is_down:
            world.loop.call_later(0.5, lambda: self.send(key, verb, command, id, times=times))
            return
        context = Context(source=source_of(key.company_id, key.flow_id), subject=key.play_id)
        for _ in range(times):
            # Without a message id: a repeat beyond the duplicate window is stored again.
            world.server.store(key.command(verb), encode_message(command, id=id, context=context), {})

    def _retry(self, truth: Truth) -> None:
        """Retry one end, two people at once, and one of them once more when it may be a later end already."""
        self._world.faults["retry"] += 1
        play_id = truth.key.play_id
        self._retries[play_id] += 1
        command = m.RetryPlay(at=self._now(), after=truth.commits[-1].sequence, by="somebody")
        people = (("ann", 1), ("bob", self._random.choice((1, 2))))
        for who, times in people[: self._plan.retriers]:
            self.send(truth.key, "retry", command, f"retry-{play_id}-{command.after}-{who}", times=times)
        late_s, late_id = self._random.uniform(0, 6), f"retry-{play_id}-{command.after}-late"
        self._world.loop.call_later(late_s, self.send, truth.key, "retry", command, late_id)

    def _approve(self, truth: Truth, layer_id: str, iteration: Iteration, number: int) -> None:
        random = self._world.random
        decision: m.Decision = "declined" if random.random() < self._plan.declines else "approved"
        by = f"person {self._random.randrange(VOTERS)}"
        command = m.ApprovePlay(
            at=self._now(), layer_id=layer_id, iteration=iteration, decision=decision, by=by
        )
        id = f"approve-{truth.key.play_id}-{m.run_name(layer_id, iteration)}-{number}"
        self.send(truth.key, "approve", command, id, times=self._plan.approve_times)

    def _now(self) -> Any:
        return EPOCH + timedelta(seconds=self._world.loop.time())
