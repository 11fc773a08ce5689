"""What came in over channels: one record for each request or frame, without its body (spec flow8 section 14.1)."""

from datetime import datetime

import msgspec

from libs.common.messages.query import Page, Query

# Of each channel so many requests are shown, and none that is older.
REQUESTS_PER_CHANNEL_MAX = 1_000
REQUEST_DAYS_MAX = 7


class RequestRecorded(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A channel has answered a request (in batches on `evt.request.<company>.<channel>`).

    `headers` hold no secret; `duration_ms` is how long the answer took, `body_bytes` how large the body was said to be.
    """

    at: datetime
    id: str
    company_id: str
    channel_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    route_id: str = ""
    play_ids: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    ip: str = ""
    body_bytes: int = 0


class RequestView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A recorded request as the API shows it; `play_id` is the first of its plays, `duration` in milliseconds."""

    id: str
    channel_id: str
    route_id: str | None
    method: str
    path: str
    status: int
    play_id: str | None
    play_ids: tuple[str, ...]
    duration: float
    headers: dict[str, str]
    ip: str
    body_bytes: int
    timestamp: datetime


class ListRequests(Query, frozen=True, kw_only=True, tag="channel.requests"):
    """Requests that a channel has answered, newest first, none before `since`."""

    channel_id: str
    since: datetime
    page: Page = Page()
