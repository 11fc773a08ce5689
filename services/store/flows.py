"""Flows as people define them (D7): decides their commands, with what the rules need to know beside the flow."""

import msgspec
import structlog

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.errors import NotFound, Unavailable
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
from services.store.ledger import Decided, Ledger, Stand, check_command
from services.store.read_models.flows import view

log = structlog.get_logger(__name__)


class Flows:
    """Answers `cmd.flow`."""

    def __init__(self, bus: Bus, ledger: Ledger, catalogue: Catalogue) -> None:
        self._bus = bus
        self._ledger = ledger
        self._catalogue = catalogue

    async def handle(self, command: AnyFlowCommand) -> Reply:
        """Decide a command once, however often it arrives, and return the flow after it.

        Raises what the rules raise, and Unavailable when NATS does not answer or others write all the time.
        """
        command = await self._by_id(command)
        done = await self._leave_lost_group(command, await self._decide(command))
        await self._ledger.projected(done.sequence)
        flow: Flow = done.event.flow
        log.info("flow_command_handled", command=type(command).__name__, flow=flow.id, sequence=done.sequence)
        shown = view(flow) | {"warnings": self._warnings(flow)}
        data = msgspec.Raw(codec.encode(shown))
        return Reply(data=data, sequences={subjects.DEFINITIONS: done.sequence})

    def _warnings(self, flow: Flow) -> tuple[str, ...]:
        try:
            return warnings(flow, self._catalogue.modules()) if flow.layers else ()
        except Unavailable:
            # Nobody can tell before an executor has announced its modules.
            return ()

    async def _leave_lost_group(self, command: AnyFlowCommand, done: Stand) -> Stand:
        # A group that is deleted lets its flows go; one that joined while it was looking is let go here.
        flow: Flow = done.event.flow
        if not isinstance(command, CreateFlow | UpdateFlow | RestoreFlow) or flow.group_id is None:
            return done
        if await self._group_exists(command.company_id, flow.group_id):
            return done
        leave = UpdateFlow(
            id=derived_id(command.id, "leave group"),
            at=command.at,
            company_id=command.company_id,
            by=command.by,
            origin=command.origin,
            flow_id=flow.id,
            fields=FlowFields(group_id=None),
        )
        return await self._decide(leave)

    async def _by_id(self, command: AnyFlowCommand) -> AnyFlowCommand:
        check_command(command)
        # A permanentId is accepted anywhere a flow id is (spec flow8 section 5.1).
        if is_id(command.flow_id):
            return command
        owner = None
        if is_permanent_id(command.flow_id) and not isinstance(command, CreateFlow):
            owner = await Claims(self._bus, command.company_id, PERMANENT).owner(command.flow_id)
        if owner is None:
            raise NotFound(f"there is no flow {command.flow_id[:80]}", code="FLOW_NOT_FOUND")
        return msgspec.structs.replace(command, flow_id=owner)

    async def _decide(self, command: AnyFlowCommand) -> Stand:
        async def rule(known: Stand | None) -> Decided:
            flow = _flow(known)
            event = decide(command, flow, await self._surroundings(command, flow))
            return Decided(msgspec.structs.replace(event, origin=command.origin), flow_id=command.flow_id)

        subject = subjects.definition("flow", command.company_id, command.flow_id)
        return await self._ledger.decide(command, subject, rule)

    async def _surroundings(self, command: AnyFlowCommand, known: Flow | None) -> Surroundings:
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
        known = await self._ledger.last(subject)
        event = None if known is None else known.event
        return isinstance(event, GroupEvent) and not event.group.deleted

    async def _version(self, command: RestoreFlow) -> Flow | None:
        subject = subjects.definition("flow", command.company_id, command.flow_id)
        for stored in await self._bus.load(subjects.DEFINITIONS, subject):
            event = codec.last_event(stored.data).data
            if isinstance(event, FlowEvent) and event.flow.version == command.version:
                return event.flow
        return None


def _flow(known: Stand | None) -> Flow | None:
    return known.event.flow if known is not None and isinstance(known.event, FlowEvent) else None
