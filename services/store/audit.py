"""Answers who did what (spec flow8 section 24)."""

import msgspec

from libs.common.messages.audit import AuditView, ListAudit
from libs.common.messages.query import Rows
from services.store.database import Row
from services.store.listing import Listing, Where

# What a thing was before is what it was after the record before.
_COLUMNS = """
    a.stream, a.sequence, a.company_id, a.user_id, a.at, a.action, a.entity_type, a.entity_id, a.after,
    (select p.after from audit p where p.company_id = a.company_id and p.entity_type = a.entity_type
        and p.entity_id = a.entity_id and p.sequence < a.sequence order by p.sequence desc limit 1) as before,
    a.request_id, a.ip, a.user_agent, a.key_id
"""


class Audit:
    """Answers `qry.audit`."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    async def page(self, query: ListAudit) -> Rows:
        """Return a page of records, newest first."""
        await self._listing.caught_up(query)
        where = (
            Where(query.company_id, column="a.company_id")
            .add("a.action = ", query.action)
            .add("a.entity_type = ", query.entity_type)
            .add("a.entity_id = ", query.entity_id)
            .add("a.user_id = ", query.user_id)
            .add("a.at >= ", query.from_at)
            .add("a.at < ", query.to_at)
        )
        rows, total = await self._listing.page(
            _COLUMNS, "audit a", where, "a.at desc, a.sequence desc, a.stream", query.page
        )
        return Rows([_view(row) for row in rows], total)


def _view(row: Row) -> AuditView:
    return AuditView(
        id=f"{row['stream']}-{row['sequence']}",
        company_id=row["company_id"],
        user_id=row["user_id"],
        timestamp=row["at"],
        action=row["action"],
        entity_type=row["entity_type"],
        entity_id=row["entity_id"],
        before=None if row["before"] is None else msgspec.Raw(row["before"].encode()),
        after=None if row["after"] is None else msgspec.Raw(row["after"].encode()),
        request_id=row["request_id"],
        ip=row["ip"],
        user_agent=row["user_agent"],
        key_id=row["key_id"],
    )
