"""One decision on one definition: load, decide, append under the subject's lock, wait for the projection (D3, D7, D11).

A command that arrives twice is decided once: what it made carries its id.
"""

import asyncio
import re
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import structlog

from libs.common import codec, subjects, trace
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected, Stored
from libs.common.errors import Conflict, HeadraceError, Invalid, Unavailable
from libs.common.ids import is_id
from libs.common.messages.origin import Wish
from services.store.progress import Progress

DECISION_ATTEMPTS_MAX = 50
PROJECTION_WAIT_S_MAX = 5.0
# The longest is a step's idempotency key: a play, a ref, an iteration.
_COMMAND_ID = re.compile(r"[A-Za-z0-9_.:-]{1,160}")

log = structlog.get_logger(__name__)


class Stand(NamedTuple):
    """The last event on a subject, where it is, and the command that made it."""

    event: Any
    sequence: int
    event_id: str


class Decided(NamedTuple):
    """What a rule wants appended; `lock` is the subject, or wildcard, that must not have moved since `expected`.

    `flow_id` is the flow that the event is from, where it is from one.
    """

    event: Any
    lock: str | None = None
    expected: int = 0
    flow_id: str | None = None


# Takes the last event, None when there is none, and returns what follows; None when nothing does.
Rule = Callable[[Stand | None], Awaitable[Decided | None]]


class Ledger:
    """Appends decisions to one stream of definitions."""

    def __init__(self, bus: Bus, progress: Progress, stream: str = subjects.DEFINITIONS) -> None:
        self._bus = bus
        self._progress = progress
        self._stream = stream
        # Commands on one subject wait for each other here; between stores the optimistic lock decides.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def last(self, subject: str) -> Stand | None:
        """Return the last event on a subject as the stream's leader has it, None when there is none."""
        return _stand(await self._bus.last(self._stream, subject, leader=True))

    async def all(self, subject: str) -> list[Stand]:
        """Return the last event of each subject that fits a wildcard, by place."""
        newest = {stored.subject: stored for stored in await self._bus.load(self._stream, subject)}
        stands = [stand for stored in newest.values() if (stand := _stand(stored)) is not None]
        return sorted(stands, key=lambda stand: stand.sequence)

    async def commit(self, command: Wish, subject: str, rule: Rule) -> Stand:
        """Have a rule decide and append what it returns; answered when that can be read.

        Raises what the rule raises, Unavailable when NATS does not answer or others write all the time.
        """
        done = await self.decide(command, subject, rule)
        await self.projected(done.sequence)
        return done

    async def decide(self, command: Wish, subject: str, rule: Rule) -> Stand:
        """Have a rule decide and append what it returns; answered when that is durable. Raises as `commit`."""
        check_command(command)
        async with self._turns.setdefault(subject, asyncio.Lock()):
            return await self._decide(command, subject, rule)

    async def _decide(self, command: Wish, subject: str, rule: Rule) -> Stand:
        for _ in range(DECISION_ATTEMPTS_MAX):
            known = await self.last(subject)
            if known is not None and known.event_id == command.id:
                return known
            try:
                decided = await rule(known)
                if decided is None:
                    if known is None:
                        raise Unavailable("the rule that decided nothing was given nothing")
                    return known
                return await self._append(command, subject, decided, known)
            except Conflict:
                earlier = await self._earlier(command, subject)
            except HeadraceError:
                # A repeated command may well be refused: what it asked for has been done, by itself.
                earlier = await self._earlier(command, subject)
                if earlier is None:
                    raise
            if earlier is not None:
                return earlier
        noun, _company, name = subject.split(".", 3)[1:]
        raise Unavailable(f"{noun} {name} is being changed by others all the time; try again")

    async def _append(self, command: Wish, subject: str, decided: Decided, known: Stand | None) -> Stand:
        expected = Expected(subject, known.sequence if known else 0)
        if decided.lock is not None:
            expected = Expected(decided.lock, decided.expected)
        context = codec.Context(
            source=codec.source_of(command.company_id, decided.flow_id),
            subject=subject.rpartition(".")[2],
            correlation_id=command.id,
            causation_id=command.id,
            traceparent=trace.current_traceparent(),
        )
        body = codec.encode_message(decided.event, id=command.id, context=context)
        place = await self._bus.append(
            subject, body, id=command.id, expected=expected, deadline_s=APPEND_DEADLINE_S
        )
        # Stored by an earlier delivery of this command: that one counts.
        stored = _stand(await self._bus.get(self._stream, place.sequence)) if place.duplicate else None
        return stored or Stand(decided.event, place.sequence, command.id)

    async def _earlier(self, command: Wish, subject: str) -> Stand | None:
        for stored in reversed(await self._bus.load(self._stream, subject)):
            stand = _stand(stored)
            if stand is not None and stand.event_id == command.id:
                return stand
        return None

    async def projected(self, sequence: int) -> None:
        """Wait until the stream is projected up to this place, or as long as anybody wants to wait."""
        # The event is stored: a slow projection is no reason to say that it is not.
        try:
            if not await self._progress.reached(self._stream, sequence, timeout_s=PROJECTION_WAIT_S_MAX):
                log.warning("answered_before_projection", stream=self._stream, sequence=sequence)
        except Unavailable as error:
            log.warning(
                "answered_before_projection", stream=self._stream, sequence=sequence, error=error.message
            )


def check_command(command: Wish) -> None:
    """Raise Invalid when a part of a subject or header is malformed."""
    if not is_id(command.company_id):
        raise Invalid("companyId is not an id")
    if not _COMMAND_ID.fullmatch(command.id):
        raise Invalid("the command's id must match ^[A-Za-z0-9_.:-]{1,160}$")


def _stand(stored: Stored | None) -> Stand | None:
    if stored is None:
        return None
    envelope = codec.last_event(stored.data)
    return Stand(envelope.data, stored.sequence, envelope.id)
