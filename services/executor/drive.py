"""Driving one play: run its steps, record what happened, until it ends or parks (designs D5 and D6).

The order is always commit, then timer, then acknowledgement. Pure steps share a commit; one is forced before and after
a step with effects, when the play parks or ends, and after COMMIT_INTERVAL_MS_MAX.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import structlog

from libs.common import ids, metrics, trace
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.codec import Context, Envelope, source_of
from libs.common.consumer import Delivery
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from libs.expressions import Scope
from services.executor import history, steps
from services.executor.journal import Fenced, Journal, publish_timer
from services.executor.modules.contract import Services
from services.executor.modules.contract import Step as Call
from services.executor.modules.registry import Registry
from services.executor.plan import Plan, Step
from services.executor.play import LayerRun, Play
from services.executor.play_order import NOTHING_FOLLOWS, advance
from services.executor.play_outcomes import failure, skipped, waiting

PARK_ABOVE_S = 2.0
PURE_STEPS_PER_TURN = 64
# A pure step that took longer than this ended at a time of its own; shorter ones share the time of their turn.
TURN_S = 0.001

log = structlog.get_logger(__name__)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What drives share: the world, the modules, and the limits of this executor."""

    bus: Bus
    clock: Clock
    registry: Registry
    services: Services
    ack_wait_s: float
    output_bytes_max: int
    commit_bytes_soft_max: int


class _Ended(NamedTuple):
    step: Step
    outcome: steps.Outcome | None  # None: abandoned before it began, reload first (R11)


class Drive:
    """One driver of one play, in one epoch. `run` tells whether to acknowledge the driving command."""

    def __init__(
        self,
        parts: Parts,
        key: PlayKey,
        delivery: Delivery,
        envelope: Envelope,
        play: Play,
        plan: Plan,
        sequence: int,
    ) -> None:
        self.key = key
        self.delivery = delivery
        context = Context(
            source=source_of(key.company_id, key.flow_id),
            subject=key.play_id,
            correlation_id=envelope.correlation_id or key.play_id,
            causation_id=envelope.id,
            traceparent=trace.current_traceparent(),
        )
        self.journal = Journal(
            parts.bus,
            parts.clock,
            key,
            context,
            play,
            sequence=sequence,
            command=delivery.sequence,
            bytes_soft_max=parts.commit_bytes_soft_max,
        )
        self._parts = parts
        self._plan = plan
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: list[_Ended] = []
        self._wake = asyncio.Event()
        self._news = False
        self._now_min = envelope.time

    # ── from outside ────────────────────────────────────────────────────────────────────────────────

    @property
    def play(self) -> Play:
        """Return the play as this driver knows it."""
        return self.journal.play

    @property
    def epoch(self) -> int:
        """Return the epoch this driver acts in."""
        return self.journal.epoch

    def nudge(self) -> None:
        """The log may hold something new for this play: look at it soon."""
        self._news = True
        self._wake.set()

    async def keep(self) -> None:
        """Keep the driving command from being redelivered. Raises Unavailable."""
        await self.delivery.in_progress()

    async def look(self) -> None:
        """Look whether others appended (R12). Raises Unavailable."""
        before = self.journal.sequence
        newest = await history.last_sequence(self._parts.bus, self.key)
        if newest > before and self.journal.sequence == before:
            self.nudge()

    def begin(self, events: tuple[m.PlayEvent, ...]) -> None:
        """Take these first events, which make this the driver; they stand in its first commit."""
        self.journal.begin(events)

    async def run(self) -> bool:
        """Drive until the play ends or parks; return whether its command may be acknowledged.

        Raises Redecide when the first commit met an unknown history. Cancelled, it abandons its steps and appends
        nothing: the command stays unacknowledged.
        """
        try:
            if self.delivery.delivery > 1:
                # Whoever had it before may have died of what comes next: count this try before it (D5).
                await self.journal.commit()
            return await self._loop()
        except Fenced as fenced:
            log.info("drive_fenced", play=self.key.play_id, epoch=self.epoch, foreign=fenced.foreign)
            return fenced.foreign
        finally:
            await self._abandon()

    # ── the loop ────────────────────────────────────────────────────────────────────────────────────

    async def _loop(self) -> bool:
        journal = self.journal
        while True:
            await self._take_in()
            now = self._now()
            # A take-over may have ended the play by itself: then nothing follows.
            todo = NOTHING_FOLLOWS if journal.play.ended else advance(journal.play, self._plan, now)
            for event in todo.events:
                journal.record(event)
            if todo.ended:
                await self._abandon()
                if await journal.commit():
                    return True
                continue
            if await self._go(todo.ready, now) or todo.events:
                continue
            if self._tasks or self._is_soon(todo.until):
                if await journal.commit():
                    await self._wait(todo.until)
            elif await self._park(todo.until):
                return True

    async def _take_in(self) -> None:
        if self._news:
            self._news = False
            await self.journal.reload()
        if self._ended:
            await self._collect()

    async def _go(self, ready: list[Step], now: datetime) -> bool:
        """Run what is ready: pure steps here, effects in tasks after a barrier. Tell whether anything moved."""
        moved = False
        effects: list[tuple[Step, dict[str, Any]]] = []
        for count, step in enumerate(ready):
            if step.ref in self._tasks:
                continue
            moved = True
            effect = self._begin_step(step, now)
            if effect is not None:
                effects.append(effect)
            if self.journal.is_due():
                if not await self.journal.commit():
                    return True
                now = self._now()
            if count % PURE_STEPS_PER_TURN == PURE_STEPS_PER_TURN - 1:
                await asyncio.sleep(0)
        if effects and await self.journal.commit():
            for step, args in effects:
                self._start_effect(step, args)
        return moved

    def _begin_step(self, step: Step, now: datetime) -> tuple[Step, dict[str, Any]] | None:
        """Take a step as far as it goes without effects; return its args when only the effect is left."""
        journal = self.journal
        run = journal.play.layers.get(step.ref)
        if step.broken is not None:
            journal.record(failure(step, run, now, error=step.broken, code=step.broken_code))
            return None
        began_at = (run and run.started_at) or now
        scope = steps.scope_of(journal.play, self._plan, self.key.play_id, step.ref, began_at)
        if run is None or run.state == "NEW" or run.waits_for == "defer":
            if not self._passes_gates(step, run, scope, now):
                return None
            run = journal.play.layers.get(step.ref)
        args = steps.evaluate_args(step, scope)
        if isinstance(args, steps.Failed):
            self._settle(step, args, now)
            return None
        if step.pure:
            self._evaluate(step, args, now)
            return None
        if run is None or run.state != "RUN":
            attempt = (run.attempts if run else 0) + 1
            started = m.LayerStarted(
                at=now, ref=step.ref, layer_id=step.layer.id, order=step.order, attempt=attempt
            )
            journal.record(started)
        return step, args

    def _passes_gates(self, step: Step, run: LayerRun | None, scope: Scope, now: datetime) -> bool:
        """Deferral, filters, approval, in this order (spec flow8 section 6); tell whether the step may run."""
        layer = step.layer
        if layer.defer_after_ms and not (run and run.deferred):
            until = now + timedelta(milliseconds=layer.defer_after_ms)
            self.journal.record(waiting(step, now, "defer", until=until))
            return False
        passes = steps.passes_filters(step, scope)
        if isinstance(passes, steps.Failed):
            self._settle(step, passes, now)
            return False
        if not passes:
            self.journal.record(skipped(step, now, state="FILTERED"))
            return False
        if layer.needs_approval:
            self.journal.record(waiting(step, now, "approval"))
            return False
        return True

    def _evaluate(self, step: Step, args: dict[str, Any], now: datetime) -> None:
        clock = self._parts.clock
        began = clock.monotonic_s()
        with trace.span(f"step {step.layer.app_id}", ref=step.ref):
            outcome = steps.evaluate(self._parts, step, args, self._call(step, now))
        took_s = clock.monotonic_s() - began
        metrics.STEP_SECONDS.observe((step.layer.app_id, type(outcome).__name__), took_s)
        self._settle(step, outcome, now if took_s < TURN_S else self._now())

    def _settle(self, step: Step, outcome: steps.Outcome, now: datetime) -> None:
        """Record how an attempt ended: done, skipped, waiting, to be tried again, or failed."""
        if isinstance(outcome, steps.Done):
            self.journal.weigh(outcome.bytes)
        event = steps.event_of(outcome, step, self.play, now)
        if step.pure:
            self.journal.record(event)
        else:
            self.journal.record_outcome(event)

    # ── effects ─────────────────────────────────────────────────────────────────────────────────────

    def _start_effect(self, step: Step, args: dict[str, Any]) -> None:
        task = asyncio.create_task(self._effect(step, args), name=f"step {self.key.play_id} {step.ref}")
        self._tasks[step.ref] = task

    async def _effect(self, step: Step, args: dict[str, Any]) -> None:
        clock = self._parts.clock
        began = clock.monotonic_s()
        if began - self.journal.sure_at > self._parts.ack_wait_s / 3:
            # A pause since the barrier: somebody else may have run this meanwhile (R11).
            self._news = True
            outcome: steps.Outcome | None = None
        else:
            with trace.span(f"step {step.layer.app_id}", ref=step.ref):
                outcome = await self._attempt(step, args)
            took_s = clock.monotonic_s() - began
            metrics.STEP_SECONDS.observe((step.layer.app_id, type(outcome).__name__), took_s)
        self._ended.append(_Ended(step, outcome))
        self._wake.set()

    async def _attempt(self, step: Step, args: dict[str, Any]) -> steps.Outcome:
        try:
            async with asyncio.timeout(step.timeout_s):
                return await steps.run(self._parts, step, args, self._call(step, self._now()))
        except TimeoutError:
            return steps.Failed(f"execution timeout after {step.timeout_s:g} s", "TIMEOUT", final=False)

    def _call(self, step: Step, now: datetime) -> Call:
        run = self.play.layers.get(step.ref)
        return Call(
            company_id=self.key.company_id,
            flow_id=self.key.flow_id,
            play_id=self.key.play_id,
            ref=step.ref,
            idempotency_key=f"{self.key.play_id}:{step.ref}",
            attempt=(run.attempts if run else 0) + 1,
            now=now,
            seed=steps.seed_of(self.play, step.ref),
        )

    async def _collect(self) -> None:
        """Take in the effects that ended."""
        ended, self._ended = self._ended, []
        for step, outcome in ended:
            del self._tasks[step.ref]
            if outcome is not None:
                self._settle(step, outcome, self._now())
            if self.journal.is_due():
                await self.journal.commit()

    async def _abandon(self) -> None:
        """Stop every running step; what it would have said is not recorded."""
        if not self._tasks:
            return
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ended = []

    # ── waiting and parking ─────────────────────────────────────────────────────────────────────────

    def _now(self) -> datetime:
        # A wake may come a moment before this machine's clock says it is due.
        return max(self._parts.clock.now(), self._now_min)

    def _is_soon(self, until: datetime | None) -> bool:
        return until is not None and (until - self._now()).total_seconds() <= PARK_ABOVE_S

    async def _wait(self, until: datetime | None) -> None:
        """Sleep until a step ended, something new is in the log, or the next waiting step is due."""
        timeout = None if until is None else max(0.0, (until - self._now()).total_seconds())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _park(self, until: datetime | None) -> bool:
        """Leave the play in WAIT with nobody driving it: commit, then timer (R7). False when the log moved."""
        journal = self.journal
        journal.record(m.PlayWaiting(at=self._now(), wait_id=ids.new_id(), until=until))
        if not await journal.commit():
            return False
        await publish_timer(self._parts.bus, self.key, journal.play, journal.sequence, journal.context)
        return True
