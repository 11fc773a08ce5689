"""The steps with effects that a driver runs right now: tasks of their own, and what came out of them."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from libs.common import metrics, trace
from services.executor import steps
from services.executor.attempts import Attempts
from services.executor.journal import Journal
from services.executor.parts import Parts
from services.executor.plan import Step
from services.executor.play_levels import Iteration
from services.executor.readings import Need

# So long a step that is told to stop may take for it. One that does not is left behind, for nobody can make it.
STOP_S_MAX = 5.0

log = structlog.get_logger(__name__)


class Ended(NamedTuple):
    """A task that is over. Without an outcome its step is still to be run: it never began (R11), or KV was read."""

    step: Step
    outcome: steps.Outcome | None


class Effects:
    """The effects of one drive: `tasks` that run or were not taken since they ended; `wake` is set when one ends."""

    def __init__(
        self,
        parts: Parts,
        attempts: Attempts,
        journal: Journal,
        wake: asyncio.Event,
        now: Callable[[], datetime],
    ) -> None:
        self._parts = parts
        self._attempts = attempts
        self._journal = journal
        self._wake = wake
        self._now = now
        self.tasks: dict[tuple[str, Iteration], asyncio.Task[None]] = {}
        self._ended: list[Ended] = []
        self._left: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None
        # This process paused before an effect began: somebody else may have run it meanwhile (R11).
        self.paused = False

    def __contains__(self, step: Step) -> bool:
        """Tell whether this step's effect runs or has not been taken since it ended."""
        return (step.ref, step.iteration) in self.tasks

    def start(self, step: Step, args: dict[str, Any]) -> None:
        """Run a step's effect; its barrier is durable."""
        task = asyncio.create_task(self._run(step, args), name=f"step {step.name}")
        self._keep(step, task)
        timer = asyncio.get_running_loop().call_later(step.timeout_s + STOP_S_MAX, self._leave, step, task)
        task.add_done_callback(lambda _: timer.cancel())

    def read(self, step: Step, need: Need) -> None:
        """Fetch what a step needs to be evaluated; it is ready again when it has it."""
        name = f"kv of {step.name}"
        self._keep(step, asyncio.create_task(self._fetch(step, need), name=name))

    def take(self) -> list[Ended]:
        """Return the effects that ended since the last call. Raises what one was ended by that is no outcome."""
        if self._crash is not None:
            raise self._crash
        ended, self._ended = self._ended, []
        for step, _ in ended:
            del self.tasks[step.ref, step.iteration]
        return ended

    async def abandon(self) -> None:
        """Stop every running effect; what it would have said is not recorded."""
        tasks, self.tasks = list(self.tasks.values()), {}
        for task in tasks:
            task.cancel()
        stopped, running = await asyncio.wait(tasks, timeout=STOP_S_MAX)
        await asyncio.gather(*stopped, return_exceptions=True)
        for task in running:
            log.warning("step_left_behind", task=task.get_name())
        self._left |= running
        self._ended = []

    def _keep(self, step: Step, task: "asyncio.Task[None]") -> None:
        self.tasks[step.ref, step.iteration] = task
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            # A mistake of ours, not of a module: whoever drives the play must not wait for it.
            self._crash = task.exception()
            self._wake.set()

    def _leave(self, step: Step, task: "asyncio.Task[None]") -> None:
        """End an attempt whose time is over although its module goes on."""
        if self.tasks.get((step.ref, step.iteration)) is task and not task.done():
            log.warning("step_left_behind", task=task.get_name())
            self._left.add(task)
            self._end(step, _out_of_time(step))

    def _end(self, step: Step, outcome: steps.Outcome | None) -> None:
        self._ended.append(Ended(step, outcome))
        self._wake.set()

    async def _fetch(self, step: Step, need: Need) -> None:
        self._end(step, await self._attempts.readings.fetch(step.name, need))

    async def _run(self, step: Step, args: dict[str, Any]) -> None:
        clock = self._parts.clock
        began = clock.monotonic_s()
        if began - self._journal.sure_at > self._parts.ack_wait_s / 3:
            self.paused = True
            outcome: steps.Outcome | None = None
        else:
            with trace.span(f"step {step.layer.app_id}", ref=step.ref):
                outcome = await self._attempt(step, args)
            took_s = clock.monotonic_s() - began
            metrics.STEP_SECONDS.observe((step.layer.app_id, type(outcome).__name__), took_s)
        if asyncio.current_task() not in self._left:
            self._end(step, outcome)

    async def _attempt(self, step: Step, args: dict[str, Any]) -> steps.Outcome:
        try:
            async with asyncio.timeout(step.timeout_s):
                return await steps.run(self._parts, step, args, self._attempts.call(step, self._now()))
        except TimeoutError:
            return _out_of_time(step)


def _out_of_time(step: Step) -> steps.Failed:
    return steps.Failed(f"execution timeout after {step.timeout_s:g} s", "TIMEOUT", final=False)
