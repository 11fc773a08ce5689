"""What an executor does with a delivered command: decide it, record its fact, refuse it, or drive its play (D5)."""

import asyncio
from typing import Any

import msgspec
import structlog

from libs.common import ids, metrics, trace
from libs.common.bus import Expected
from libs.common.codec import Context, Envelope, decode_message, encode_commit, source_of
from libs.common.consumer import Delivery
from libs.common.errors import Conflict, NotFound, Unavailable
from libs.common.messages import play as m
from libs.common.subjects import PlayKey, parse_play
from services.executor import history
from services.executor.drive import Drive
from services.executor.drivers import Drivers
from services.executor.journal import Redecide, append, publish_timer
from services.executor.parts import Parts
from services.executor.play import Play, evolve, fold
from services.executor.play_commands import LEAVE, Received, receive

HANDLE_ATTEMPTS_MAX = 50
DEFINITION_MISSES_MAX = 2

log = structlog.get_logger(__name__)


class Commands:
    """Handles the commands of plays, whichever consumer they came from."""

    def __init__(self, parts: Parts, plans: history.Plans, drivers: Drivers) -> None:
        self._parts = parts
        self._plans = plans
        self._drivers = drivers

    async def handle(self, delivery: Delivery, decided: "asyncio.Future[None] | None" = None) -> None:
        """Decide a delivered command, and drive its play if that is what it means; `decided` is set when it drives.

        Raises Unavailable when the log does not answer: the command stays unacknowledged and comes again.
        """
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
        commits = [] if fresh else await history.load(self._parts.bus, key)
        play = fold(commits)
        sequence = commits[-1].sequence if commits else 0
        start = None
        if not play.begun and not isinstance(envelope.data, m.StartPlay):
            start = await history.start_command(self._parts.bus, key)
        driver = m.Driver(delivery.sequence, delivery.delivery)
        received = receive(play, envelope.data, id=envelope.id, driver=driver, start=start)
        if received.action == "drive" and self._drivers.drives(key, delivery, play.epoch):
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
                if await self._drivers.answers(key):
                    await self._ack(key, delivery, envelope, play, sequence)
                else:
                    await delivery.in_progress()
                    await self._drive(key, delivery, envelope, play, sequence, received, decided)

    async def _ack(
        self, key: PlayKey, delivery: Delivery, envelope: Envelope, play: Play, sequence: int
    ) -> None:
        # An acknowledgement without an append rests on the leader's word, not on a replica's (D3).
        if await history.last_sequence(self._parts.bus, key, leader=True) != sequence:
            raise Conflict(f"play {key.play_id} moved while a command was being refused")
        await publish_timer(self._parts.bus, key, play, sequence, _context(key, envelope))
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
        await append(self._parts.bus, key.event(play.status), data, commit_id, Expected(key.events, sequence))
        await self._parts.bus.publish(key.nudge)
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
        try:
            plan = await self._plan(play, received)
        except NotFound as error:
            if delivery.delivery <= DEFINITION_MISSES_MAX:
                raise  # a replica may lag behind
            at = self._parts.clock.now()
            lost = m.PlayFailed(at=at, error=error.message, error_code=error.code, started_at=play.started_at)
            failed = Received("record", (*received.events, lost))
            await self._record(key, delivery, envelope, play, sequence, failed)
            return
        drive = Drive(self._parts, key, delivery, envelope, play, plan, sequence)
        drive.begin(received.events)
        self._drivers.add(drive)
        if decided is not None and not decided.done():
            decided.set_result(None)
        metrics.DRIVING.inc()
        try:
            acknowledge = await drive.run()
        except asyncio.CancelledError:
            self._drivers.left.append(drive)
            raise
        finally:
            metrics.DRIVING.dec()
            self._drivers.remove(drive)
        if acknowledge:
            await delivery.ack()

    async def _plan(self, play: Play, received: Received) -> Any:
        started = next((event for event in received.events if isinstance(event, m.PlayStarted)), None)
        return await self._plans.get(started.definition if started is not None else play.definition)


def _context(key: PlayKey, envelope: Envelope) -> Context:
    return Context(
        source=source_of(key.company_id, key.flow_id),
        subject=key.play_id,
        correlation_id=envelope.correlation_id or key.play_id,
        causation_id=envelope.id,
        traceparent=trace.current_traceparent(),
    )
