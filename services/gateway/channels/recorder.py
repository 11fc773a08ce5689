"""Records what channels were asked, beside the answers and never before them (spec flow8 section 14.1).

Records gather for a moment and travel together, a message per channel. When the log is away they wait; when too many
wait the newest are given up, counted and said in the log.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog
from aiohttp import web

from libs.common import background, codec, ids, metrics, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus
from libs.common.errors import HeadraceError
from libs.common.messages.channel import Channel
from libs.common.messages.request import RequestRecorded
from services.gateway.routing import as_utf8

GATHER_S = 0.1
RETRY_DELAY_S = 1.0
WAITING_MAX = 10_000
RECORDS_PER_MESSAGE_MAX = 100
HEADERS_SHOWN_MAX = 50
HEADER_CHARS_MAX = 500
PATH_CHARS_MAX = 2_000
REDACTED = "[redacted]"
_SECRET_NAMES = re.compile(
    r"authorization|cookie|token|secret|signature|password|credential|api[-_]?key", re.IGNORECASE
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Seen:
    """What is learned of a request while it is answered."""

    at: datetime
    method: str
    path: str
    route_id: str = ""
    play_ids: tuple[str, ...] = ()


class _Place(NamedTuple):
    company_id: str
    channel_id: str


class Recorder:
    """Gathers records and appends them to the log."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[_Place, list[RequestRecorded]] = {}
        self._count = 0
        self._lost = 0
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to append what is recorded."""
        self._task = background.keep(self._append_for_ever(), name="channel requests")

    async def stop(self) -> None:
        """Append what is left, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._append_all()
        except HeadraceError as error:
            metrics.CHANNEL_UNRECORDED.inc(self._count)
            log.warning("channel_requests_unrecorded", requests=self._count, reason=error.message)

    def record(
        self, channel: Channel, request: web.BaseRequest, seen: Seen, *, status: int, took_s: float
    ) -> None:
        """Take note of a request that was answered."""
        if self._count >= WAITING_MAX:
            metrics.CHANNEL_UNRECORDED.inc()
            self._lost += 1
            return
        record = RequestRecorded(
            at=seen.at,
            id=ids.new_id(),
            company_id=channel.company_id,
            channel_id=channel.id,
            method=as_utf8(seen.method[:HEADER_CHARS_MAX]),
            path=seen.path[:PATH_CHARS_MAX],
            status=status,
            duration_ms=round(took_s * 1_000, 3),
            route_id=seen.route_id,
            play_ids=seen.play_ids,
            headers=redacted(request),
            ip=request.remote or "",
            body_bytes=request.content_length or 0,
        )
        self._waiting.setdefault(_Place(channel.company_id, channel.id), []).append(record)
        self._count += 1
        self._something.set()

    async def _append_for_ever(self) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            self._something.clear()
            try:
                await self._append_all()
            except HeadraceError as error:
                log.debug("channel_requests_wait", requests=self._count, reason=error.message)
                self._something.set()
                await asyncio.sleep(RETRY_DELAY_S)
            if self._lost:
                log.warning("channel_requests_unrecorded", requests=self._lost, reason="too many wait")
                self._lost = 0

    async def _append_all(self) -> None:
        for place in list(self._waiting):
            while records := self._waiting[place][:RECORDS_PER_MESSAGE_MAX]:
                await self._append(place, records)
                # Only now: what could not be appended is tried again.
                del self._waiting[place][: len(records)]
                self._count -= len(records)
            del self._waiting[place]

    async def _append(self, place: _Place, records: list[RequestRecorded]) -> None:
        # Named by its first record, so that an append whose outcome was unknown is recognised when it comes again.
        id = records[0].id
        context = codec.Context(
            source=codec.source_of(place.company_id), subject=place.channel_id, correlation_id=id
        )
        body = codec.encode_commit(records, commit_id=id, context=context)
        await self._bus.append(subjects.requests(*place), body, id=id, deadline_s=APPEND_DEADLINE_S)


def redacted(request: web.BaseRequest) -> dict[str, str]:
    """Return a request's headers as anybody may see them: by lower-case name, cut short, without secrets."""
    shown: dict[str, str] = {}
    for name, value in request.headers.items():
        if len(shown) >= HEADERS_SHOWN_MAX:
            break
        shown[name.lower()] = REDACTED if _SECRET_NAMES.search(name) else as_utf8(value[:HEADER_CHARS_MAX])
    return shown
