"""KV entries for the steps of plays (spec flow8 section 13): a store that does not answer is asked again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from libs.common import kv
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.messages.kv import (
    AppendKv,
    IncrementKv,
    KvFound,
    KvReadings,
    KvView,
    OpenKv,
    ReadKv,
    ReadKvForStep,
    SetKv,
    UnsetKv,
)

RETRY_S_FIRST = 0.25
RETRY_S_MAX = 5.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Entries:
    """What `Services.kv` is. Every command may be repeated: the store knows it by its id."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, question: ReadKv) -> KvFound:
        """Return what a flow reads under a key, however long the store takes. Raises Invalid."""
        return await _patiently(lambda: kv.read(self._bus, question), question.key)

    async def write(self, command: SetKv | AppendKv | IncrementKv) -> KvView:
        """Set or grow an entry and return it, however long the store takes. Raises Invalid and Refused."""
        return await _patiently(lambda: kv.write(self._bus, command), command.key)

    async def unset(self, command: UnsetKv) -> bool:
        """Delete an entry; tell whether there was one. Raises Invalid."""
        return await _patiently(lambda: kv.unset(self._bus, command), command.key)

    async def read_for_step(self, question: ReadKvForStep | OpenKv) -> KvReadings:
        """Return what a step's expressions read. Raises Unavailable at once: the play can wait without a driver."""
        return await kv.read_for_step(self._bus, question)


async def _patiently(ask: Callable[[], Awaitable[T]], key: str) -> T:
    """Ask until there is an answer; the step's timeout ends it."""
    pause_s = RETRY_S_FIRST
    while True:
        try:
            return await ask()
        except Unavailable as error:
            log.warning("kv_asked_again", key=key, error=error.message, pause_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_S_MAX)
