"""The bus's clock: timers fire by it, so lateness is measured by it, whatever the clock of this machine says."""

import asyncio
from datetime import datetime, timedelta

import structlog

from libs.common import background
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import Unavailable

SYNC_INTERVAL_S = 5.0

log = structlog.get_logger(__name__)


class ServerClock:
    """The time of the server that leads a stream, carried on by this machine's monotonic clock."""

    def __init__(self, bus: Bus, stream: str, clock: Clock) -> None:
        self._bus = bus
        self._stream = stream
        self._clock = clock
        self._read: datetime | None = None
        self._read_at_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the time once and keep it true. Raises Unavailable when the stream does not answer."""
        await self._sync()
        self._task = background.keep(self._keep(), name="server clock")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def now(self) -> datetime:
        """Return the time in UTC."""
        assert self._read is not None, "started before it is asked"
        return self._read + timedelta(seconds=self._clock.monotonic_s() - self._read_at_s)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SYNC_INTERVAL_S)
            try:
                await self._sync()
            except Unavailable as error:
                log.warning("server_clock_not_read", error=error.message)

    async def _sync(self) -> None:
        asked_at_s = self._clock.monotonic_s()
        answer = await self._bus.api(f"STREAM.INFO.{self._stream}")
        if "ts" not in answer:
            raise Unavailable(f"{self._stream} does not tell the time")
        answered_at_s = self._clock.monotonic_s()
        self._read = _time(answer["ts"])
        self._read_at_s = (asked_at_s + answered_at_s) / 2


def _time(text: str) -> datetime:
    # Go writes up to nine digits of a second, Python reads six.
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
