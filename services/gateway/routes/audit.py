"""`/api/audit`: who did what (spec flow8 section 24)."""

import msgspec
from aiohttp import web

from libs.common.messages.audit import AuditView, ListAudit
from services.gateway import paging
from services.gateway.answers import reply, whole_seconds
from services.gateway.operations import moment, operation, text
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route


class _Rows(msgspec.Struct, frozen=True):
    data: list[AuditView]
    total: int


class AuditRoutes:
    """The audit: list, for admins."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoint."""
        return [Route("GET", "/api/audit", self._list, "administer")]

    @operation(
        AuditView,
        page=True,
        query=(
            text("action", "Only this action, such as `flow.create`"),
            text("entityType", "Only things of this kind"),
            text("entityId", "Only this thing"),
            text("userId", "Only what this user did"),
            moment("from", "Since when"),
            moment("to", "Until when; a date includes its day"),
        ),
    )
    async def _list(self, call: Call) -> web.Response:
        """List who did what, newest first."""
        query = call.request.query
        page = paging.page_of(query)
        wish = ListAudit(
            company_id=call.caller.company_id,
            page=page,
            action=paging.text(query, "action"),
            entity_type=paging.text(query, "entityType"),
            entity_id=paging.text(query, "entityId"),
            user_id=paging.text(query, "userId"),
            from_at=paging.moment(query, "from"),
            to_at=paging.moment_after(query, "to"),
        )
        answer = await self._parts.store.ask("audit", wish, call)
        rows = answer.decode(_Rows)
        data = [whole_seconds(record) for record in rows.data]
        return reply(paging.envelope(data, total=rows.total, page=page), headers=answer.headers)
