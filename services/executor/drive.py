"""Driving one play: run its steps, append what happened, until it ends or parks (designs D5 and D6).

The order is always commit, then timer, then acknowledgement. Pure steps share a commit; one is forced before and after
a step with effects, when the play parks or ends, and after COMMIT_INTERVAL_MS_MAX.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import structlog
from prometheus_client import Histogram

from libs.common import ids, metrics, trace
from libs.common.bus import Appended, Bus, Expected
from libs.common.clock import Clock
from libs.common.codec import Commit, Context, Envelope, encode_commit, encode_message, source_of
from libs.common.consumer import Delivery
from libs.common.errors import Conflict, Unavailable
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from services.executor import history, steps
from services.executor.modules.contract import Services
from services.executor.modules.contract import Step as Call
from services.executor.modules.registry import Registry
from services.executor.plan import Plan, Step, retry_delay_ms
from services.executor.play import LayerRun, Play, evolve, evolve_commit, fold
from services.executor.play_order import advance
from services.executor.play_outcomes import completed, failure, skipped

COMMIT_INTERVAL_MS_MAX = 100
PARK_ABOVE_S = 2.0
CONFLICT_LOADS_MAX = 200
CONFLICT_PAUSE_S = 0.005
LOAD_RETRY_DELAY_S = 0.25
PURE_STEPS_PER_TURN = 64

log = structlog.get_logger(__name__)

_STEP_SECONDS: dict[tuple[str, str], Histogram] = {}
_ACCEPTED = metrics.COMMITS.labels("accepted")


class Fenced(Exception):
    """Another driver owns the play now, or it ended; `foreign` when another command drives it (R6)."""

    def __init__(self, *, foreign: bool) -> None:
        super().__init__("another driver owns the play")
        self.foreign = foreign


class Redecide(Exception):
    """The first commit met a history that nobody knew of: load it and decide the command anew."""


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

    def __init__(  # noqa: PLR0913 - what a drive is made of
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
        self.play = play
        self.sequence = sequence
        self._parts = parts
        self._plan = plan
        self._epoch = 0
        self._context = Context(
            source=source_of(key.company_id, key.flow_id),
            subject=key.play_id,
            correlation_id=envelope.correlation_id or key.play_id,
            causation_id=envelope.id,
            traceparent=trace.current_traceparent(),
        )
        self._buffer: list[m.PlayEvent] = []
        self._outcomes: list[m.PlayEvent] = []
        self._buffer_bytes = 0
        self._committed_at = parts.clock.monotonic_s()
        self._sure_at = self._committed_at
        self._established = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: list[_Ended] = []
        self._wake = asyncio.Event()
        self._news = False
        self._now_min = envelope.time

    # ── from outside ────────────────────────────────────────────────────────────────────────────────

    @property
    def epoch(self) -> int:
        """Return the epoch this driver acts in."""
        return self._epoch

    def nudge(self) -> None:
        """The log may hold something new for this play: look at it soon."""
        self._news = True
        self._wake.set()

    async def keep(self) -> None:
        """Keep the driving command from being redelivered. Raises Unavailable."""
        await self.delivery.in_progress()

    async def look(self) -> None:
        """Look whether others appended (R12). Raises Unavailable."""
        before = self.sequence
        newest = await history.last_sequence(self._parts.bus, self.key)
        if newest > before and self.sequence == before:
            self.nudge()

    def begin(self, events: tuple[m.PlayEvent, ...]) -> None:
        """Take these first events, which make this the driver; they stand in its first commit."""
        for event in events:
            self._emit(event)
        self._epoch = self.play.epoch

    async def run(self) -> bool:
        """Drive until the play ends or parks; return whether its command may be acknowledged.

        Raises Redecide when the first commit met an unknown history. Cancelled, it abandons its steps and appends
        nothing: the command stays unacknowledged.
        """
        try:
            if self.delivery.delivery > 1:
                # Whoever had it before may have died of what comes next: count this try before it (D5).
                await self._commit()
            return await self._loop()
        except Fenced as fenced:
            log.info("drive_fenced", play=self.key.play_id, epoch=self._epoch, foreign=fenced.foreign)
            return fenced.foreign
        finally:
            await self._abandon()

    # ── the loop ────────────────────────────────────────────────────────────────────────────────────

    async def _loop(self) -> bool:
        while True:
            if self._news:
                await self._reload()
            await self._collect()
            if self.play.ended:
                # A take-over may have ended the play by itself.
                if await self._commit():
                    return True
                continue
            todo = advance(self.play, self._plan, self._now())
            for event in todo.events:
                self._emit(event)
            if todo.ended:
                await self._abandon()
                if await self._commit():
                    return True
                continue
            if await self._go(todo.ready) or todo.events:
                continue
            if self._tasks or self._is_soon(todo.until):
                if await self._commit():
                    await self._wait(todo.until)
            elif await self._park(todo.until):
                return True

    async def _go(self, ready: list[Step]) -> bool:
        """Run what is ready: pure steps here, effects in tasks after a barrier. Tell whether anything moved."""
        moved = False
        effects: list[tuple[Step, dict[str, Any]]] = []
        for count, step in enumerate(ready):
            if step.ref in self._tasks:
                continue
            moved = True
            effect = self._begin_step(step)
            if effect is not None:
                effects.append(effect)
            if self._is_commit_due() and not await self._commit():
                return True
            if count % PURE_STEPS_PER_TURN == PURE_STEPS_PER_TURN - 1:
                await asyncio.sleep(0)
        if effects and await self._commit():
            for step, args in effects:
                self._start_effect(step, args)
        return moved

    def _begin_step(self, step: Step) -> tuple[Step, dict[str, Any]] | None:
        """Take a step as far as it goes without effects; return its args when only the effect is left."""
        now = self._now()
        run = self.play.layers.get(step.ref)
        if step.broken is not None:
            self._emit(failure(step, run, now, error=step.broken, code=step.broken_code))
            return None
        scope = steps.scope_of(
            self.play, self._plan, self.key.play_id, step.ref, (run and run.started_at) or now
        )
        if run is None or run.state == "NEW" or run.waits_for == "defer":
            if not self._passes_gates(step, run, scope, now):
                return None
            run = self.play.layers.get(step.ref)
        args = steps.evaluate_args(step, scope)
        if isinstance(args, steps.Failed):
            self._settle(step, args)
            return None
        if step.pure:
            self._settle(step, self._evaluate(step, args))
            return None
        if run is None or run.state != "RUN":
            attempt = (run.attempts if run else 0) + 1
            self._emit(
                m.LayerStarted(
                    at=now, ref=step.ref, layer_id=step.layer.id, order=step.order, attempt=attempt
                )
            )
        return step, args

    def _passes_gates(self, step: Step, run: LayerRun | None, scope: Any, now: datetime) -> bool:
        """Deferral, filters, approval, in this order (spec flow8 section 6); tell whether the step may run."""
        layer = step.layer
        if layer.defer_after_ms and not (run and run.deferred):
            until = now + timedelta(milliseconds=layer.defer_after_ms)
            self._emit(self._waiting(step, now, "defer", until=until))
            return False
        passes = steps.passes_filters(step, scope)
        if isinstance(passes, steps.Failed):
            self._settle(step, passes)
            return False
        if not passes:
            self._emit(skipped(step, now, state="FILTERED"))
            return False
        if layer.needs_approval:
            self._emit(self._waiting(step, now, "approval"))
            return False
        return True

    def _waiting(
        self, step: Step, now: datetime, kind: m.WaitKind, *, until: datetime | None = None, out: Any = None
    ) -> m.LayerWaiting:
        return m.LayerWaiting(
            at=now, ref=step.ref, layer_id=step.layer.id, order=step.order, kind=kind, until=until, out=out
        )

    def _evaluate(self, step: Step, args: dict[str, Any]) -> steps.Outcome:
        began = self._parts.clock.monotonic_s()
        with trace.span(f"step {step.layer.app_id}", **{"headrace.ref": step.ref}):
            outcome = steps.evaluate(self._parts, step, args, self._call(step))
        _observe(step, outcome, self._parts.clock.monotonic_s() - began)
        return outcome

    def _settle(self, step: Step, outcome: steps.Outcome) -> None:
        """Record how an attempt ended: done, skipped, waiting, to be tried again, or failed."""
        now = self._now()
        run = self.play.layers.get(step.ref)
        event: m.PlayEvent
        match outcome:
            case steps.Done(out=out, bytes=size):
                self._buffer_bytes += size
                event = completed(step, run, now, out=out)
            case steps.Skipped():
                event = completed(step, run, now, out=None, state="SKIP")
            case steps.Waits(delay_ms=delay_ms, out=out):
                event = self._waiting(
                    step, now, "delay", until=now + timedelta(milliseconds=delay_ms), out=out
                )
            case steps.Failed():
                event = self._failed_attempt(step, run, outcome, now)
        self._emit(event)
        if not step.pure:
            self._outcomes.append(event)

    def _failed_attempt(
        self, step: Step, run: LayerRun | None, failed: steps.Failed, now: datetime
    ) -> m.PlayEvent:
        retry = step.layer.retry
        attempt = (run.attempts if run else 0) + 1
        if failed.final or retry is None or attempt > retry.count:
            return failure(step, run, now, error=failed.error, code=failed.code)
        delay_ms = retry_delay_ms(
            retry, attempt=attempt, chance=steps.chance_of(self.play.seed, step.ref, attempt)
        )
        return m.LayerRetrying(
            at=now,
            ref=step.ref,
            layer_id=step.layer.id,
            order=step.order,
            attempt=attempt,
            error=failed.error,
            error_code=failed.code,
            until=now + timedelta(milliseconds=delay_ms),
        )

    # ── effects ─────────────────────────────────────────────────────────────────────────────────────

    def _start_effect(self, step: Step, args: dict[str, Any]) -> None:
        task = asyncio.create_task(self._effect(step, args), name=f"step {self.key.play_id} {step.ref}")
        self._tasks[step.ref] = task

    async def _effect(self, step: Step, args: dict[str, Any]) -> None:
        clock = self._parts.clock
        began = clock.monotonic_s()
        if began - self._sure_at > self._parts.ack_wait_s / 3:
            # A pause since the barrier: somebody else may have run this meanwhile (R11).
            self._news = True
            outcome: steps.Outcome | None = None
        else:
            with trace.span(f"step {step.layer.app_id}", **{"headrace.ref": step.ref}):
                outcome = await self._attempt(step, args)
            _observe(step, outcome, clock.monotonic_s() - began)
        self._ended.append(_Ended(step, outcome))
        self._wake.set()

    async def _attempt(self, step: Step, args: dict[str, Any]) -> steps.Outcome:
        timer: asyncio.Timeout | None = None
        try:
            async with asyncio.timeout(step.timeout_s) as timer:
                return await steps.run(self._parts, step, args, self._call(step))
        except TimeoutError:
            return steps.Failed(f"execution timeout after {step.timeout_s:g} s", "TIMEOUT", final=False)

    def _call(self, step: Step) -> Call:
        run = self.play.layers.get(step.ref)
        return Call(
            company_id=self.key.company_id,
            flow_id=self.key.flow_id,
            play_id=self.key.play_id,
            ref=step.ref,
            idempotency_key=f"{self.key.play_id}:{step.ref}",
            attempt=(run.attempts if run else 0) + 1,
            now=self._now(),
            seed=steps.seed_of(self.play, step.ref),
        )

    async def _collect(self) -> None:
        """Take in the effects that ended."""
        ended, self._ended = self._ended, []
        for step, outcome in ended:
            del self._tasks[step.ref]
            if outcome is not None:
                self._settle(step, outcome)
            if self._is_commit_due():
                await self._commit()

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
        wait_id = ids.new_id()
        self._emit(m.PlayWaiting(at=self._now(), wait_id=wait_id, until=until))
        if not await self._commit():
            return False
        await publish_timer(self._parts.bus, self.key, self.play, self.sequence, self._context)
        return True

    # ── the log ─────────────────────────────────────────────────────────────────────────────────────

    def _now(self) -> datetime:
        # A wake may come a moment before this machine's clock says it is due.
        return max(self._parts.clock.now(), self._now_min)

    def _emit(self, event: m.PlayEvent) -> None:
        evolve(self.play, event)
        self._buffer.append(event)

    def _is_commit_due(self) -> bool:
        if not self._buffer:
            return False
        if self._buffer_bytes > self._parts.commit_bytes_soft_max:
            return True
        return (self._parts.clock.monotonic_s() - self._committed_at) * 1000 > COMMIT_INTERVAL_MS_MAX

    async def _commit(self) -> bool:
        """Append the buffered events as one commit. False when the log had moved: look at the play again.

        Raises Fenced when somebody else owns it now, Redecide when this was the driver's first commit.
        """
        if not self._buffer:
            return True
        commit_id = ids.commit_id()
        data = encode_commit(self._buffer, commit_id=commit_id, context=self._context)
        expected = Expected(self.key.events, self.sequence)
        asked_at = self._parts.clock.monotonic_s()
        try:
            appended = await append(
                self._parts.bus, self.key.event(self.play.status), data, commit_id, expected
            )
        except Conflict:
            metrics.COMMITS.labels("conflict").inc()
            return await self._reconcile(commit_id)
        _ACCEPTED.inc()
        self._accepted(appended.sequence, asked_at)
        return True

    def _accepted(self, sequence: int, asked_at: float) -> None:
        # From before the question, not from its answer: a pause in between leaves the play to others as well (R11).
        self._sure_at = asked_at
        self.sequence = sequence
        self._buffer, self._outcomes, self._buffer_bytes = [], [], 0
        self._established = True
        self._committed_at = self._parts.clock.monotonic_s()
        if self.play.ended:
            metrics.PLAYS.labels(self.play.status).inc()
            if self.play.started_at is not None:
                metrics.PLAY_SECONDS.observe((self._now() - self.play.started_at).total_seconds())

    async def _reconcile(self, commit_id: str) -> bool:
        """After a conflict: find the own commit (R1), or take in what others appended and keep outcomes (R2)."""
        asked_at = self._parts.clock.monotonic_s()
        commits = await self._load_until_moved()
        if any(commit.id == commit_id for commit in commits):
            self.play = fold(commits)
            self._accepted(commits[-1].sequence, asked_at)
            self._check_epoch()
            return commits[-1].id == commit_id
        if not self._established:
            raise Redecide
        self.play = fold(commits)
        self.sequence = commits[-1].sequence
        self._check_epoch()
        outcomes, self._outcomes, self._buffer = self._outcomes, [], []
        for event in outcomes:
            self._keep(event)
        return False

    def _keep(self, event: Any) -> None:
        # What an effect did has happened, whoever wrote first; unless its step was ended meanwhile.
        run = self.play.layers.get(event.ref)
        if run is not None and run.state == "RUN":
            self._emit(event)
            self._outcomes.append(event)

    async def _load_until_moved(self) -> list[Commit]:
        for _ in range(CONFLICT_LOADS_MAX):
            commits = await self._load(since=1)
            if commits and commits[-1].sequence > self.sequence:
                return commits
            await asyncio.sleep(CONFLICT_PAUSE_S)
        raise Conflict(f"play {self.key.play_id}: the log refuses a commit and shows nothing new")

    async def _reload(self) -> None:
        """Take in what others appended since the last commit (R12)."""
        self._news = False
        if self._buffer:
            await self._commit()
            return
        asked_at = self._parts.clock.monotonic_s()
        for commit in await self._load(since=self.sequence + 1):
            evolve_commit(self.play, commit)
            self.sequence = commit.sequence
        self._check_epoch()
        self._sure_at = asked_at

    async def _load(self, *, since: int) -> list[Commit]:
        # As long as it takes, like an append: giving up would throw away the steps that run meanwhile.
        while True:
            try:
                return await history.load(self._parts.bus, self.key, since=since)
            except Unavailable as error:
                log.warning("load_retried", play=self.key.play_id, reason=error.message)
            await asyncio.sleep(LOAD_RETRY_DELAY_S)

    def _check_epoch(self) -> None:
        if self.play.epoch == self._epoch:
            return
        driver = self.play.driver
        raise Fenced(foreign=driver is None or driver.sequence != self.delivery.sequence)


async def append(bus: Bus, subject: str, data: bytes, commit_id: str, expected: Expected) -> Appended:
    """Append one commit; the outcome is known when this returns or raises Conflict."""
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    return await bus.append(subject, data, id=commit_id, expected=expected, headers=headers)


async def publish_timer(bus: Bus, key: PlayKey, play: Play, sequence: int, context: Context) -> None:
    """Set the durable timer of the wait that the commit at `sequence` began; harmless when repeated (R7, R8)."""
    if play.status != "WAIT" or play.wait_until is None:
        return
    wake = m.WakePlay(at=play.wait_until, wait_id=play.wait_id)
    id = f"wake-{play.wait_id}"
    try:
        await bus.schedule(
            key.timer,
            encode_message(wake, id=id, context=context),
            at=play.wait_until,
            target=key.command("wake"),
            id=id,
            expected=Expected(key.events, sequence),
        )
    except Conflict:
        # The play moved on; whoever moved it sets its own timer.
        log.debug("timer_outdated", play=key.play_id, wait_id=play.wait_id)


def _observe(step: Step, outcome: steps.Outcome, seconds: float) -> None:
    # Finding a metric by its labels takes longer than most pure steps; each is looked up once.
    labels = (step.layer.app_id, type(outcome).__name__)
    metric = _STEP_SECONDS.get(labels)
    if metric is None:
        metric = _STEP_SECONDS[labels] = metrics.STEP_SECONDS.labels(*labels)
    metric.observe(seconds)
