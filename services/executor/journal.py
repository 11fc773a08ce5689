"""A driver's hand on its play's log: what it recorded, what is durable, and what to do when somebody else wrote first.

The rules R1, R2, R6, R11 and R12 of the ownership protocol are here (docs/adr, design D3 and D5).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import structlog

from libs.common import ids, metrics, snapshots
from libs.common.bus import Appended, Bus, Expected
from libs.common.clock import Clock
from libs.common.codec import CONTENT_TYPE_BATCH, Commit, Context, encode_message
from libs.common.errors import Conflict, Unavailable
from libs.common.messages import play as m
from libs.common.payloads import Payloads
from libs.common.subjects import PlayKey
from services.executor import history
from services.executor.history import History
from services.executor.play import Play, apply, evolve, evolve_commit, run_of
from services.executor.play_snapshot import Base, is_long, snapshot_of

COMMIT_INTERVAL_MS_MAX = 100
# Far below what a message holds: an event without its output is some 300 bytes.
COMMIT_EVENTS_SOFT_MAX = 1_000
CONFLICT_LOADS_MAX = 200
CONFLICT_PAUSE_S = 0.005
LOAD_RETRY_DELAY_S = 0.25

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Limits(msgspec.Struct, frozen=True):
    """When a commit is due for its size, and how old the history before a snapshot may grow."""

    bytes_soft_max: int
    history_age_max: timedelta


class Fenced(Exception):
    """Another driver owns the play now, or it ended; `foreign` when another command drives it (R6)."""

    def __init__(self, *, foreign: bool) -> None:
        super().__init__("another driver owns the play")
        self.foreign = foreign


class Redecide(Exception):
    """The first commit met a history that nobody knew of: load it and decide the command anew."""


class Journal:
    """The play as one driver sees it, with the events that are recorded but not durable yet.

    `sequence` is the stream's of the last durable commit, `sure_at` the monotonic second at which this driver last
    knew that the play was its own (R11).
    """

    def __init__(  # noqa: PLR0913 - what a journal is made of
        self,
        bus: Bus,
        clock: Clock,
        key: PlayKey,
        context: Context,
        known: History,
        *,
        payloads: Payloads,
        command: int,
        limits: Limits,
    ) -> None:
        """Open the journal of a play at its durable state; `command` is the driving command's stream sequence."""
        self.play = known.play
        self.sequence = known.sequence
        self.epoch = 0
        self.context = context
        self.committed_at = self.sure_at = clock.monotonic_s()
        self._bus = bus
        self._clock = clock
        self._key = key
        self._command = command
        self._payloads = payloads
        self._limits = limits
        self._base = known.base
        self._buffer: list[m.PlayEvent] = []
        self._outcomes: list[m.PlayEvent] = []
        self._bytes = 0
        self._established = False

    def begin(self, events: tuple[m.PlayEvent, ...]) -> None:
        """Take the events that make this the driver; they stand in its first commit."""
        for event in events:
            self.record(event)
        apply(self.play, self.context.causation_id)
        self.epoch = self.play.epoch

    def record(self, event: m.PlayEvent, size: int = 0) -> None:
        """Record an event; durable with the next commit, towards which its output counts with so many bytes."""
        evolve(self.play, event)
        self._buffer.append(event)
        self._bytes += size

    def record_outcome(self, event: m.PlayEvent, size: int = 0) -> None:
        """Record what an effect did: kept whoever writes first, never computed again (R2)."""
        self.record(event, size)
        self._outcomes.append(event)

    def is_full(self) -> bool:
        """Tell whether one message should not take much more."""
        return self._bytes > self._limits.bytes_soft_max or len(self._buffer) >= COMMIT_EVENTS_SOFT_MAX

    def is_due(self) -> bool:
        """Tell whether watchers, or the size of a message, should not wait longer for a commit (D6)."""
        if not self._buffer:
            return False
        if (self._clock.monotonic_s() - self.committed_at) * 1000 > COMMIT_INTERVAL_MS_MAX:
            return True
        return self.is_full()

    async def commit(self) -> bool:
        """Append what is recorded as one commit. False when the log had moved: look at the play again.

        Raises Fenced when somebody else owns it now, Redecide when this was the driver's first commit.
        """
        self._snapshot_if_due()
        if not self._buffer:
            return True
        commit_id = ids.commit_id()
        data = await self._payloads.encode_commit(self._buffer, commit_id=commit_id, context=self.context)
        expected = Expected(self._key.events, self.sequence)
        asked_at = self._clock.monotonic_s()
        try:
            subject = self._key.event(self.play.status)
            place = snapshot_place(self._buffer, self._base)
            appended = await append(self._bus, subject, data, commit_id, expected, snapshot=place)
        except Conflict:
            metrics.COMMITS.inc("conflict")
            return await self._reconcile(commit_id)
        metrics.COMMITS.inc("accepted")
        self._base = self._based_on(appended.sequence, len(data))
        self._accepted(appended.sequence, asked_at)
        return True

    def old_in_s(self) -> float | None:
        """Return in how many seconds what would have to be read is too old; None before the first commit."""
        if self._base.at is None:
            return None
        return (self._base.at + self._limits.history_age_max - self._clock.now()).total_seconds()

    async def reload(self) -> None:
        """Take in what others appended since the last commit (R12). Raises as `commit`."""
        if self._buffer:
            await self.commit()
            return
        asked_at = self._clock.monotonic_s()
        for commit in await self._load_since(self.sequence + 1):
            evolve_commit(self.play, commit)
            self.sequence = commit.sequence
            self._base = history.after(self._base, commit)
        self._check_epoch()
        self.sure_at = asked_at

    def _accepted(self, sequence: int, asked_at: float) -> None:
        # From before the question, not from its answer: a pause in between leaves the play to others as well (R11).
        self.sure_at = asked_at
        self.sequence = sequence
        self._buffer, self._outcomes, self._bytes = [], [], 0
        self._established = True
        self.committed_at = self._clock.monotonic_s()
        if self.play.ended:
            metrics.play_ended(self.play.status, self.play.started_at, self._clock.now())

    # ── snapshots ───────────────────────────────────────────────────────────────────────────────────

    def _snapshot_if_due(self) -> None:
        """Let the next commit hold the play's whole state when its history has grown long or old (ADR 26).

        When nothing else is recorded an old history is enough: a step may run for longer than the log lasts (D16).
        """
        if self.play.ended or (self._buffer and isinstance(self._buffer[-1], m.PlaySnapshot)):
            return
        old_in_s = self.old_in_s()
        is_old = old_in_s is not None and old_in_s <= 0
        if is_old or (self._buffer and is_long(self._base, self._bytes)):
            at = self._buffer[-1].at if self._buffer else self._clock.now()
            self._buffer.append(snapshot_of(self.play, at))

    def _based_on(self, sequence: int, size: int) -> Base:
        newest = self._buffer[-1]
        if isinstance(newest, m.PlaySnapshot):
            return Base(sequence, newest.bytes, 0, newest.at)
        base = self._base
        return Base(base.snapshot, base.snapshot_bytes, base.bytes + size, base.at or newest.at)

    # ── conflicts ───────────────────────────────────────────────────────────────────────────────────

    async def _reconcile(self, commit_id: str) -> bool:
        """After a conflict: find the own commit (R1), or take in what others appended and keep outcomes (R2)."""
        asked_at = self._clock.monotonic_s()
        known = await self._load_until_moved()
        # Behind another's snapshot it is not seen. In this epoch only whoever carries a parked play over writes one,
        # and then the state says that it is parked (Drive), or that the command was applied.
        if any(commit.id == commit_id for commit in known.commits):
            self._take(known)
            self._accepted(known.sequence, asked_at)
            self._check_epoch()
            return known.commits[-1].id == commit_id
        if not self._established:
            raise Redecide
        self._take(known)
        self._check_epoch()
        outcomes, self._outcomes, self._buffer = self._outcomes, [], []
        for event in outcomes:
            self._keep(event)
        return False

    def _take(self, known: History) -> None:
        self.play, self.sequence, self._base = known.play, known.sequence, known.base

    def _keep(self, event: Any) -> None:
        # What an effect did has happened, whoever wrote first; unless its step was ended meanwhile.
        run = run_of(self.play, event.ref, event.iteration)
        if run is not None and run.state == "RUN":
            self.record_outcome(event)

    async def _load_until_moved(self) -> History:
        for _ in range(CONFLICT_LOADS_MAX):
            known = await self._patiently(lambda: history.load(self._bus, self._payloads, self._key))
            if known.sequence > self.sequence:
                return known
            await asyncio.sleep(CONFLICT_PAUSE_S)
        raise Conflict(f"play {self._key.play_id}: the log refuses a commit and shows nothing new")

    async def _load_since(self, since: int) -> list[Commit]:
        return await self._patiently(lambda: history.load_since(self._bus, self._payloads, self._key, since))

    async def _patiently(self, load: Callable[[], Awaitable[T]]) -> T:
        # As long as it takes, like an append: giving up would throw away the steps that run meanwhile.
        while True:
            try:
                return await load()
            except Unavailable as error:
                log.warning("load_retried", play=self._key.play_id, reason=error.message)
            await asyncio.sleep(LOAD_RETRY_DELAY_S)

    def _check_epoch(self) -> None:
        if self.play.epoch == self.epoch:
            return
        driver = self.play.driver
        raise Fenced(foreign=driver is None or driver.sequence != self._command)


def snapshot_place(events: Sequence[m.PlayEvent], base: Base) -> str:
    """Return what the header of a commit says about the play's newest snapshot."""
    if isinstance(events[-1], m.PlaySnapshot):
        return snapshots.HERE
    return str(base.snapshot) if base.snapshot else ""


async def append(
    bus: Bus, subject: str, data: bytes, commit_id: str, expected: Expected, *, snapshot: str
) -> Appended:
    """Append one commit; the outcome is known when this returns or raises Conflict.

    `snapshot` is what its header says about the play's newest snapshot, "" when the play has none.
    """
    headers = {"Content-Type": CONTENT_TYPE_BATCH}
    if snapshot:
        headers[snapshots.HEADER] = snapshot
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
