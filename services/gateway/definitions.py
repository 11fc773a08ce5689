"""Which flow is meant, and may it run: from the log, without asking the store (D7)."""

import re
from typing import NamedTuple

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.errors import NotFound
from libs.common.messages.access import NameClaimed
from libs.common.messages.flow import FlowEvent
from services.gateway.latest import Latest
from services.gateway.routing import Call, shown

FLOWS_MAX = 50_000
NAMES_MAX = 50_000
_PERMANENT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")


class Definition(NamedTuple):
    """What starting a play needs of a flow's definition; `sequence` is its place in DEFINITIONS."""

    id: str
    version: int
    sequence: int
    enabled: bool
    deleted: bool
    group_id: str | None = None
    is_limited: bool = False  # only so many of its plays run at once


def plausible(text: str) -> bool:
    """Tell whether this can be a flow's id or permanentId; anything else is safe neither in a subject nor in SQL."""
    return ids.is_id(text) or _PERMANENT_ID.fullmatch(text) is not None


class Definitions:
    """The flows' definitions, by id or permanentId."""

    def __init__(self, bus: Bus, *, replicated: bool) -> None:
        self._flows = Latest(bus, "flow", _definition, entries_max=FLOWS_MAX, replicated=replicated)
        self._names = Latest(bus, "claim", _owner, entries_max=NAMES_MAX, replicated=replicated)

    async def start(self) -> None:
        """Follow what changes."""
        await self._flows.start()
        await self._names.start()

    async def find(self, company_id: str, flow: str) -> Definition:
        """Return the definition of a flow named by id or permanentId (Q31).

        Raises NotFound when there is none, or it is deleted.
        """
        found = self._flows.peek(subjects.definition("flow", company_id, flow))
        if found is None and plausible(flow):
            found = await self._read(company_id, flow)
        if found is None or found.deleted:
            raise NotFound(f"no flow {shown(flow)}", code="FLOW_NOT_FOUND")
        return found

    async def named(self, call: Call) -> Definition:
        """Return the definition of the flow that a call's path names first. Raises NotFound as `find`."""
        return await self.find(call.caller.company_id, call.parameters[0])

    async def id_of(self, company_id: str, flow: str) -> str | None:
        """Return the id of a flow, deleted ones included; None when nothing of that name ever was."""
        if ids.is_id(flow):
            return flow
        return (
            await self._names.get(subjects.claim(company_id, "permanent", flow)) if plausible(flow) else None
        )

    def changed(self, company_id: str, flow_id: str, sequence: int) -> None:
        """Take note that a definition is now at least as new as this place in DEFINITIONS."""
        self._flows.expect(subjects.definition("flow", company_id, flow_id), sequence)

    async def _read(self, company_id: str, flow: str) -> Definition | None:
        if ids.is_id(flow):
            found = await self._flows.get(subjects.definition("flow", company_id, flow))
            if found is not None:
                return found
        owner = await self._names.get(subjects.claim(company_id, "permanent", flow))
        return (
            None if owner is None else await self._flows.get(subjects.definition("flow", company_id, owner))
        )


def _definition(envelope: codec.Envelope, sequence: int) -> Definition:
    event = envelope.data
    assert isinstance(event, FlowEvent), f"{envelope.type} among flows"
    flow = event.flow
    return Definition(
        id=flow.id,
        version=flow.version,
        sequence=sequence,
        enabled=flow.enabled,
        deleted=flow.deleted,
        group_id=flow.group_id,
        is_limited=flow.execution.max_concurrent > 0,
    )


def _owner(envelope: codec.Envelope, _sequence: int) -> str:
    event = envelope.data
    assert isinstance(event, NameClaimed), f"{envelope.type} among claims"
    return event.owner_id
