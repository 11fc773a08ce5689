"""Questions that gateways and schedulers ask the store (core requests on `qry.<noun>`), and the answers' frame."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.errors import Problem


class Query(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", omit_defaults=True):
    """A question of one company; `after` maps a stream to the sequence that the answer must include (D11)."""

    company_id: str
    after: dict[str, int] = {}


# So many steps of a play are answered at most at once.
PLAY_LAYERS_MAX = 1_000


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """Which part of a list: zero-based page and its size (spec flow8 section 2)."""

    page: int = 0
    size: int = 25


class Span(msgspec.Struct, frozen=True, rename="camel"):
    """Which part of a list, by how many and from which on (spec flow-like section 1.1)."""

    limit: int = 50
    offset: int = 0


class ListFlows(Query, frozen=True, kw_only=True, tag="flow.list"):
    """Flows of a company, oldest first, without their layers."""

    page: Page = Page()
    category: str | None = None
    enabled: bool | None = None
    group_id: str | None = None


class GetFlow(Query, frozen=True, kw_only=True, tag="flow.get"):
    """One flow with its layers, by id or permanentId."""

    flow_id: str


class ListPlays(Query, frozen=True, kw_only=True, tag="play.list"):
    """Plays of a company, newest first; `to_at` is exclusive."""

    page: Page = Page()
    flow_id: str | None = None
    schedule_id: str | None = None
    state: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


class GetPlay(Query, frozen=True, kw_only=True, tag="play.get"):
    """One play."""

    play_id: str


class ListPlayLayers(Query, frozen=True, kw_only=True, tag="play.layers"):
    """A page of the recorded steps of a play, by index, then order in the flow, then item of their loops."""

    play_id: str
    page: Page = Page(size=PLAY_LAYERS_MAX)
    ref: str | None = None


class ListStalePlays(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="play.stale"
):
    """Plays of all companies without a commit since `before`: in RUN (D5), parked (D16), or first in line."""

    before: datetime
    limit: int
    parked: bool = False
    in_line: bool = False  # only the first of each flow that waits for a slot


class StalePlay(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a stale play lives."""

    company_id: str
    flow_id: str
    play_id: str


class ListSchedules(Query, frozen=True, kw_only=True, tag="schedule.list"):
    """Schedules of a company, oldest first."""

    page: Page = Page()
    flow_id: str | None = None
    enabled: bool | None = None


class GetSchedule(Query, frozen=True, kw_only=True, tag="schedule.get"):
    """One schedule."""

    schedule_id: str


class ListTimers(Query, frozen=True, kw_only=True, tag="schedule.timers"):
    """What a company waits for: its schedules' next occurrences and its waiting plays, the next one first."""

    page: Page = Page()
    flow_id: str | None = None


class ListOverdueSchedules(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="schedule.overdue"
):
    """Schedules of all companies that should have woken before `before`; for the scheduler's sweep."""

    before: datetime
    limit: int


class OverdueSchedule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which schedule is overdue."""

    company_id: str
    schedule_id: str


AnyScheduleQuery = ListSchedules | GetSchedule | ListTimers | ListOverdueSchedules
AnyFlowQuery = ListFlows | GetFlow
AnyPlayQuery = ListPlays | GetPlay | ListPlayLayers | ListStalePlays


class Rows(msgspec.Struct, frozen=True, rename="camel"):
    """One page of a list, and how many rows there are in all."""

    data: list[Any]
    total: int


class Reply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The frame of every answer: `data`, or a problem; `sequences` tells how far into each stream it reaches."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    problem: Problem | None = None
    sequences: dict[str, int] = {}
