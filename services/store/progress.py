"""How far each stream is projected: what read-your-writes waits for (design D11)."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from libs.common import subjects
from libs.common.bus import Bus, Message, Subscription

POLL_INTERVAL_S = 0.25


class Projected(msgspec.Struct):
    """What a projector announces after each batch."""

    sequence: int


log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(Projected).decode


class Progress:
    """Follows what the projectors of all stores announce; asks the checkpoint when an announcement may be lost."""

    def __init__(self, checkpoint: Callable[[str], Awaitable[int]]) -> None:
        self._checkpoint = checkpoint
        self._passed: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._subscription: Subscription | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self, bus: Bus) -> None:
        """Begin to follow."""
        self._subscription = await bus.subscribe(f"{subjects.PROJECTED}.*", self._announced)

    async def stop(self) -> None:
        """Stop following."""
        if self._subscription is not None:
            await self._subscription.close()

    def note(self, stream: str, sequence: int) -> None:
        """Remember that a stream is projected up to this sequence."""
        if sequence <= self._passed.get(stream, 0):
            return
        self._passed[stream] = sequence
        waiting = self._waiting.get(stream)
        if not waiting:
            return
        left = []
        for wanted, future in waiting:
            if wanted > sequence:
                left.append((wanted, future))
            elif not future.done():
                future.set_result(None)
        self._waiting[stream] = left

    async def reached(self, stream: str, sequence: int, *, timeout_s: float) -> bool:
        """Wait until the stream is projected up to this sequence; tell whether it was in time.

        Raises Unavailable when the checkpoint has to be asked for and Postgres is away.
        """
        give_up_at = self._loop.time() + timeout_s
        while self._passed.get(stream, 0) < sequence:
            left_s = give_up_at - self._loop.time()
            if left_s <= 0:
                return False
            if not await self._told(stream, sequence, min(left_s, POLL_INTERVAL_S)):
                self.note(stream, await self._checkpoint(stream))
        return True

    async def _told(self, stream: str, sequence: int, timeout_s: float) -> bool:
        future: asyncio.Future[None] = self._loop.create_future()
        entry = (sequence, future)
        self._waiting.setdefault(stream, []).append(entry)
        try:
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the result.
            async with asyncio.timeout(timeout_s):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            left = [waiting for waiting in self._waiting.pop(stream, ()) if waiting is not entry]
            if left:
                self._waiting[stream] = left

    def _announced(self, message: Message) -> None:
        try:
            sequence = _decode(message.data).sequence
        except msgspec.DecodeError as error:
            log.warning("announcement_unreadable", subject=message.subject, error=str(error))
            return
        self.note(message.subject.rpartition(".")[2], sequence)
