"""Group commit: appends that would queue for the disk one by one go as one atomic batch, with one sync (design D2).

The server syncs each message by itself before it acknowledges, and a stream does one at a time. While few appends are
under way each goes alone, which is the fastest for it. What comes on top waits for its turn, and when enough wait they
travel as one JetStream atomic batch: all are stored or none. A batch that is refused, or whose outcome is not known,
is sent again one by one under the same ids, so the rules of a single append decide about each (D3).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from libs.common.atomic import Write, send_batch
from libs.common.connection import Connection
from libs.common.errors import HeadraceError

ALONE_MAX = 8
BATCH_MIN = 12
BATCH_MAX = 64
BATCH_BYTES_MAX = 2_097_152
LOCK = "Nats-Expected-Last-Subject-Sequence-Subject"

log = structlog.get_logger(__name__)


class Appended(NamedTuple):
    """A stored message's place; `duplicate` when the server had it already."""

    sequence: int
    duplicate: bool


class _Entry(NamedTuple):
    write: Write
    done: "asyncio.Future[Appended]"


Alone = Callable[[str, bytes, Mapping[str, str]], Awaitable[Appended]]


class GroupCommit:
    """The appends of one connection to one stream. `alone` stores one message; its errors are passed on."""

    def __init__(self, connection: Connection, alone: Alone) -> None:
        self._connection = connection
        self._alone = alone
        self._queue: deque[_Entry] = deque()
        self._under_way = 0
        self._batching = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def append(self, subject: str, data: bytes, headers: Mapping[str, str]) -> Appended:
        """Store one message, alone or with others, and return its place. Raises as `alone` does."""
        if self._under_way < ALONE_MAX and not self._queue:
            self._under_way += 1
            try:
                return await self._alone(subject, data, headers)
            finally:
                self._under_way -= 1
                self._pump()
        done: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.append(_Entry(Write(subject, data, headers), done))
        self._pump()
        return await done

    def _pump(self) -> None:
        while self._queue:
            if len(self._queue) >= BATCH_MIN and not self._batching:
                self._batching = True
                self._start(self._send_batch(self._take()))
            elif self._under_way < ALONE_MAX and len(self._queue) < BATCH_MIN:
                self._under_way += 1
                self._start(self._send_alone(self._queue.popleft()))
            else:
                return

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[_Entry]:
        entries: list[_Entry] = []
        claimed: set[str] = set()
        size = 0
        while self._queue and len(entries) < BATCH_MAX and size < BATCH_BYTES_MAX:
            lock = self._queue[0].write.headers.get(LOCK, "")
            if lock in claimed:
                # Within one batch the server holds an expectation with a wildcard against what was stored before
                # it: two commits of one play would both be taken (tried on 2.15.1). The second one waits.
                break
            if lock:
                claimed.add(lock)
            entries.append(self._queue.popleft())
            size += len(entries[-1].write.data)
        return entries

    async def _send_alone(self, entry: _Entry) -> None:
        try:
            place = await self._alone(*entry.write)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for this append
            if not entry.done.done():
                entry.done.set_exception(error)
        else:
            if not entry.done.done():
                entry.done.set_result(place)
        finally:
            self._under_way -= 1
            self._pump()

    async def _send_batch(self, entries: list[_Entry]) -> None:
        try:
            first = await self._store(entries)
        finally:
            self._batching = False
        if first is None:
            # One by one: only so is it known of each whether it was refused, stored before, or never arrived.
            self._under_way += len(entries)
            for entry in entries:
                self._start(self._send_alone(entry))
            return
        for sequence, entry in enumerate(entries, start=first):
            if not entry.done.done():
                entry.done.set_result(Appended(sequence, duplicate=False))
        self._pump()

    async def _store(self, entries: list[_Entry]) -> int | None:
        """Send a batch; return the place of its first message, None when it was not stored or nobody knows."""
        try:
            ack = await send_batch(self._connection, [entry.write for entry in entries])
        except (HeadraceError, OSError, msgspec.DecodeError) as error:
            log.warning("batch_unknown", messages=len(entries), reason=str(error))
            return None
        except Exception:
            # One append that cannot even be sent must not leave the others waiting: alone it hears of it itself.
            log.exception("batch_crashed", messages=len(entries))
            return None
        if ack.error is not None or ack.count != len(entries):
            log.debug("batch_refused", messages=len(entries), error=ack.error and ack.error.description)
            return None
        return ack.seq - ack.count + 1
