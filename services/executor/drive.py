"""Driving one play: run its steps, record what happened, until it ends or parks (designs D5 and D6).

The order is always commit, then timer, then acknowledgement. Pure steps share a commit; one is forced before and after
a step with effects, when the play parks or ends, and after COMMIT_INTERVAL_MS_MAX.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import structlog
from msgspec.structs import replace

from libs.common import ids, trace
from libs.common.codec import Context, Envelope, source_of
from libs.common.consumer import Delivery
from libs.common.errors import NotFound, PayloadLost
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from services.executor import history
from services.executor.attempts import Attempts
from services.executor.duties import Duties
from services.executor.effects import Effects
from services.executor.history import History
from services.executor.journal import Fenced, Journal, Limits, publish_timer
from services.executor.parts import Parts
from services.executor.plan import Plan, Step
from services.executor.play import Play
from services.executor.play_levels import awaited
from services.executor.play_order import NOTHING_FOLLOWS, Todo, advance
from services.executor.readings import Need
from services.executor.reuse import missing, size_of, taken_over

PARK_ABOVE_S = 2.0
LINGER_S = 0.5
PURE_STEPS_PER_TURN = 64

log = structlog.get_logger(__name__)


class Drive:
    """One driver of one play, in one epoch. `run` tells whether to acknowledge the driving command."""

    def __init__(
        self,
        parts: Parts,
        key: PlayKey,
        delivery: Delivery,
        envelope: Envelope,
        known: History,
        plan: Plan,
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
            known,
            payloads=parts.payloads,
            command=delivery.sequence,
            limits=Limits(parts.commit_bytes_soft_max, parts.history_age_max),
        )
        self._parts = parts
        self._plan = plan
        self._wake = asyncio.Event()
        self._news = False
        self._steps = 0
        self._now_min = envelope.time
        self._duties = Duties(parts, key, context.correlation_id)
        self._linger_until: datetime | None = None
        self._attempts = Attempts(parts, key, plan, self.journal, self._now)
        self._effects = Effects(parts, self._attempts, self.journal, self._wake, self._now)

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
            if self.delivery.delivery > 1 or self.play.children:
                # Whoever had it before may have died of what comes next: count this try before it (D5). What it may
                # have left undone comes before anything else that is decided.
                await self._commit()
            return await self._loop()
        except Fenced as fenced:
            log.info("drive_fenced", play=self.key.play_id, epoch=self.epoch, foreign=fenced.foreign)
            return fenced.foreign
        finally:
            if self._effects.tasks:
                await self._effects.abandon()

    # ── the loop ────────────────────────────────────────────────────────────────────────────────────

    async def _loop(self) -> bool:
        journal = self.journal
        while True:
            if self._news or self._effects.tasks:
                await self._take_in()
            now = self._now()
            if self._owes_a_start() and not await self._commit():
                continue
            if journal.play.replay is not None and not await self._reuse(now):
                continue
            # A take-over may have ended the play by itself: then nothing follows.
            todo = NOTHING_FOLLOWS if journal.play.ended else advance(journal.play, self._plan, now)
            if todo.ended and self._effects.tasks:
                await self._effects.abandon()
            if todo.events and not await self._record(todo.events):
                continue
            if todo.ended:
                if await self._commit():
                    return True
                continue
            if (todo.ready and await self._go(todo.ready, now)) or todo.events:
                continue
            if await self._rest(todo):
                return True

    async def _take_in(self) -> None:
        if self._news or self._effects.paused:
            self._news = self._effects.paused = False
            await self.journal.reload()
        for step, outcome in self._effects.take():
            if outcome is not None:
                self._attempts.settle(step, outcome, self._now())
            if self.journal.is_due():
                await self._commit()

    async def _commit(self) -> bool:
        """Append what is recorded, then do what it obliges to. False when the log had moved. Raises as the journal."""
        if not await self.journal.commit():
            return False
        if await self._duties.perform(self.play, self._plan):
            self._linger_until = self._now() + timedelta(seconds=LINGER_S)
        return True

    def _owes_a_start(self) -> bool:
        # Whoever is named in the log is there to be looked at, even when the next thing that follows gives it up.
        play = self.play
        return bool(play.children) and not play.ended and self._duties.owes_a_start(play)

    async def _record(self, events: list[m.PlayEvent]) -> bool:
        """Record what follows by itself; False when the log had moved and the rest has to be decided again."""
        for event in events:
            self.journal.record(event)
            if self.journal.is_full() and not await self._commit():
                return False
        return True

    async def _reuse(self, now: datetime) -> bool:
        """Give a replay what it takes over, first of all. False when the log moved: look at the play again."""
        play = self.journal.play
        if play.replay is None or play.ended or play.cancelled_by is not None:
            return True
        steps = missing(play, self._plan)
        if not steps:
            return True
        try:
            source = await history.load_source(self._parts.bus, self._parts.payloads, self.key, play.replay)
        except (NotFound, PayloadLost) as error:
            self._lose(now, f"play {play.replay.play_id}: {error.message}")
            return True
        for step in steps:
            events = list(taken_over(source, step, now))
            if not events:
                self._lose(now, f"play {play.replay.play_id} holds no end of step {step.ref} to take over")
                return True
            for event in events:
                self.journal.record(event, size_of(event))
                # A decision stays with the end that follows it.
                decided = isinstance(event, m.ApprovalDecided)
                if not decided and self.journal.is_due() and not await self.journal.commit():
                    return False
        return True

    def _lose(self, now: datetime, error: str) -> None:
        started_at = self.journal.play.started_at
        self.journal.record(
            m.PlayFailed(at=now, error=error, error_code="REPLAY_LOST", started_at=started_at)
        )

    async def _go(self, ready: list[Step], now: datetime) -> bool:
        """Run what is ready: pure steps here, effects in tasks after a barrier. Tell whether anything moved."""
        moved = False
        effects: list[tuple[Step, dict[str, Any]]] = []
        for step in ready:
            if self._effects.tasks and step in self._effects:
                continue
            moved = True
            begun = self._attempts.begin(step, now)
            if begun is not None:
                if isinstance(begun, Need):
                    self._effects.read(step, begun)
                else:
                    effects.append(begun)
            if self.journal.is_due():
                if not await self._commit():
                    return True
                now = self._now()
            self._steps += 1
            if self._steps % PURE_STEPS_PER_TURN == 0:
                await asyncio.sleep(0)
        if effects and await self._commit():
            for step, args in effects:
                self._effects.start(step, args)
        return moved

    # ── waiting and parking ─────────────────────────────────────────────────────────────────────────

    async def _rest(self, todo: Todo) -> bool:
        """Wait for what comes, or leave the play to whoever takes it up again; tell whether it was left."""
        if self.play.children and not await self._commit():
            return False
        # Looked up once: asked again a moment later it may be over, and the play would be waited for in memory.
        linger_until = self._lingers()
        if self._effects.tasks or linger_until is not None or self._is_soon(todo.until):
            if await self._commit():
                await self._wait(_earlier(todo.until, linger_until))
            return False
        return await (self._hold() if todo.held else self._park(todo.until))

    def _now(self) -> datetime:
        # A wake may come a moment before this machine's clock says it is due.
        now = self._parts.clock.now()
        return now if now > self._now_min else self._now_min

    def _is_soon(self, until: datetime | None) -> bool:
        return until is not None and (until - self._now()).total_seconds() <= PARK_ABOVE_S

    def _lingers(self) -> datetime | None:
        """Return until when to wait here for a child: many a one ends before the play could be parked and taken up."""
        if self._linger_until is None or self._effects.tasks or self._now() >= self._linger_until:
            return None
        waited = any(child.state is None and not child.abandoned for child in self.play.children.values())
        return self._linger_until if waited else None

    async def _wait(self, until: datetime | None) -> None:
        """Sleep until a step ended, something new is in the log, or the next waiting step is due."""
        due_in_s = None if until is None else (until - self._now()).total_seconds()
        waits_s = [wait_s for wait_s in (due_in_s, self.journal.old_in_s()) if wait_s is not None]
        timeout = max(0.0, min(waits_s)) if waits_s else None
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    def _is_parked(self) -> bool:
        """Tell whether the own parking is durable although others appended after it: it is not to be done twice."""
        return self.play.status != "RUN"

    async def _hold(self) -> bool:
        """Leave the play on hold, with nobody driving it. False when the log moved."""
        self.journal.record(m.PlayHeld(at=self._now()))
        return await self.journal.commit() or self._is_parked()

    async def _park(self, until: datetime | None) -> bool:
        """Leave the play in WAIT with nobody driving it: commit, then timer (R7). False when the log moved."""
        journal = self.journal
        parked = m.PlayWaiting(at=self._now(), wait_id=ids.new_id(), until=until)
        step = awaited(journal.play)
        if step is not None:
            ref, iteration, run = step
            parked = replace(parked, ref=ref, layer_id=run.layer_id, iteration=iteration)
        journal.record(parked)
        if not await self._commit():
            if not self._is_parked():
                return False
            await self._duties.perform(self.play, self._plan)
        await publish_timer(self._parts.bus, self.key, journal.play, journal.sequence, journal.context)
        return True


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, (one, other)), default=None)
