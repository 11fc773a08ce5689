"""The scheduler: turns time into commands. Schedules, and the sweep that revives plays nobody drives (design D5)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from libs.common import background, health, rpc, subjects
from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.connection import Serving
from libs.common.consumer import PullConsumer
from libs.common.errors import HeadraceError
from libs.common.messages import schedule as m
from libs.common.topology import FIRE_CONSUMER
from services.scheduler.commands import Commands
from services.scheduler.fires import Fires
from services.scheduler.schedule_log import ScheduleLog
from services.scheduler.server_clock import ServerClock
from services.scheduler.sweep import carry_over, release, remind, sweep

QUEUE = "scheduler"
SWEEP_INTERVAL_S = 60.0
# A play that is to be carried over is looked for several times before the log forgets it.
SWEEPS_PER_LOG_MIN = 16
DAY_S = 86_400
# Most of them wait for their time.
FIRE_SLOTS = 12_000
STOP_GRACE_S = 5.0

log = structlog.get_logger(__name__)


class App:
    """The parts of a scheduler process. Several may run: none leads, and what two of them send counts once."""

    def __init__(self, config: Config, bus: Bus, _state: health.Health) -> None:
        self._config = config
        self._bus = bus
        self._clock = SystemClock()
        self._time = ServerClock(bus, subjects.SCHEDULES, self._clock)
        self._log = ScheduleLog(bus, config.shards)
        self._fires = Fires(self._log, self._time)
        self._sweeper: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._consumer: PullConsumer | None = None
        self._serving: Serving | None = None

    async def start(self) -> None:
        """Answer commands, take fires, and begin to sweep. Raises Unavailable when the bus does not answer."""
        await self._time.start()
        fires = self._fires
        commands = Commands(self._log, fires, self._time)
        decided = (
            m.CreateSchedule,
            m.UpdateSchedule,
            m.DeleteSchedule,
            m.PauseSchedule,
            m.ResumeSchedule,
            m.RunSchedule,
            m.BackfillSchedule,
            m.CancelBackfill,
        )
        handlers: dict[type, Any] = dict.fromkeys(decided, commands.handle)
        handlers[m.PreviewSchedule] = commands.preview
        subject = subjects.command("schedule")
        self._serving = await rpc.serve(self._bus, subject, m.AnyScheduleCommand, handlers, queue=QUEUE)
        self._consumer = PullConsumer(
            self._bus, subjects.SCHEDULES, FIRE_CONSUMER, slots=FIRE_SLOTS, handler=fires.handle
        )
        await self._consumer.start()
        self._keeper = background.keep(self._fires.keep_alive(), name="keep fires alive")
        self._sweeper = background.keep(self._sweep_for_ever(), name="sweep")

    async def stop(self) -> None:
        """Take nothing more, finish what was begun."""
        self._fires.stop()
        if self._serving is not None:
            await self._serving.drain()
        if self._consumer is not None:
            await self._consumer.stop(grace_s=STOP_GRACE_S)
        for task in (self._sweeper, self._keeper):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._time.stop()

    def checks(self) -> Mapping[str, health.Check]:
        """Return what readiness depends on: nothing but the bus."""
        return {}

    async def _sweep_for_ever(self) -> None:
        interval_s = min(SWEEP_INTERVAL_S, self._config.log_days * DAY_S / SWEEPS_PER_LOG_MIN)
        while True:
            try:
                revived = await sweep(self._bus, now=self._clock.now(), shards=self._config.shards)
                if revived:
                    log.warning("plays_revived", count=revived)
                carried = await carry_over(
                    self._bus,
                    now=self._clock.now(),
                    shards=self._config.shards,
                    log_days=self._config.log_days,
                )
                if carried:
                    log.info("plays_carried_over", count=carried)
                await release(self._bus, now=self._clock.now(), shards=self._config.shards)
                reminded = await remind(self._bus, self._log, now=self._time.now())
                if reminded:
                    log.warning("schedules_reminded", count=reminded)
            except HeadraceError as error:
                # The store or NATS is away: the next sweep finds what this one missed.
                log.warning("sweep_failed", error=error.message)
            await asyncio.sleep(interval_s)
