"""A bounded cache of the newest message of subjects in DEFINITIONS, kept current by the republished ones (D7).

A hit costs a dictionary look-up; nothing is asked of the store. What may have been missed while the connection was
away is forgotten when it is back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import msgspec
import structlog

from libs.common import codec, subjects
from libs.common.bus import Bus, Message
from libs.common.errors import Unavailable

READ_ATTEMPTS_MAX = 5

T = TypeVar("T")
Decode = Callable[[codec.Envelope, int], T | None]

log = structlog.get_logger(__name__)


class _Entry(NamedTuple, Generic[T]):
    sequence: int
    value: T


class _Reading(Generic[T]):
    """A read under way; a change may overtake it, so `floor` is the least sequence its answer must have."""

    __slots__ = ("floor", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[T | None] | None = None
        self.floor = 0


class Latest(Generic[T]):
    """The newest message of each subject of one noun, decoded.

    `decode` takes the envelope and its sequence; None means that the thing is no more.
    """

    def __init__(self, bus: Bus, noun: str, decode: Decode[T], *, entries_max: int, replicated: bool) -> None:
        self._bus = bus
        self._noun = noun
        self._decode = decode
        self._entries_max = entries_max
        self._replicated = replicated
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._reading: dict[str, _Reading[T]] = {}
        self._rings: list[Callable[[], None]] = []
        # Grows with whatever may change an answer: what was derived at an equal count still holds.
        self.changes = 0

    async def start(self) -> None:
        """Follow what changes."""
        await self._bus.subscribe(subjects.live_definition(self._noun), self._changed)
        self._bus.on_reconnected(self.clear)

    def clear(self) -> None:
        """Forget everything, reads under way included."""
        self.changes += 1
        self._entries.clear()
        self._reading.clear()
        self._ring()

    def on_changed(self, ring: Callable[[], None]) -> None:
        """Ring when something that was asked for has changed, or may have."""
        self._rings.append(ring)

    def peek(self, subject: str) -> T | None:
        """Return what is known of a subject without asking, None when nothing is."""
        entry = self._entries.get(subject)
        if entry is None:
            return None
        self._entries.move_to_end(subject)
        return entry.value

    async def get(self, subject: str) -> T | None:
        """Return the newest value of a subject, None when there is none.

        Raises Unavailable when the stream does not answer, or holds what this release cannot read.
        """
        known = self.peek(subject)
        if known is not None:
            return known
        reading = self._reading.get(subject)
        if reading is None:
            reading = self._reading[subject] = _Reading()
            reading.task = asyncio.create_task(self._read(subject, reading))
        assert reading.task is not None
        # One read serves all who ask meanwhile; none of them may cancel it for the others.
        return await asyncio.shield(reading.task)

    def put(self, subject: str, sequence: int, value: T) -> None:
        """Remember a value learned elsewhere, unless a newer one is known."""
        entry = self._entries.get(subject)
        self.changes += 1
        if entry is None or entry.sequence <= sequence:
            self._entries[subject] = _Entry(sequence, value)
            self._entries.move_to_end(subject)
            if len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)

    def forget(self, subject: str) -> None:
        """Forget a subject's value; the next caller reads it anew."""
        self.changes += 1
        self._entries.pop(subject, None)

    def expect(self, subject: str, sequence: int) -> None:
        """Forget a subject's value unless it is at least this new; the next read goes to the stream's leader."""
        self.changes += 1
        entry = self._entries.get(subject)
        if entry is not None and entry.sequence < sequence:
            del self._entries[subject]
            self._ring()
        reading = self._reading.get(subject)
        if reading is not None:
            reading.floor = max(reading.floor, sequence)

    async def _read(self, subject: str, reading: "_Reading[T]") -> T | None:
        try:
            return await self._read_newest(subject, reading)
        finally:
            if self._reading.get(subject) is reading:
                del self._reading[subject]

    async def _read_newest(self, subject: str, reading: "_Reading[T]") -> T | None:
        for attempt in range(READ_ATTEMPTS_MAX):
            # A replica may lag behind what was already seen or promised; the leader does not.
            stored = await self._bus.last(
                subjects.DEFINITIONS, subject, leader=self._replicated and attempt > 0
            )
            if stored is None and self._replicated and attempt == 0:
                continue
            if stored is None:
                return None
            if stored.sequence < reading.floor:
                continue
            value = self._decoded(stored.data, stored.sequence, subject)
            if value is not None:
                self.put(subject, stored.sequence, value)
            return value
        raise Unavailable(f"the newest {self._noun} cannot be read right now")

    def _decoded(self, data: bytes, sequence: int, subject: str) -> T | None:
        try:
            return self._decode(codec.last_event(data), sequence)
        except (msgspec.MsgspecError, UnicodeDecodeError, AssertionError) as error:
            log.error("definition_unreadable", subject=subject, sequence=sequence, error=str(error))  # noqa: TRY400
            raise Unavailable(f"this release cannot read {subject}") from error

    def _changed(self, message: Message) -> None:
        subject = subjects.stored_definition(message.subject)
        if subject not in self._entries and subject not in self._reading:
            return
        sequence = int(message.headers.get("Nats-Sequence", "0"))
        self.expect(subject, sequence)
        if subject in self._entries:
            return
        try:
            value = self._decoded(message.data, sequence, subject)
        except Unavailable:
            # Said in the log; the value is forgotten, so the next caller is told.
            return
        if value is not None:
            self.put(subject, sequence, value)

    def _ring(self) -> None:
        for ring in self._rings:
            ring()
