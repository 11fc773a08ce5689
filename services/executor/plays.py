"""Other plays, as an executor deals with them: which flow is meant, a start that counts once, commands for them."""

import re

from libs.common import ids, subjects
from libs.common.bus import Bus, Expected, Stored
from libs.common.codec import Context, last_event, source_of
from libs.common.errors import Conflict, NotFound
from libs.common.messages import play as m
from libs.common.messages.access import NameClaimed
from libs.common.messages.flow import Flow, FlowEvent
from libs.common.payloads import Payloads
from libs.common.subjects import DEFINITIONS, PlayKey

_PERMANENT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")


class Plays:
    """The plays of all companies, by commands alone."""

    def __init__(self, bus: Bus, payloads: Payloads, *, shards: int) -> None:
        self._bus = bus
        self._payloads = payloads
        self._shards = shards

    def key(self, company_id: str, flow_id: str, play_id: str) -> PlayKey:
        """Return where a play lives."""
        return subjects.play_key(company_id, flow_id, play_id, shards=self._shards)

    async def find_flow(self, company_id: str, flow: str) -> tuple[Flow, int]:
        """Return a company's flow by id or permanentId, and its newest definition's place.

        Raises NotFound when there is none or it is deleted, Unavailable when the log does not answer.
        """
        stored = None
        if ids.is_id(flow):
            stored = await self._definition("flow", company_id, flow)
        elif _PERMANENT_ID.fullmatch(flow):
            claimed = await self._last(subjects.claim(company_id, "permanent", flow))
            owner = None if claimed is None else last_event(claimed.data).data
            if isinstance(owner, NameClaimed):
                stored = await self._definition("flow", company_id, owner.owner_id)
        event = None if stored is None else last_event(stored.data).data
        if stored is None or not isinstance(event, FlowEvent) or event.flow.deleted:
            raise NotFound(f"there is no flow {flow!r}", code="FLOW_NOT_FOUND")
        return event.flow, stored.sequence

    async def start(self, key: PlayKey, command: m.StartPlay, *, correlation_id: str = "") -> None:
        """Start a play once, however often this is called: the first start on its subject is the only one (D3)."""
        try:
            await self.send(
                key, "start", command, id=f"start-{key.play_id}", correlation_id=correlation_id, first=True
            )
        except Conflict:
            # It was started: by an earlier try of ours, or by a driver before us.
            return

    async def send(
        self,
        key: PlayKey,
        verb: str,
        command: m.PlayCommand,
        *,
        id: str,
        correlation_id: str = "",
        first: bool = False,
    ) -> None:
        """Send a command to a play; a repeat with the same id is harmless.

        Raises Conflict when it was to be the first on its subject, and is not.
        """
        context = Context(
            source=source_of(key.company_id, key.flow_id),
            subject=key.play_id,
            correlation_id=correlation_id or key.play_id,
        )
        subject = key.command(verb)
        data = await self._payloads.encode_message(command, id=id, context=context)
        await self._bus.append(subject, data, id=id, expected=Expected(subject, 0) if first else None)

    async def _definition(self, noun: str, company_id: str, id: str) -> Stored | None:
        return await self._last(subjects.definition(noun, company_id, id))

    async def _last(self, subject: str) -> Stored | None:
        # The leader: a flow that was just enabled, or just deleted, is so here as well.
        return await self._bus.last(DEFINITIONS, subject, leader=True)
