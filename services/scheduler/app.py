"""The scheduler: turns time into commands. Today the sweep, which revives plays that nobody drives (design D5)."""

import asyncio
from collections.abc import Mapping

import structlog

from libs.common import health
from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.errors import HeadraceError
from services.scheduler.sweep import sweep

SWEEP_INTERVAL_S = 60.0

log = structlog.get_logger(__name__)


class App:
    """The parts of a scheduler process. Several may run: what they send has the same id and counts once."""

    def __init__(self, config: Config, bus: Bus, _state: health.Health) -> None:
        self._config = config
        self._bus = bus
        self._clock = SystemClock()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to sweep."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="sweep")

    async def stop(self) -> None:
        """Stop sweeping."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    def checks(self) -> Mapping[str, health.Check]:
        """Return what readiness depends on: nothing but the bus."""
        return {}

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                revived = await sweep(self._bus, now=self._clock.now(), shards=self._config.shards)
                if revived:
                    log.warning("plays_revived", count=revived)
            except HeadraceError as error:
                # The store or NATS is away: the next sweep finds what this one missed.
                log.warning("sweep_failed", error=error.message)
            await asyncio.sleep(SWEEP_INTERVAL_S)
