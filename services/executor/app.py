"""The executor: receives commands, decides what they mean for a play, and drives plays (design D4 to D6)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from libs.common import health, ids, metrics, trace
from libs.common.bus import Bus, Expected, Message
from libs.common.clock import Clock, SystemClock
from libs.common.codec import Context, Envelope, decode_message, encode_commit, encode_message, source_of
from libs.common.config import Config
from libs.common.consumer import Delivery, PullConsumer
from libs.common.errors import Conflict, HeadraceError, NotFound, Unavailable
from libs.common.messages import play as m
from libs.common.subjects import PlayKey, parse_play, plays_stream
from libs.common.topology import CONTROL_CONSUMER, WORK_CONSUMER
from services.executor import announce, history
from services.executor.drive import Drive
from services.executor.journal import Redecide, append, publish_timer
from services.executor.modules import http_client
from services.executor.modules.contract import Services
from services.executor.modules.registry import Registry
from services.executor.parts import Parts
from services.executor.plan import Traits
from services.executor.play import Play, evolve, fold
from services.executor.play_commands import LEAVE, Received, receive

HANDLE_ATTEMPTS_MAX = 50
ASK_DRIVER_TIMES = 2
STOP_GRACE_S = 5.0
DEFINITION_MISSES_MAX = 2
OUTPUT_BYTES_MAX = 1_048_576

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
        self._drives: dict[str, list[Drive]] = {}
        self._driving: set[asyncio.Task[None]] = set()
        self._left: list[Drive] = []
        self._consumers: list[PullConsumer] = []
        self._heartbeat: asyncio.Task[None] | None = None
        self._nudges: Any = None
        self._stack = contextlib.AsyncExitStack()
        self._parts: Parts | None = None
        self._plans: history.Plans | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Announce the modules, then take commands."""
        services = self._services or await self._open_services()
        payload_max = self._bus.payload_bytes_max
        self._parts = Parts(
            bus=self._bus,
            clock=self._clock,
            registry=self._registry,
            services=services,
            ack_wait_s=self._config.ack_wait_s,
            output_bytes_max=min(OUTPUT_BYTES_MAX, payload_max // 4),
            commit_bytes_soft_max=payload_max // 4,
        )
        traits = {mod.app_id: Traits(mod.pure, mod.raw_args) for mod in self._registry.all()}
        self._plans = history.Plans(self._bus, traits)
        await announce.modules(self._bus, self._registry, now=self._clock.now())
        self._nudges = await self._bus.subscribe("ctl.play.*", self._nudged)
        self._heartbeat = asyncio.create_task(self._heartbeats(), name="heartbeats")
        for shard in range(self._config.shards):
            stream = plays_stream(shard)
            work = PullConsumer(
                self._bus,
                stream,
                WORK_CONSUMER,
                slots=self._config.drive_slots,
                handler=self._handle_work,
                reserved=lambda: len(self._driving),
            )
            control = PullConsumer(
                self._bus,
                stream,
                CONTROL_CONSUMER,
                slots=self._config.control_slots,
                handler=self._handle_control,
            )
            self._consumers += [work, control]
        for consumer in self._consumers:
            await consumer.start()

    async def _open_services(self) -> Services:
        http = await self._stack.enter_async_context(http_client.http_session(self._config.outbound_allow))
        return Services(http=http, now=self._clock.now, monotonic_s=self._clock.monotonic_s)

    async def stop(self) -> None:
        """Take no more commands, let short plays end, hand the others over to another executor."""
        stopping = [consumer.stop(grace_s=STOP_GRACE_S) for consumer in self._consumers]
        await asyncio.gather(*stopping, self._stop_driving())
        await asyncio.gather(*(self._hand_over(drive) for drive in self._left))
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

    async def _handle_work(self, delivery: Delivery) -> None:
        metrics.CONSUMER_PENDING.labels(WORK_CONSUMER).set(delivery.pending)
        await self._handle(delivery)

    async def _handle_control(self, delivery: Delivery) -> None:
        # A control command may become a driver; it must not keep its slot for that long (R14).
        metrics.CONSUMER_PENDING.labels(CONTROL_CONSUMER).set(delivery.pending)
        decided = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._handle_apart(delivery, decided))
        self._driving.add(task)
        task.add_done_callback(self._driven)
        await decided

    async def _handle_apart(self, delivery: Delivery, decided: "asyncio.Future[None]") -> None:
        try:
            await self._handle(delivery, decided)
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

    async def _handle(self, delivery: Delivery, decided: "asyncio.Future[None] | None" = None) -> None:
        try:
            key, verb = parse_play(delivery.subject)
            envelope = decode_message(delivery.data)
        except (ValueError, msgspec.DecodeError) as error:
            # It stays in the log for whoever looks; redelivering it would never help.
            at = {"subject": delivery.subject, "sequence": delivery.sequence}
            log.error("command_unreadable", **at, error=str(error))  # noqa: TRY400 - the sentence says it all
            await delivery.ack()
            return
        with trace.continued(f"play {verb}", envelope.traceparent, play=key.play_id):
            for attempt in range(HANDLE_ATTEMPTS_MAX):
                fresh = verb == "start" and delivery.delivery == 1 and attempt == 0
                try:
                    await self._decide(key, delivery, envelope, fresh=fresh, decided=decided)
                except (Redecide, Conflict):
                    log.debug("command_decided_again", play=key.play_id, verb=verb)
                    continue
                return
        raise Unavailable(f"play {key.play_id}: could not decide {verb} in {HANDLE_ATTEMPTS_MAX} attempts")

    async def _decide(
        self,
        key: PlayKey,
        delivery: Delivery,
        envelope: Envelope,
        *,
        fresh: bool,
        decided: "asyncio.Future[None] | None",
    ) -> None:
        # A first delivery of a start has no history, or its first commit says so (D3).
        commits = [] if fresh else await history.load(self._bus, key)
        play = fold(commits)
        sequence = commits[-1].sequence if commits else 0
        start = None
        if not play.begun and not isinstance(envelope.data, m.StartPlay):
            start = await history.start_command(self._bus, key)
        driver = m.Driver(delivery.sequence, delivery.delivery)
        received = receive(play, envelope.data, id=envelope.id, driver=driver, start=start)
        if received.action == "drive" and self._drives_already(key, delivery, play):
            # After a pause of this process its own command comes again: its driver lives, and keeps the play.
            received = LEAVE
        match received.action:
            case "leave":
                log.info("command_left_to_its_driver", play=key.play_id, delivery=delivery.delivery)
            case "ack":
                await self._ack(key, delivery, envelope, play, sequence)
            case "record":
                await self._record(key, delivery, envelope, play, sequence, received)
            case "drive":
                await self._drive(key, delivery, envelope, play, sequence, received, decided)
            case "ask_driver":
                # The question takes half of ack_wait: without a sign of life the answer would find two askers.
                await delivery.in_progress()
                if await self._is_driven(key):
                    await self._ack(key, delivery, envelope, play, sequence)
                else:
                    await delivery.in_progress()
                    await self._drive(key, delivery, envelope, play, sequence, received, decided)

    async def _ack(
        self, key: PlayKey, delivery: Delivery, envelope: Envelope, play: Play, sequence: int
    ) -> None:
        # An acknowledgement without an append rests on the leader's word, not on a replica's (D3).
        if await history.last_sequence(self._bus, key, leader=True) != sequence:
            raise Conflict(f"play {key.play_id} moved while a command was being refused")
        await publish_timer(self._bus, key, play, sequence, _context(key, envelope))
        await delivery.ack()

    async def _record(
        self,
        key: PlayKey,
        delivery: Delivery,
        envelope: Envelope,
        play: Play,
        sequence: int,
        received: Received,
    ) -> None:
        """Append a fact to a play that somebody drives, and tell the driver."""
        for event in received.events:
            evolve(play, event)
        commit_id = ids.commit_id()
        data = encode_commit(received.events, commit_id=commit_id, context=_context(key, envelope))
        await append(self._bus, key.event(play.status), data, commit_id, Expected(key.events, sequence))
        await self._bus.publish(key.nudge)
        await delivery.ack()

    async def _drive(
        self,
        key: PlayKey,
        delivery: Delivery,
        envelope: Envelope,
        play: Play,
        sequence: int,
        received: Received,
        decided: "asyncio.Future[None] | None",
    ) -> None:
        assert self._parts is not None
        try:
            plan = await self._plan(play, received)
        except NotFound as error:
            if delivery.delivery <= DEFINITION_MISSES_MAX:
                raise  # a replica may lag behind
            at = self._clock.now()
            lost = m.PlayFailed(at=at, error=error.message, error_code=error.code, started_at=play.started_at)
            failed = Received("record", (*received.events, lost))
            await self._record(key, delivery, envelope, play, sequence, failed)
            return
        drive = Drive(self._parts, key, delivery, envelope, play, plan, sequence)
        drive.begin(received.events)
        # Several at once: a redelivery, or a cancel that overtook its start, may meet a driver in the same process.
        self._drives.setdefault(key.play_id, []).append(drive)
        if decided is not None and not decided.done():
            decided.set_result(None)
        metrics.DRIVING.inc()
        try:
            acknowledge = await drive.run()
        except asyncio.CancelledError:
            self._left.append(drive)
            raise
        finally:
            metrics.DRIVING.dec()
            self._forget(drive)
        if acknowledge:
            await delivery.ack()

    async def _plan(self, play: Play, received: Received) -> Any:
        assert self._plans is not None
        started = next((event for event in received.events if isinstance(event, m.PlayStarted)), None)
        return await self._plans.get(started.definition if started is not None else play.definition)

    def _drives_already(self, key: PlayKey, delivery: Delivery, play: Play) -> bool:
        mine = (
            drive
            for drive in self._drives.get(key.play_id, [])
            if drive.delivery.sequence == delivery.sequence
        )
        return any(drive.epoch == play.epoch for drive in mine)

    def _forget(self, drive: Drive) -> None:
        of_play = self._drives[drive.key.play_id]
        of_play.remove(drive)
        if not of_play:
            del self._drives[drive.key.play_id]

    # ── drivers ─────────────────────────────────────────────────────────────────────────────────────

    def _nudged(self, message: Message) -> None:
        drives = self._drives.get(message.subject.rpartition(".")[2], [])
        for drive in drives:
            drive.nudge()
        if drives and message.reply:
            task = asyncio.get_running_loop().create_task(self._bus.publish(message.reply, b"driving"))
            self._driving.add(task)
            task.add_done_callback(self._driving.discard)

    async def _is_driven(self, key: PlayKey) -> bool:
        # More than once, for a nudge can be lost; longer in all than a driver may pause unseen (R11).
        for _ in range(ASK_DRIVER_TIMES):
            try:
                await self._bus.request(key.nudge, timeout_s=self._config.ack_wait_s / 4)
            except Unavailable:
                continue
            return True
        return False

    async def _heartbeats(self) -> None:
        """Keep every driven play's command from being redelivered, and see what others appended (R12)."""
        interval_s = self._config.ack_wait_s / 3
        async with asyncio.TaskGroup() as group:
            looking: asyncio.Task[Any] | None = None
            while True:
                await asyncio.sleep(interval_s)
                drives = [drive for of_play in self._drives.values() for drive in of_play]
                for drive in drives:
                    await self._beat(drive, drive.keep)
                # A look may wait for its answer longer than a command may go without a sign of life.
                if looking is None or looking.done():
                    looking = group.create_task(self._look(drives))

    async def _look(self, drives: list[Drive]) -> None:
        await asyncio.gather(*(self._beat(drive, drive.look) for drive in drives))

    async def _beat(self, drive: Drive, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except HeadraceError as error:
            log.warning("heartbeat_failed", play=drive.key.play_id, error=error.message)
        except Exception:
            # Whatever is wrong with one play, the others' heartbeats go on.
            log.exception("heartbeat_crashed", play=drive.key.play_id)

    async def _hand_over(self, drive: Drive) -> None:
        """Ask for another driver of a play that was left: nobody has to wait for a redelivery."""
        key = drive.key
        revive = m.RevivePlay(at=self._clock.now(), epoch=drive.epoch)
        context = Context(source=source_of(key.company_id, key.flow_id), subject=key.play_id)
        id = ids.commit_id()
        try:
            data = encode_message(revive, id=id, context=context)
            await self._bus.append(key.command("revive"), data, id=id, deadline_s=STOP_GRACE_S)
        except Unavailable as error:
            log.warning("hand_over_failed", play=key.play_id, error=error.message)
            return
        log.info("play_handed_over", play=key.play_id)


def _context(key: PlayKey, envelope: Envelope) -> Context:
    return Context(
        source=source_of(key.company_id, key.flow_id),
        subject=key.play_id,
        correlation_id=envelope.correlation_id or key.play_id,
        causation_id=envelope.id,
        traceparent=trace.current_traceparent(),
    )
