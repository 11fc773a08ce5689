"""What an executor does with a delivered command: decide it, record its fact, refuse it, or drive its play (D5)."""

import asyncio
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from libs.common import ids, newer, trace
from libs.common.bus import Expected
from libs.common.codec import Context, Envelope, UnknownType, decode_message, source_of
from libs.common.consumer import Delivery
from libs.common.errors import Conflict, HeadraceError, NotFound, PayloadLost, Unavailable
from libs.common.lane import COMPANY
from libs.common.messages import play as m
from libs.common.subjects import PlayKey, parse_play
from services.executor import history
from services.executor.drive import Drive
from services.executor.drivers import Drivers
from services.executor.duties import Duties
from services.executor.history import History
from services.executor.journal import CONFLICT_PAUSE_S, Redecide, append, publish_timer, snapshot_place
from services.executor.leftovers import clean_up
from services.executor.parts import Parts
from services.executor.play import Play, evolve
from services.executor.play_commands import LEAVE, Admission, Received, receive
from services.executor.play_duties import has_duties
from services.executor.play_retry import restarts

HANDLE_ATTEMPTS_MAX = 50
MISSES_MAX = 2
# What tells a driver something and leaves the play with it.
FACTS = (
    m.CancelRequested,
    m.HoldRequested,
    m.HoldLifted,
    m.ApprovalDecided,
    m.ApprovalVoted,
    m.ChildReturned,
)
# Nobody retries one play as often.
FORGOTTEN_RETRIES_MAX = 1_000
_FOR_PARKED = (m.CarryOverPlay, m.ReleasePlay)

log = structlog.get_logger(__name__)


class Commands:
    """Handles the commands of plays, whichever consumer they came from."""

    def __init__(self, parts: Parts, plans: history.Plans, drivers: Drivers) -> None:
        self._parts = parts
        self._plans = plans
        self._drivers = drivers

    async def handle(self, delivery: Delivery, decided: "asyncio.Future[None] | None" = None) -> None:
        """Decide a delivered command, and drive its play if that is what it means; `decided` is set when it drives.

        Raises Unavailable when the log does not answer: the command stays unacknowledged and comes again. So it does
        when it, or anything it has to be decided on, is of a type that only a newer release knows: for one that does.
        """
        try:
            await self._handle(delivery, decided)
        except UnknownType as error:
            newer.note(error, what="command", subject=delivery.subject, sequence=delivery.sequence)

    async def _handle(self, delivery: Delivery, decided: "asyncio.Future[None] | None") -> None:
        try:
            key, verb = parse_play(delivery.subject)
            envelope = decode_message(delivery.data)
        except UnknownType:
            raise
        except (ValueError, msgspec.DecodeError) as error:
            # It stays in the log for whoever looks; redelivering it would never help.
            at = {"subject": delivery.subject, "sequence": delivery.sequence}
            log.error("command_unreadable", **at, error=str(error))  # noqa: TRY400 - the sentence says it all
            await delivery.ack()
            return
        with trace.continued(f"play {verb}", envelope.traceparent, play=key.play_id):
            gap: HeadraceError | None = None
            if getattr(envelope.data, "payloads", None) is not None:
                try:
                    envelope = await self._parts.payloads.whole_message(envelope)
                except PayloadLost as error:
                    gap = error
            given = _Given(key, delivery, envelope, gap)
            for attempt in range(HANDLE_ATTEMPTS_MAX):
                fresh = verb == "start" and delivery.delivery == 1 and attempt == 0
                try:
                    await self._decide(given, fresh=fresh, decided=decided)
                except Moved as moved:
                    given = replace(given, known=moved.known)
                    await asyncio.sleep(CONFLICT_PAUSE_S * ids.chance())
                    continue
                except (Redecide, Conflict):
                    given = replace(given, known=None)
                    log.debug("command_decided_again", play=key.play_id, verb=verb)
                    continue
                return
        raise Unavailable(f"play {key.play_id}: could not decide {verb} in {HANDLE_ATTEMPTS_MAX} attempts")

    async def _decide(self, given: "_Given", *, fresh: bool, decided: "asyncio.Future[None] | None") -> None:
        key, delivery, envelope = given.key, given.delivery, given.envelope
        bus, payloads = self._parts.bus, self._parts.payloads
        # A first delivery of a start has no history, or its first commit says so (D3).
        known = history.unknown() if fresh else await self._load(given)
        start = None
        if not known.play.begun and not isinstance(envelope.data, m.StartPlay):
            start = await history.start_command(bus, payloads, key)
        driver = m.Driver(delivery.sequence, delivery.delivery)
        if self._is_older_than_the_log(known.play, envelope.data):
            # With its history forgotten a play that ran long ago would look new (D16).
            log.error("command_too_old", play=key.play_id, at=envelope.data.at.isoformat())
            await delivery.ack()
            return
        command = envelope.data
        restarted = await self._restarts(known, command) if isinstance(command, m.RetryPlay) else None
        admission = await self._admit(given, known, start, retries=restarted is not None)
        received = receive(
            known.play,
            envelope.data,
            id=envelope.id,
            driver=driver,
            start=start,
            restarts=restarted,
            admission=admission,
        )
        gap = given.gap or known.gap or _forgotten(known, start, envelope.data)
        if gap is not None and not known.play.ended:
            await self._fail(given, known, received, gap)
            return
        if received.action == "drive" and self._drivers.drives(key, delivery, known.play.epoch):
            # After a pause of this process its own command comes again: its driver lives, and keeps the play.
            received = LEAVE
        if received.action in {"drive", "ask_driver"} and _may_be_acked_by_others(given, known.play):
            await self._send_anew(delivery)
            return
        match received.action:
            case "leave":
                log.info("command_left_to_its_driver", play=key.play_id, delivery=delivery.delivery)
            case "ack":
                await self._ack(key, delivery, envelope, known)
            case "record":
                await self._record(key, delivery, envelope, known, received)
            case "drive":
                await self._drive(given, known, received, decided)
            case "ask_driver":
                # The question takes half of ack_wait: without a sign of life the answer would find two askers.
                await delivery.in_progress()
                if await self._drivers.answers(key):
                    await self._ack(key, delivery, envelope, known)
                else:
                    await delivery.in_progress()
                    await self._drive(given, known, received, decided)

    async def _load(self, given: "_Given") -> History:
        bus, payloads = self._parts.bus, self._parts.payloads
        if given.known is None:
            return await history.load(bus, payloads, given.key)
        return await history.renew(bus, payloads, given.key, given.known)

    def _is_older_than_the_log(self, play: Play, command: m.PlayCommand) -> bool:
        if play.begun or not isinstance(command, m.StartPlay):
            return False
        return self._parts.clock.now() - command.at > self._parts.log_age_max

    async def _send_anew(self, delivery: Delivery) -> None:
        """Let a command come as a new message, which nobody holds an older delivery of (R15).

        This one stays unacknowledged: whoever holds an older delivery may just be taking the play under it. It comes
        again, finds itself applied, and ends. Not each time another: the new message may wait in a long queue.
        """
        again = delivery.delivery & (delivery.delivery - 1) == 0
        if again:
            await self._parts.bus.append(delivery.subject, delivery.data, id=ids.commit_id())
        log.info("command_sent_anew", subject=delivery.subject, delivery=delivery.delivery, sent=again)

    async def _restarts(self, known: History, command: m.RetryPlay) -> tuple[str, ...] | None:
        # A retry means one end of the play, not whatever end it finds: two at once are one.
        if known.play.status != "FAIL":
            return None
        if command.after != known.sequence or known.gap is not None:
            return None
        return restarts(known.play, await self._plans.get(known.play.definition))

    async def _admit(
        self, given: "_Given", known: History, start: m.StartPlay | None, *, retries: bool
    ) -> Admission:
        key, envelope, admissions = given.key, given.envelope, self._parts.admissions
        if not retries:
            return await admissions.admit(key, known, envelope.data, start)
        # A retry begins the end anew: whoever came to it may have died before it did the duties of it. Its slot, too,
        # is free before the retry takes one.
        await self._do_duties(key, envelope, known.play)
        return await admissions.admit_retry(key, known)

    async def _ack(self, key: PlayKey, delivery: Delivery, envelope: Envelope, known: History) -> None:
        # An acknowledgement without an append rests on the leader's word, not on a replica's (D3).
        if await history.last_sequence(self._parts.bus, key, leader=True) != known.sequence:
            raise Moved(known)
        await self._do_duties(key, envelope, known.play)
        await publish_timer(self._parts.bus, key, known.play, known.sequence, _context(key, envelope))
        await delivery.ack()

    async def _do_duties(self, key: PlayKey, envelope: Envelope, play: Play) -> None:
        """Do again what a play that nobody drives obliges to: whoever left it so may have died before."""
        if play.status == "RUN" or not has_duties(play):
            return
        if not play.definition:
            # How it began is forgotten: it may have had slots of these, for one of so many retries.
            play.lanes, play.retries = (key.flow_id, COMPANY), FORGOTTEN_RETRIES_MAX
        try:
            plan = await self._plans.get(play.definition) if play.definition else None
        except NotFound:
            plan = None
        parts = self._parts
        duties = Duties(parts, key, envelope.correlation_id or key.play_id)
        await duties.perform(play, plan)

    async def _record(
        self, key: PlayKey, delivery: Delivery, envelope: Envelope, known: History, received: Received
    ) -> None:
        """Append facts to a play that somebody drives, or that stays parked, and tell the driver."""
        play, context, bus = known.play, _context(key, envelope), self._parts.bus
        tells_driver = play.status == "RUN" and all(isinstance(event, FACTS) for event in received.events)
        if not tells_driver:
            for event in received.events:
                evolve(play, event)
        commit_id = ids.commit_id()
        data = await self._parts.payloads.encode_commit(received.events, commit_id=commit_id, context=context)
        try:
            appended = await append(
                bus,
                key.event(play.status),
                data,
                commit_id,
                Expected(key.events, known.sequence),
                snapshot=snapshot_place(received.events, known.base),
            )
        except Conflict as error:
            if tells_driver:
                raise Moved(known) from error
            raise
        # Of a play that stays parked: whoever set its timer may have been too late for it just now (R7).
        await publish_timer(bus, key, play, appended.sequence, context)
        await bus.publish(key.nudge)
        await self._do_duties(key, envelope, play)
        await delivery.ack()

    async def _fail(self, given: "_Given", known: History, received: Received, gap: HeadraceError) -> None:
        """End a play visibly whose history or values the log does not hold any more."""
        key, delivery, envelope = given.key, given.delivery, given.envelope
        if delivery.delivery <= MISSES_MAX:
            # A replica may lag behind.
            raise Unavailable(f"play {key.play_id}: {gap.message}")
        log.error("play_lost", play=key.play_id, code=gap.code, error=gap.message)
        started_at = known.play.started_at
        lost = m.PlayFailed(
            at=self._parts.clock.now(), error=gap.message, error_code=gap.code, started_at=started_at
        )
        failed = Received("record", (*received.events, lost))
        await self._record(key, delivery, envelope, known, failed)

    async def _drive(
        self,
        given: "_Given",
        known: History,
        received: Received,
        decided: "asyncio.Future[None] | None",
    ) -> None:
        key, delivery, envelope = given.key, given.delivery, given.envelope
        try:
            plan = await self._plan(known.play, received)
        except NotFound as error:
            await self._fail(given, known, received, error)
            return
        drive = Drive(self._parts, key, delivery, envelope, known, plan)
        drive.begin(received.events)
        self._drivers.add(drive)
        if decided is not None and not decided.done():
            decided.set_result(None)
        try:
            acknowledge = await drive.run()
        except asyncio.CancelledError:
            self._drivers.left.append(drive)
            raise
        finally:
            self._drivers.remove(drive)
        if drive.play.ended:
            await clean_up(self._parts, key, plan)
        if acknowledge:
            await delivery.ack()

    async def _plan(self, play: Play, received: Received) -> Any:
        # Of a play that begins, what it runs stands in its first event.
        begins = received.events[0] if received.events else None
        of = begins if isinstance(begins, m.PlayStarted) else play
        plan = await self._plans.get(of.definition)
        return plan.isolated() if of.isolated else plan


def _may_be_acked_by_others(given: "_Given", play: Play) -> bool:
    """Tell whether somebody may hold an earlier delivery of this command, on which he decided to acknowledge it.

    Frozen before he did, he would wake up and take the new driver's safety net: any delivery's acknowledgement counts.
    Nobody refuses a start, nor the command that drives the play already.
    """
    if given.delivery.delivery == 1 or isinstance(given.envelope.data, m.StartPlay):
        return False
    return play.driver is None or play.driver.sequence != given.delivery.sequence


def _forgotten(known: History, start: m.StartPlay | None, command: m.PlayCommand) -> HeadraceError | None:
    """Tell whether the log has forgotten a play altogether: these are sent only to plays that were parked."""
    if known.commits or start is not None or not isinstance(command, _FOR_PARKED):
        return None
    return NotFound("the log holds nothing of this play any more", code="HISTORY_LOST")


class Moved(Exception):
    """Somebody else appended to the play. What was `known` holds but for that.

    To read a long play anew takes longer than its driver takes to append again.
    """

    def __init__(self, known: History) -> None:
        super().__init__("the play moved")
        self.known = known


class _Given(msgspec.Struct, frozen=True):
    """A command to decide; `gap` when a big value of it is gone, `known` what was read for it before."""

    key: PlayKey
    delivery: Delivery
    envelope: Envelope
    gap: HeadraceError | None
    known: History | None = None


def _context(key: PlayKey, envelope: Envelope) -> Context:
    return Context(
        source=source_of(key.company_id, key.flow_id),
        subject=key.play_id,
        correlation_id=envelope.correlation_id or key.play_id,
        causation_id=envelope.id,
        traceparent=trace.current_traceparent(),
    )
