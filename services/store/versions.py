"""Versions of flows: listed from the read model, read from the log, which keeps all of them (design D7)."""

from typing import Any

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.errors import NotFound, Unavailable
from libs.common.messages.flow import Flow, FlowEvent
from libs.common.messages.query import Rows
from libs.common.messages.version import DiffFlowVersions, FlowVersion, GetFlowVersion, ListFlowVersions
from services.store.domain.differences import differences
from services.store.listing import Listing, Where
from services.store.read_models import flows

_INTEGER_MAX = 2**31 - 1


class Versions:
    """Answers questions about the versions of a flow, which is named by its id."""

    def __init__(self, bus: Bus, listing: Listing) -> None:
        self._bus = bus
        self._listing = listing

    async def page(self, query: ListFlowVersions) -> Rows:
        """Return a page of versions, newest first."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("flow_id = ", query.flow_id)
        rows, total = await self._listing.page(
            "version, at, by, change", "flow_versions", where, "version desc", query.page
        )
        return Rows([FlowVersion(**row) for row in rows], total)

    async def get(self, query: GetFlowVersion) -> dict[str, Any]:
        """Return a flow as it was. Raises NotFound (FLOW_VERSION_NOT_FOUND)."""
        await self._listing.caught_up(query)
        return flows.view(await self._version(query.company_id, query.flow_id, query.version))

    async def diff(self, query: DiffFlowVersions) -> dict[str, Any]:
        """Return where two versions differ. Raises NotFound (FLOW_VERSION_NOT_FOUND)."""
        await self._listing.caught_up(query)
        before = await self._version(query.company_id, query.flow_id, query.from_version)
        after = await self._version(query.company_id, query.flow_id, query.to_version)
        return {"from": before.version, "to": after.version, "changes": differences(before, after)}

    async def _version(self, company_id: str, flow_id: str, version: int) -> Flow:
        where = Where(company_id).add("flow_id = ", flow_id).add("version = ", version)
        row = None
        if 0 < version <= _INTEGER_MAX:
            row = await self._listing.row("sequence", "flow_versions", where)
        if row is None:
            raise missing(flow_id, version)
        stored = await self._bus.get(subjects.DEFINITIONS, row["sequence"])
        event = None if stored is None else codec.last_event(stored.data).data
        if not isinstance(event, FlowEvent):
            raise Unavailable(f"version {version} of flow {flow_id} cannot be read from the log")
        return event.flow


def missing(flow_id: str, version: int) -> NotFound:
    """Return the refusal of a version that never was."""
    return NotFound(f"flow {flow_id} has no version {version}", code="FLOW_VERSION_NOT_FOUND")
