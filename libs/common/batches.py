"""Groups of writes that are stored all or none; those that come while one is under way share the next fsync (D2).

Each group holds or fails on its own: when a batch is refused, its halves are tried apart, down to the group that does
not hold. While nothing else is under way a group goes out at once. `group` can send one by one instead, and retry; a
group of writes cannot be taken apart, and whether an unknown one was stored only its writer can tell.
"""

import asyncio
from typing import NamedTuple

import msgspec

from libs.common.atomic import Write, send_batch
from libs.common.bus import CODES_CONFLICT, Bus
from libs.common.errors import Conflict, HeadraceError, Unavailable

# The server takes 1,000 (ADR-50 of NATS).
BATCH_MESSAGES_MAX = 900
CODE_DUPLICATE = 10201


class _Group(NamedTuple):
    writes: tuple[Write, ...]
    done: "asyncio.Future[int]"


class Batches:
    """Atomic batches on one stream, one at a time."""

    def __init__(self, bus: Bus, stream: str) -> None:
        self._bus = bus
        self._stream = stream
        self._waiting: list[_Group] = []
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def append(self, *writes: Write) -> int:
        """Store these messages all or none, and return the sequence of the first.

        Raises Conflict when an expectation does not hold or a message id was used before, Unavailable when the outcome
        is unknown: then look for what was written.
        """
        group = _Group(writes, self._loop.create_future())
        self._waiting.append(group)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name=f"batches {self._stream}")
        return await group.done

    async def _run(self) -> None:
        while self._waiting:
            taken: list[_Group] = []
            messages = 0
            for group in self._waiting:
                messages += len(group.writes)
                if taken and messages > BATCH_MESSAGES_MAX:
                    break
                taken.append(group)
            del self._waiting[: len(taken)]
            await self._send(taken)

    async def _send(self, groups: list[_Group]) -> None:
        try:
            sequence = await self._publish([write for group in groups for write in group.writes])
        except Conflict as error:
            if len(groups) > 1:
                half = len(groups) // 2
                await self._send(groups[:half])
                await self._send(groups[half:])
            else:
                _fail(groups, error)
            return
        except (HeadraceError, msgspec.DecodeError) as error:
            _fail(groups, Unavailable(f"{self._stream} did not confirm a batch: {error}"))
            return
        for group in groups:
            if not group.done.done():
                group.done.set_result(sequence)
            sequence += len(group.writes)

    async def _publish(self, writes: list[Write]) -> int:
        ack = await send_batch(self._bus, writes)
        if ack.error is None:
            return ack.seq - len(writes) + 1
        if ack.error.err_code in CODES_CONFLICT or ack.error.err_code == CODE_DUPLICATE:
            raise Conflict(ack.error.description)
        raise Unavailable(f"{ack.error.description} ({ack.error.err_code})")


def _fail(groups: list[_Group], error: HeadraceError) -> None:
    for group in groups:
        if not group.done.done():
            group.done.set_exception(error)
