"""The audit: who did what, when, from where, and what it was before and after (spec flow8 section 24)."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages.query import Page, Query


class AuditView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One record; `before` and `after` hold no secret."""

    id: str
    company_id: str
    user_id: str
    timestamp: datetime
    action: str
    entity_type: str
    entity_id: str
    before: Any
    after: Any
    request_id: str
    ip: str
    user_agent: str
    key_id: str


class ListAudit(Query, frozen=True, kw_only=True, tag="audit.list"):
    """Records of a company, newest first; `to_at` is exclusive."""

    page: Page = Page()
    action: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    user_id: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None
