"""Decides what people define (D7): load, decide, append under the subject's lock (D3), answer when readable (D11)."""

import re

import msgspec
import structlog

from libs.common import codec, subjects, trace
from libs.common.bus import Bus, Expected, Stored
from libs.common.errors import Conflict, HeadraceError, Invalid, NotFound, Unavailable
from libs.common.ids import derived_id, is_id
from libs.common.messages.flow import (
    AddLayer,
    AnyFlowCommand,
    CreateFlow,
    Flow,
    FlowEvent,
    FlowFields,
    RestoreFlow,
    UpdateFlow,
    UpdateLayer,
)
from libs.common.messages.group import GroupEvent
from libs.common.messages.query import Reply
from services.store.catalogue import Catalogue
from services.store.claims import PERMANENT, Claims
from services.store.domain.flow import Surroundings, check_fields, decide
from services.store.domain.names import is_permanent_id, slug_of
from services.store.domain.warnings import warnings
from services.store.progress import Progress
from services.store.read_models import flows

DECISION_ATTEMPTS_MAX = 20
APPEND_DEADLINE_S = 5.0
PROJECTION_WAIT_S_MAX = 5.0
STREAM = subjects.DEFINITIONS
_COMMAND_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")

log = structlog.get_logger(__name__)


class Known(msgspec.Struct, frozen=True):
    """A flow as the log has it, and where; `event_id` is the command that made it so."""

    flow: Flow
    sequence: int
    event_id: str


class Definitions:
    """Answers commands on flows."""

    def __init__(self, bus: Bus, catalogue: Catalogue, progress: Progress) -> None:
        self._bus = bus
        self._catalogue = catalogue
        self._progress = progress

    async def handle(self, command: AnyFlowCommand) -> Reply:
        """Decide a command once, however often it arrives, and return the flow after it.

        Raises what the rules raise, and Unavailable when NATS does not answer or others write all the time.
        """
        command = await self._by_id(command)
        done = await self._leave_lost_group(command, await self._done(command))
        await self._projected(done.sequence)
        log.info(
            "flow_command_handled", command=type(command).__name__, flow=done.flow.id, sequence=done.sequence
        )
        shown = flows.view(done.flow) | {"warnings": self._warnings(done.flow)}
        data = msgspec.Raw(codec.encode(shown))
        return Reply(data=data, sequences={STREAM: done.sequence})

    def _warnings(self, flow: Flow) -> tuple[str, ...]:
        try:
            return warnings(flow, self._catalogue.modules()) if flow.layers else ()
        except Unavailable:
            # Nobody can tell before an executor has announced its modules.
            return ()

    async def _leave_lost_group(self, command: AnyFlowCommand, done: Known) -> Known:
        # A group that is deleted lets its flows go; one that joined while it was looking is let go here.
        if not isinstance(command, CreateFlow | UpdateFlow | RestoreFlow) or done.flow.group_id is None:
            return done
        if await self._group_exists(command.company_id, done.flow.group_id):
            return done
        leave = UpdateFlow(
            id=derived_id(command.id, "leave group"),
            at=command.at,
            company_id=command.company_id,
            by=command.by,
            origin=command.origin,
            flow_id=done.flow.id,
            fields=FlowFields(group_id=None),
        )
        return await self._done(leave)

    async def _by_id(self, command: AnyFlowCommand) -> AnyFlowCommand:
        # Both become part of a subject or a header.
        if not is_id(command.company_id):
            raise Invalid("companyId is not an id")
        if not _COMMAND_ID.fullmatch(command.id):
            raise Invalid("the command's id must match ^[A-Za-z0-9_.-]{1,64}$")
        # A permanentId is accepted anywhere a flow id is (spec flow8 section 5.1).
        if is_id(command.flow_id):
            return command
        owner = None
        if is_permanent_id(command.flow_id) and not isinstance(command, CreateFlow):
            owner = await Claims(self._bus, command.company_id, PERMANENT).owner(command.flow_id)
        if owner is None:
            raise NotFound(f"there is no flow {command.flow_id[:80]}", code="FLOW_NOT_FOUND")
        return msgspec.structs.replace(command, flow_id=owner)

    async def _done(self, command: AnyFlowCommand) -> Known:
        subject = subjects.definition("flow", command.company_id, command.flow_id)
        for _ in range(DECISION_ATTEMPTS_MAX):
            known = _known(await self._bus.last(STREAM, subject, leader=True))
            if known is not None and known.event_id == command.id:
                return known
            try:
                given = await self._surroundings(command, known)
                event = decide(command, known.flow if known else None, given)
                return await self._append(command, subject, event, known)
            except Conflict:
                earlier = await self._earlier(command, subject)
            except HeadraceError:
                # A repeated command may well be refused: what it asked for has been done, by itself.
                earlier = await self._earlier(command, subject)
                if earlier is None:
                    raise
            if earlier is not None:
                return earlier
        raise Unavailable(f"flow {command.flow_id} is being changed by others all the time; try again")

    async def _surroundings(self, command: AnyFlowCommand, known: Known | None) -> Surroundings:
        group_exists, permanent_id = False, ""
        if isinstance(command, CreateFlow | UpdateFlow):
            fields = check_fields(command.fields)
            group_exists = await self._group_exists(command.company_id, fields.get("group_id"))
            if known is None and isinstance(command, CreateFlow) and "name" in fields:
                # Claimed only for what will hold; a name claimed for nothing stays taken.
                trial = Surroundings(modules={}, group_exists=group_exists)
                decide(command, None, trial)
                claims = Claims(self._bus, command.company_id, PERMANENT)
                permanent_id = await claims.claim_free(
                    slug_of(fields["name"]), command.flow_id, at=command.at
                )
            return Surroundings(modules={}, permanent_id=permanent_id, group_exists=group_exists)
        if isinstance(command, RestoreFlow):
            old = await self._version(command)
            group_exists = old is not None and await self._group_exists(command.company_id, old.group_id)
            return Surroundings(modules={}, restored=old, group_exists=group_exists)
        needs_modules = isinstance(command, AddLayer | UpdateLayer)
        return Surroundings(modules=self._catalogue.modules() if needs_modules else {})

    async def _group_exists(self, company_id: str, group_id: str | None) -> bool:
        if group_id is None or not is_id(group_id):
            return False
        subject = subjects.definition("group", company_id, group_id)
        stored = await self._bus.last(STREAM, subject, leader=True)
        event = None if stored is None else codec.last_event(stored.data).data
        return isinstance(event, GroupEvent) and not event.group.deleted

    async def _version(self, command: RestoreFlow) -> Flow | None:
        subject = subjects.definition("flow", command.company_id, command.flow_id)
        for stored in await self._bus.load(STREAM, subject):
            known = _known(stored)
            if known is not None and known.flow.version == command.version:
                return known.flow
        return None

    async def _append(
        self, command: AnyFlowCommand, subject: str, event: FlowEvent, known: Known | None
    ) -> Known:
        context = codec.Context(
            source=codec.source_of(command.company_id, command.flow_id),
            subject=command.flow_id,
            correlation_id=command.id,
            causation_id=command.id,
            traceparent=trace.current_traceparent(),
        )
        expected = Expected(subject, known.sequence if known else 0)
        event = msgspec.structs.replace(event, origin=command.origin)
        body = codec.encode_message(event, id=command.id, context=context)
        place = await self._bus.append(
            subject, body, id=command.id, expected=expected, deadline_s=APPEND_DEADLINE_S
        )
        if place.duplicate:
            stored = _known(await self._bus.get(STREAM, place.sequence))
            if stored is None or stored.event_id != command.id:
                raise Unavailable(f"what command {command.id} stored cannot be read; try again")
            return stored
        return Known(event.flow, place.sequence, command.id)

    async def _earlier(self, command: AnyFlowCommand, subject: str) -> Known | None:
        for stored in reversed(await self._bus.load(STREAM, subject)):
            known = _known(stored)
            if known is not None and known.event_id == command.id:
                return known
        return None

    async def _projected(self, sequence: int) -> None:
        # The event is stored: a slow projection is no reason to say that it is not.
        try:
            if not await self._progress.reached(STREAM, sequence, timeout_s=PROJECTION_WAIT_S_MAX):
                log.warning("answered_before_projection", stream=STREAM, sequence=sequence)
        except Unavailable as error:
            log.warning("answered_before_projection", stream=STREAM, sequence=sequence, error=error.message)


def _known(stored: Stored | None) -> Known | None:
    if stored is None:
        return None
    envelope = codec.last_event(stored.data)
    event = envelope.data
    return Known(event.flow, stored.sequence, envelope.id) if isinstance(event, FlowEvent) else None
