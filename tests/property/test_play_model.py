"""The decider against a small model of a play: groups, gates, retries, holds, cancels, timers, compared at each move.

The model knows no commits, drivers or events. It is what a person would say that a play does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.common.messages import play as m
from libs.common.messages.approval import Approval
from libs.common.messages.flow import Execution, Layer, Retry
from services.executor import steps
from services.executor.play import fold
from services.executor.play_outcomes import gated
from tests.builders import AT, a_layer, a_plan, a_start, an_approval
from tests.spec import DONE, FAILED, Scene

REFS = ("a", "b", "c", "d")
DECISIONS: tuple[m.Decision, ...] = ("approved", "approved", "declined")
PEOPLE = ("ann", "bob", "eve")
RETRY_S = 5
TIMEOUT_S = 60


@dataclass
class Step:
    """One step as a person sees it."""

    group: int
    gate: int  # how many must approve, 0 for nobody
    gate_timeout_s: int
    tries: int
    state: str = "NEW"
    failures: int = 0
    votes: set[str] = field(default_factory=set)
    approved: bool = False
    declined: bool = False
    due: float | None = None


@dataclass
class Model:
    """One play as a person sees it; times in seconds since its start."""

    steps: dict[str, Step]
    now: float = 0.0
    end: str = ""
    held: bool = False
    held_at: float | None = None
    clock_from: float = 0.0
    timeout: int = 0
    retries: int = 0

    def group(self) -> list[str]:
        """Return the steps of the first group that has not ended."""
        still_open = [s for s in self.steps.values() if s.state not in m.TERMINAL]
        first = min((s.group for s in still_open), default=-1)
        return [ref for ref, s in self.steps.items() if s.group == first and s.state not in m.TERMINAL]

    def settle(self) -> None:
        """Let happen what happens by itself."""
        if self.end or (self.held_at is not None):
            return
        if self.timeout and self.now >= self.clock_from + self.timeout:
            self.stop("TIMEOUT")
            return
        while not self.end and self.settle_once():
            pass

    def settle_once(self) -> bool:
        """Take one step of it; False when nothing follows."""
        refs = self.group()
        if not refs:
            self.end = "FAIL" if any(s.state == "FAIL" for s in self.steps.values()) else "DONE"
            return True
        if self.held:
            return self.pause(refs)
        failed = any(s.state == "FAIL" and s.group < self.steps[refs[0]].group for s in self.steps.values())
        moved = [self.settle_step(self.steps[ref], failed=failed) for ref in refs]
        return any(moved)

    def pause(self, refs: list[str]) -> bool:
        """Park on hold once nothing runs."""
        if not any(self.steps[ref].state == "RUN" for ref in refs):
            self.held_at = self.now
        return False

    def settle_step(self, step: Step, *, failed: bool) -> bool:
        """Take one step as far as it goes without running."""
        if step.state == "NEW" and failed:
            step.state = "SKIP"
        elif step.state == "NEW" and step.gate and not step.approved:
            step.state, step.due = "GATE", self.now + step.gate_timeout_s if step.gate_timeout_s else None
        elif step.state == "GATE" and step.declined:
            step.state = "FAIL"
        elif step.state == "GATE" and not step.approved and step.due is not None and self.now >= step.due:
            step.declined = True
        elif self.may_run(step):
            step.state = "RUN"
        else:
            return False
        return True

    def may_run(self, step: Step) -> bool:
        """Tell whether nothing keeps a step from running."""
        if step.state == "NEW":
            return not step.gate or step.approved
        if step.state == "GATE":
            return step.approved
        return step.state == "RETRY" and step.due is not None and self.now >= step.due

    def stop(self, _why: str) -> None:
        """End everything."""
        for step in self.steps.values():
            if step.state == "NEW":
                step.state = "SKIP"
            elif step.state not in m.TERMINAL:
                step.state = "FAIL"
        self.end, self.held, self.held_at = "FAIL", False, None

    def vote(self, ref: str, person: str, decision: str) -> None:
        """Let somebody decide."""
        step = self.steps[ref]
        if self.end or step.state != "GATE" or step.approved or step.declined or person in step.votes:
            return
        step.votes.add(person)
        step.declined = decision == "declined"
        step.approved = not step.declined and len(step.votes) >= step.gate

    def lift(self) -> None:
        """Let a held play go on; the time on hold does not count."""
        if self.held_at is not None:
            self.clock_from += self.now - self.held_at
        self.held, self.held_at = False, None

    def retry(self) -> None:
        """Begin anew what failed and what was skipped."""
        for step in self.steps.values():
            if step.state in {"FAIL", "SKIP"}:
                step.state, step.failures, step.votes, step.declined = "NEW", 0, set(), False
        self.held, self.held_at = False, None
        self.end, self.clock_from, self.retries = "", self.now, self.retries + 1


class PlayMachine(RuleBasedStateMachine):
    """The real decider beside the model."""

    model: Model
    scene: Scene

    @initialize(
        shape=st.lists(
            st.tuples(
                st.integers(0, 2), st.sampled_from((0, 0, 1, 2)), st.sampled_from((0, 30)), st.integers(0, 1)
            ),
            min_size=1,
            max_size=len(REFS),
        ),
        timeout=st.sampled_from((0, 0, TIMEOUT_S)),
    )
    def start(self, shape: list[tuple[int, int, int, int]], timeout: int) -> None:
        """Start a play of a flow of this shape."""
        made = {
            ref: Step(group, gate, gate_s if gate else 0, tries)
            for ref, (group, gate, gate_s, tries) in zip(REFS, shape, strict=False)
        }
        self.model = Model(made, timeout=timeout)
        layers = [_layer(ref, step) for ref, step in made.items()]
        self.scene = Scene(a_plan(*layers, execution=Execution(timeout=timeout))).started()
        self.number = 0
        self.settle()

    def settle(self) -> None:
        """Play the driver's part: record what follows, begin what is ready, park when nothing is left."""
        self.model.settle()
        scene = self.scene
        while scene.play.status == "RUN":
            todo = scene.follow()
            begun = [step.ref for step in todo.ready if _begin(scene, step.ref)]
            if todo.events or begun:
                continue
            if not todo.ready:
                park = m.PlayHeld(at=scene.now)
                wait = m.PlayWaiting(at=scene.now, wait_id=f"w{len(scene.commits)}", until=todo.until)
                scene.commit((park if todo.held else wait,))
            return

    def tell(self, command: m.PlayCommand) -> None:
        """Send a command to the real play, twice: the second changes nothing."""
        self.number += 1
        sent = {"id": f"command-{self.number}", "sequence": 100 + self.number}
        self.scene.send(command, **sent)  # type: ignore[arg-type]
        commits = len(self.scene.commits)
        self.scene.send(command, **sent)  # type: ignore[arg-type]
        assert len(self.scene.commits) == commits

    @rule(choice=st.integers(0, 3), ends=st.sampled_from(("done", "done", "failed")))
    def end_a_running_step(self, choice: int, ends: str) -> None:
        """Let a step that runs end."""
        running = [ref for ref, step in self.model.steps.items() if step.state == "RUN"]
        if not running or self.model.end or self.model.held_at is not None:
            return
        ref = running[choice % len(running)]
        step = self.model.steps[ref]
        if ends == "done":
            step.state = "DONE"
        elif step.failures < step.tries:
            step.state, step.failures, step.due = "RETRY", step.failures + 1, self.model.now + RETRY_S
        else:
            step.state = "FAIL"
        outcome: steps.Outcome = DONE if ends == "done" else FAILED
        self.scene.ended(ref, outcome)
        self.settle()

    @rule(
        ref=st.sampled_from(REFS),
        person=st.sampled_from(PEOPLE),
        decision=st.sampled_from(("approved", "approved", "declined")),
    )
    def decide(self, ref: str, person: str, decision: m.Decision) -> None:
        """Let somebody decide on a step."""
        if ref in self.model.steps:
            self.model.vote(ref, person, decision)
        self.tell(an_approval(ref, decision, at=self.scene.now, by=person))
        self.settle()

    @rule()
    def hold(self) -> None:
        """Hold the play."""
        if not self.model.end and not self.model.held:
            self.model.held = True
            running = any(s.state == "RUN" for s in self.model.steps.values())
            self.model.held_at = None if running else self.model.now
        self.tell(m.HoldPlay(at=self.scene.now, by="ann"))
        self.settle()

    @rule()
    def resume(self) -> None:
        """Let it go on."""
        if not self.model.end and self.model.held:
            self.model.lift()
        self.tell(m.ResumePlay(at=self.scene.now, by="ann"))
        self.settle()

    @rule()
    def cancel(self) -> None:
        """Cancel the play."""
        if not self.model.end:
            self.model.stop("CANCELLED")
        self.tell(m.CancelPlay(at=self.scene.now, by="ann"))
        self.settle()

    @precondition(lambda self: self.model.end)
    @rule()
    def retry(self) -> None:
        """Retry the play; twice at once is once."""
        self.number += 1
        sequence = 100 + self.number
        if self.model.end == "FAIL":
            self.model.retry()
        self.scene.retry(f"retry-{sequence}", sequence=sequence)
        again = m.RetryPlay(at=self.scene.now, after=1)
        assert self.scene.receive(again, id="stale", sequence=99, restarts=None).action == "ack"
        self.settle()

    @rule(seconds=st.sampled_from((1, 5, 30, 60)))
    def time_passes(self, seconds: int) -> None:
        """Let time pass, and the timer of the wait fire when it is due."""
        scene = self.scene
        scene.later(seconds)
        self.model.now += seconds
        until = scene.play.wait_until
        if scene.play.status == "WAIT" and until is not None and until <= scene.now:
            self.tell(m.WakePlay(at=scene.now, wait_id=scene.play.wait_id))
        self.settle()

    @rule()
    def stale_commands_come(self) -> None:
        """Deliver the start and a wake of long ago."""
        before = len(self.scene.commits)
        self.scene.send(a_start(), id="start", sequence=1, delivery=1)
        self.scene.send(m.WakePlay(at=AT, wait_id="long ago"), id="old", sequence=2)
        assert len(self.scene.commits) == before

    @invariant()
    def both_say_the_same(self) -> None:
        """Compare what the play is with what the model says."""
        play, model = self.scene.play, self.model
        shown = {ref: _shown(play, ref) for ref in model.steps}
        assert shown == {ref: step.state for ref, step in model.steps.items()}
        assert (play.status if play.ended else "") == model.end
        assert (play.status == "ON_HOLD") == (model.held_at is not None)
        assert play.retries == model.retries

    @invariant()
    def its_log_says_the_same(self) -> None:
        """Live is replay."""
        replayed = fold(self.scene.commits)
        replayed.cursor = self.scene.play.cursor
        assert replayed == self.scene.play


def _layer(ref: str, step: Step) -> Layer:
    rules = Approval(count=max(step.gate, 1), timeout=step.gate_timeout_s)
    return a_layer(
        ref,
        app_id="touch",
        index=step.group,
        needs_approval=bool(step.gate),
        approval=rules,
        retry=Retry(step.tries, RETRY_S * 1000),
    )


def _begin(scene: Scene, ref: str) -> bool:
    """Begin a step as far as it goes by itself; False when it runs already."""
    run = scene.play.layers.get(ref)
    step = scene.plan.steps[ref]
    if run is not None and run.state == "RUN":
        return False
    if step.layer.needs_approval and (run is None or (run.state == "NEW" and not run.approval)):
        scene.commit((gated(step, scene.now),))
    else:
        scene.running(ref)
    return True


def _shown(play: object, ref: str) -> str:
    run = play.layers.get(ref)  # type: ignore[attr-defined]
    if run is None:
        return "NEW"
    if run.state != "WAIT":
        return str(run.state)
    return "GATE" if run.waits_for == "approval" else "RETRY"


PlayMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestPlayModel = PlayMachine.TestCase


def _walk(seed: int) -> None:
    """Go a drawn way of 25 moves; deep ways, which a search for short ones seldom goes."""
    random = Random(seed)
    machine = PlayMachine()
    shape = [
        (random.randint(0, 2), random.choice((0, 0, 1, 2)), random.choice((0, 30)), random.randint(0, 1))
        for _ in range(random.randint(1, len(REFS)))
    ]
    machine.start(shape=shape, timeout=random.choice((0, 0, TIMEOUT_S)))
    moves: list[Callable[[], None]] = [
        lambda: machine.end_a_running_step(
            choice=random.randint(0, 3), ends=random.choice(("done", "done", "failed"))
        ),
        lambda: machine.decide(
            ref=random.choice(REFS), person=random.choice(PEOPLE), decision=random.choice(DECISIONS)
        ),
        machine.hold,
        machine.resume,
        lambda: machine.cancel() if random.random() < 0.3 else None,
        lambda: machine.retry() if machine.model.end else None,
        lambda: machine.time_passes(seconds=random.choice((1, 5, 30, 60))),
        machine.stale_commands_come,
    ]
    for _ in range(25):
        random.choice(moves)()
        machine.both_say_the_same()
        machine.its_log_says_the_same()


def test_on_long_ways_the_decider_and_the_model_agree() -> None:
    for seed in range(400):
        _walk(seed)
