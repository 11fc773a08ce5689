"""The executor: receives commands, decides what they mean for a play, and drives plays (design D4 to D6)."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from libs.common import background, health, metrics
from libs.common.bus import Bus
from libs.common.clock import Clock, SystemClock
from libs.common.config import Config
from libs.common.consumer import Delivery, PullConsumer
from libs.common.errors import HeadraceError
from libs.common.payloads import Payloads
from libs.common.subjects import plays_stream
from libs.common.topology import CONTROL_CONSUMER, WORK_CONSUMER
from services.executor import announce, history
from services.executor.admission import Admissions, Limits
from services.executor.commands import Commands
from services.executor.drivers import Drivers
from services.executor.entries import Entries
from services.executor.leftovers import sweeping
from services.executor.modules import http_client
from services.executor.modules.contract import Services
from services.executor.modules.registry import Registry
from services.executor.parts import Parts
from services.executor.plan import Traits
from services.executor.plays import Plays
from services.executor.storage import Storage

STOP_GRACE_S = 5.0

log = structlog.get_logger(__name__)


class App:
    """The parts of an executor process."""

    def __init__(
        self,
        config: Config,
        bus: Bus,
        _state: health.Health,
        *,
        clock: Clock | None = None,
        registry: Registry | None = None,
        services: Services | None = None,
    ) -> None:
        self._config = config
        self._bus = bus
        self._clock = clock or SystemClock()
        self._registry = registry or Registry.load()
        self._services = services
        self._drivers = Drivers(bus, self._clock, ack_wait_s=config.ack_wait_s)
        self._driving: set[asyncio.Task[None]] = set()
        self._consumers: list[PullConsumer] = []
        self._heartbeat: asyncio.Task[None] | None = None
        self._nudges: Any = None
        self._stack = contextlib.AsyncExitStack()
        self._commands: Commands | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Announce the modules, then take commands."""
        config, payload_max = self._config, self._bus.payload_bytes_max
        payloads = Payloads(
            self._bus, self._clock, inline_bytes_max=min(config.payload_inline_bytes_max, payload_max // 4)
        )
        services = self._services or await self._open_services(payloads)
        traits = {mod.app_id: Traits(mod.pure, mod.raw_args, mod.isolated) for mod in self._registry.all()}
        plans = history.Plans(self._bus, traits)
        parts = Parts(
            bus=self._bus,
            clock=self._clock,
            registry=self._registry,
            services=services,
            ack_wait_s=self._config.ack_wait_s,
            output_bytes_max=config.output_bytes_max,
            commit_bytes_soft_max=payload_max // 4,
            payloads=payloads,
            # A play that is silent from then on is carried over before the log forgets it (ADR 16).
            history_age_max=timedelta(days=config.log_days / 4),
            log_age_max=timedelta(days=config.log_days),
            admissions=Admissions(
                self._bus,
                self._clock,
                plans,
                services.plays,
                Limits(config.company_plays_max, config.shards),
            ),
        )
        self._commands = Commands(parts, plans, self._drivers)
        if self._registry.unfenced:
            log.warning("modules_without_shown_args", modules=self._registry.unfenced)
        await announce.modules(self._bus, self._registry, now=self._clock.now())
        self._nudges = await self._bus.subscribe("ctl.play.*", self._drivers.nudged)
        self._heartbeat = background.keep(self._drivers.heartbeats(), name="heartbeats")
        shards = [plays_stream(shard) for shard in range(config.shards)]
        works = [self._worker(stream, self._commands) for stream in shards]
        controls = [self._controller(stream) for stream in shards]
        for name, consumers in ((WORK_CONSUMER, works), (CONTROL_CONSUMER, controls)):
            self._consumers += consumers
            metrics.CONSUMER_PENDING.labels(name).set_function(partial(_pending, consumers))
        for consumer in self._consumers:
            await consumer.start()

    def _worker(self, stream: str, commands: Commands) -> PullConsumer:
        return PullConsumer(
            self._bus,
            stream,
            WORK_CONSUMER,
            slots=self._config.drive_slots,
            handler=commands.handle,
            reserved=lambda: len(self._driving),
        )

    def _controller(self, stream: str) -> PullConsumer:
        return PullConsumer(
            self._bus,
            stream,
            CONTROL_CONSUMER,
            slots=self._config.control_slots,
            handler=self._handle_control,
        )

    async def _open_services(self, payloads: Payloads) -> Services:
        http = await self._stack.enter_async_context(http_client.http_session(self._config.outbound_allow))
        storage = Storage(
            self._config.storage_path,
            file_bytes_max=self._config.storage_file_bytes_max,
            company_bytes_max=self._config.storage_company_bytes_max,
        )
        await self._stack.enter_async_context(
            sweeping(storage, self._bus, self._clock, shards=self._config.shards)
        )
        return Services(
            http=http,
            kv=Entries(self._bus),
            plays=Plays(self._bus, payloads, shards=self._config.shards),
            storage=storage,
            now=self._clock.now,
            monotonic_s=self._clock.monotonic_s,
        )

    async def stop(self) -> None:
        """Take no more commands, let short plays end, hand the others over to another executor."""
        # What has come already may make another driver, and that one is to end, or to be handed over, as well.
        await asyncio.gather(*(consumer.stop_pulling() for consumer in self._consumers))
        stopping = [consumer.stop(grace_s=STOP_GRACE_S) for consumer in self._consumers]
        await asyncio.gather(*stopping, self._stop_driving())
        await asyncio.gather(*(self._drivers.hand_over(drive) for drive in self._drivers.left))
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)
        if self._nudges is not None:
            await self._nudges.close()
        await self._stack.aclose()

    async def _stop_driving(self) -> None:
        if self._driving:
            await asyncio.wait(self._driving, timeout=STOP_GRACE_S)
        for task in list(self._driving):
            task.cancel()
        await asyncio.gather(*self._driving, return_exceptions=True)

    def checks(self) -> Mapping[str, health.Check]:
        """Return what readiness depends on: nothing but the bus."""
        return {}

    # ── commands ────────────────────────────────────────────────────────────────────────────────────

    async def _handle_control(self, delivery: Delivery) -> None:
        # A control command may become a driver; it must not keep its slot for that long (R14).
        decided = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._handle_apart(delivery, decided))
        self._driving.add(task)
        task.add_done_callback(self._driven)
        await decided

    async def _handle_apart(self, delivery: Delivery, decided: "asyncio.Future[None]") -> None:
        try:
            assert self._commands is not None
            await self._commands.handle(delivery, decided)
        except HeadraceError as error:
            log.warning(
                "command_left", subject=delivery.subject, delivery=delivery.delivery, error=error.message
            )
        except Exception:
            log.exception("command_crashed", subject=delivery.subject, delivery=delivery.delivery)
        finally:
            if not decided.done():
                decided.set_result(None)

    def _driven(self, task: "asyncio.Task[None]") -> None:
        self._driving.discard(task)
        for consumer in self._consumers:
            consumer.look()


def _pending(consumers: list[PullConsumer]) -> float:
    return sum(consumer.pending for consumer in consumers)
