"""Versions of flows: every change is kept, can be read, compared and restored (spec flow8 section 5.1)."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages.query import Page, Query


class FlowVersion(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That a flow was changed: which version came of it, when, by whom, and what kind of change it was."""

    version: int
    at: datetime
    by: str
    change: str


class FlowChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One place in which two versions differ; a side that lacks it is null."""

    path: str
    before: Any = None
    after: Any = None


class ListFlowVersions(Query, frozen=True, kw_only=True, tag="flow.versions"):
    """Versions of a flow, newest first."""

    flow_id: str
    page: Page = Page()


class GetFlowVersion(Query, frozen=True, kw_only=True, tag="flow.version"):
    """A flow as it was in one version."""

    flow_id: str
    version: int


class DiffFlowVersions(Query, frozen=True, kw_only=True, tag="flow.diff"):
    """Where two versions of a flow differ."""

    flow_id: str
    from_version: int
    to_version: int


AnyVersionQuery = ListFlowVersions | GetFlowVersion | DiffFlowVersions
