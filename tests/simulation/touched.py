"""Every run of every effect in a simulated world."""

from typing import TYPE_CHECKING, Any

import msgspec

from libs.common.messages import play as m
from services.executor.modules.contract import Step
from services.executor.play_levels import Iteration
from tests.simulation.clockwork import DRIVE, PROCESS, Process, SimLoop

if TYPE_CHECKING:
    from tests.simulation.truth import Laws


class EffectRun(msgspec.Struct, kw_only=True):
    """One run of an effect."""

    play_id: str
    ref: str
    iteration: Iteration
    attempt: int
    epoch: int
    drive: Any
    process: Process
    began_at: float
    seen: Any = None
    ended: bool = False

    @property
    def name(self) -> str:
        """Return what tells this step, in a loop of this item, from all others of its play."""
        return m.run_name(self.ref, self.iteration)


def iteration_of(step: Step) -> Iteration:
    """Return for which item of its loops a step runs, by its idempotency key."""
    item = step.idempotency_key.removeprefix(f"{step.play_id}:{step.ref}").removeprefix(":")
    return tuple(map(int, item.split("."))) if item else ()


class Effects:
    """Every run of every effect."""

    def __init__(self, laws: "Laws", loop: SimLoop) -> None:
        self.runs: list[EffectRun] = []
        self._laws = laws
        self._loop = loop

    def begin(self, step: Step, *, seen: Any = None) -> EffectRun:
        """Write down that an effect starts, and check that it may."""
        process = PROCESS.get()
        assert process is not None
        drive = DRIVE.get()
        run = EffectRun(
            play_id=step.play_id,
            ref=step.ref,
            iteration=iteration_of(step),
            attempt=step.attempt,
            epoch=drive.epoch,
            drive=drive,
            process=process,
            began_at=self._loop.time(),
            seen=seen,
        )
        if process.state != "ghost":
            self.runs.append(run)
            self._laws.effect_begins(run, self.runs)
            self._sees_the_same(run)
        return run

    def _sees_the_same(self, run: EffectRun) -> None:
        since = self._laws.plays[run.play_id].operated.retried_epoch
        for other in self.runs:
            is_same = (other.play_id, other.name) == (run.play_id, run.name) and other.epoch >= since
            if is_same and other.seen != run.seen:
                text = (
                    f"attempt {run.attempt} of step {run.name} read {run.seen}, an earlier one {other.seen}"
                )
                self._laws.fail("KV", run.play_id, text)

    def end(self, run: EffectRun) -> None:
        """Write down that an effect ended by itself."""
        run.ended = True
