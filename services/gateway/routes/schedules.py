"""`/api/schedules` and `/api/timers`: plays that the clock starts, and what is waited for (spec flow8 section 15)."""

import contextlib
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from libs.common import ids, rpc, subjects
from libs.common.errors import Invalid, NotFound, Unavailable
from libs.common.messages import schedule as m
from libs.common.messages.query import GetSchedule, ListPlays, ListSchedules, ListTimers, Reply
from libs.common.messages.views import PlayView, ScheduleView, TimerView
from services.gateway import bodies, paging
from services.gateway.answers import Deleted, reply, whole_seconds
from services.gateway.operations import number, operation, switch, text
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.positions import HEADER, format_header
from services.gateway.routing import Call, Route, shown

TELL_TIMEOUT_S = 25.0
PREVIEW_DEFAULT = 5
PREVIEW_MAX = 100


class NoteFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a pause or a resume."""

    note: str = ""


class BackfillFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a backfill; `to` is exclusive. In order, each play waits for the end of the one before."""

    from_: datetime = msgspec.field(name="from")
    to: datetime
    parallel: bool = True


class BodyFields(m.ScheduleFields, frozen=True, kw_only=True, rename="camel"):
    """The body of a create or an update, with the input aliases of section 15."""

    cron_expression: str | None = None
    expression: str | None = None


class _Rows(msgspec.Struct, frozen=True):
    data: list[ScheduleView]
    total: int


class _TimerRows(msgspec.Struct, frozen=True):
    data: list[TimerView]
    total: int


class _PlayRows(msgspec.Struct, frozen=True):
    data: list[PlayView]
    total: int


class Previews(msgspec.Struct, frozen=True):
    """The next occurrences, and when each starts."""

    data: list[m.Preview]


_fields = msgspec.json.Decoder(BodyFields)
_note = msgspec.json.Decoder(NoteFields)
_backfill = msgspec.json.Decoder(BackfillFields)
C = TypeVar("C", bound=m.ScheduleCommand)


class ScheduleRoutes:
    """Schedules: list, define, read, change, delete, preview, pause, resume, run, backfill; and all timers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/schedules", self._list, "read"),
            Route("POST", "/api/schedules", self._create, "edit"),
            Route("GET", "/api/schedules/{id}", self._get, "read"),
            Route("PUT", "/api/schedules/{id}", self._update, "edit"),
            Route("DELETE", "/api/schedules/{id}", self._delete, "edit"),
            Route("GET", "/api/schedules/{id}/preview", self._preview, "read"),
            Route("GET", "/api/schedules/{id}/plays", self._plays, "read"),
            Route("POST", "/api/schedules/{id}/pause", self._pause, "edit"),
            Route("POST", "/api/schedules/{id}/resume", self._resume, "edit"),
            Route("POST", "/api/schedules/{id}/run", self._run, "run"),
            Route("POST", "/api/schedules/{id}/backfill", self._start_backfill, "run"),
            Route("DELETE", "/api/schedules/{id}/backfill", self._cancel_backfill, "run"),
            Route("GET", "/api/timers", self._timers, "read"),
        ]

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    @operation(
        ScheduleView,
        page=True,
        query=(
            text("flowId", "Only schedules of this flow, by id or permanentId"),
            switch("enabled", "Only schedules that are, or are not, enabled"),
        ),
    )
    async def _list(self, call: Call) -> web.Response:
        """List schedules."""
        query = call.request.query
        page = paging.page_of(query)
        wish = ListSchedules(
            company_id=call.caller.company_id,
            page=page,
            flow_id=await self._flow_asked_for(call),
            enabled=paging.switch(query, "enabled"),
        )
        answer = await self._parts.store.ask("schedule", wish, call)
        rows = answer.decode(_Rows)
        envelope = paging.envelope([whole_seconds(row) for row in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(ScheduleView)
    async def _get(self, call: Call) -> web.Response:
        """Return one schedule."""
        wish = GetSchedule(company_id=call.caller.company_id, schedule_id=_id(call))
        answer = await self._parts.store.ask("schedule", wish, call)
        return reply(whole_seconds(answer.decode(ScheduleView)), headers=answer.headers)

    @operation(PlayView, page=True)
    async def _plays(self, call: Call) -> web.Response:
        """List the plays that a schedule started, newest first."""
        await self._get(call)
        page = paging.page_of(call.request.query)
        wish = ListPlays(company_id=call.caller.company_id, page=page, schedule_id=_id(call))
        answer = await self._parts.store.ask("play", wish, call)
        rows = answer.decode(_PlayRows)
        envelope = paging.envelope([whole_seconds(play) for play in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(
        TimerView, page=True, query=(text("flowId", "Only timers of this flow, by id or permanentId"),)
    )
    async def _timers(self, call: Call) -> web.Response:
        """List what is waited for, next first."""
        page = paging.page_of(call.request.query)
        flow_id = await self._flow_asked_for(call)
        wish = ListTimers(company_id=call.caller.company_id, page=page, flow_id=flow_id)
        answer = await self._parts.store.ask("schedule", wish, call)
        rows = answer.decode(_TimerRows)
        envelope = paging.envelope([whole_seconds(row) for row in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(
        Previews, query=(number("count", "How many, at most 100", default=PREVIEW_DEFAULT, at_least=1),)
    )
    async def _preview(self, call: Call) -> web.Response:
        """Return when a schedule will start plays next."""
        given = call.request.query.get("count", str(PREVIEW_DEFAULT))
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= PREVIEW_MAX):
            raise Invalid(f"count: expected a whole number, from 1 to {PREVIEW_MAX}")
        command = self._command(call, m.PreviewSchedule, _id(call), count=int(given))
        answer = await self._tell(command)
        occurrences = msgspec.json.decode(answer.data, type=list[m.Preview])
        return reply(Previews([whole_seconds(entry) for entry in occurrences]))

    # ── changing ────────────────────────────────────────────────────────────────────────────────────

    @operation(ScheduleView, status=201, body=_fields, refusals=(409,))
    async def _create(self, call: Call) -> web.Response:
        """Define a schedule."""
        fields = await self._fields(call)
        return await self._told(
            self._command(call, m.CreateSchedule, ids.new_id(), fields=fields), status=201
        )

    @operation(ScheduleView, body=_fields, refusals=(409,))
    async def _update(self, call: Call) -> web.Response:
        """Change a schedule.

        Fields that are not named stay as they are.
        """
        schedule_id = _id(call)
        fields = await self._fields(call)
        return await self._told(self._command(call, m.UpdateSchedule, schedule_id, fields=fields))

    @operation(Deleted)
    async def _delete(self, call: Call) -> web.Response:
        """Delete a schedule."""
        command = self._command(call, m.DeleteSchedule, _id(call))
        await self._tell(command)
        return reply(Deleted(id=command.schedule_id))

    @operation(ScheduleView, body=_note, body_optional=True, refusals=(409,))
    async def _pause(self, call: Call) -> web.Response:
        """Pause a schedule."""
        schedule_id = _id(call)
        body = await bodies.read(call.request, _note, optional=True)
        return await self._told(self._command(call, m.PauseSchedule, schedule_id, note=body.note))

    @operation(ScheduleView, body=_note, body_optional=True, refusals=(409,))
    async def _resume(self, call: Call) -> web.Response:
        """Resume a paused schedule."""
        schedule_id = _id(call)
        body = await bodies.read(call.request, _note, optional=True)
        return await self._told(self._command(call, m.ResumeSchedule, schedule_id, note=body.note))

    @operation(m.RunAccepted, refusals=(409,))
    async def _run(self, call: Call) -> web.Response:
        """Start a play of a schedule now, beside its times."""
        answer = await self._tell(self._command(call, m.RunSchedule, _id(call)))
        return reply(msgspec.json.decode(answer.data, type=m.RunAccepted))

    @operation(ScheduleView, body=_backfill, refusals=(409,))
    async def _start_backfill(self, call: Call) -> web.Response:
        """Start the plays of a span of the past."""
        schedule_id = _id(call)
        body = await bodies.read(call.request, _backfill)
        for name, value in (("from", body.from_), ("to", body.to)):
            if value.tzinfo is None:
                raise Invalid(f"{name}: expected an RFC 3339 timestamp with its zone, such as Z")
        command = self._command(
            call, m.BackfillSchedule, schedule_id, from_at=body.from_, to_at=body.to, parallel=body.parallel
        )
        return await self._told(command)

    @operation(ScheduleView, refusals=(409,))
    async def _cancel_backfill(self, call: Call) -> web.Response:
        """End a backfill before its end.

        What it started runs on; what it had not started yet does not start.
        """
        return await self._told(self._command(call, m.CancelBackfill, _id(call)))

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    async def _fields(self, call: Call) -> m.ScheduleFields:
        body = await bodies.read(call.request, _fields)
        given = msgspec.structs.asdict(body)
        alias = given.pop("cron_expression") or given["expression"]
        del given["expression"]
        if alias and body.cron is msgspec.UNSET:
            given["cron"] = alias
        if isinstance(body.flow_id, str):
            try:
                found = await self._parts.definitions.find(call.caller.company_id, body.flow_id)
            except NotFound as error:
                raise Invalid(f"flowId: {error.message}") from error
            given["flow_id"] = found.id
        return m.ScheduleFields(**given)

    async def _flow_asked_for(self, call: Call) -> str | None:
        flow = paging.text(call.request.query, "flowId")
        if flow is None:
            return None
        return await self._parts.definitions.id_of(call.caller.company_id, flow) or flow

    def _command(self, call: Call, kind: type[C], schedule_id: str, **fields: Any) -> C:
        return kind(
            **wishing(call, self._parts.clock),
            schedule_id=schedule_id,
            **fields,
        )

    async def _tell(self, command: m.ScheduleCommand) -> Reply:
        answer = await rpc.call(
            self._parts.bus, subjects.command("schedule"), command, timeout_s=TELL_TIMEOUT_S
        )
        for stream, sequence in answer.sequences.items():
            self._parts.positions.note(command.company_id, stream, sequence)
        return answer

    async def _told(self, command: m.ScheduleCommand, *, status: int = 200) -> web.Response:
        answer = await self._tell(command)
        with contextlib.suppress(Unavailable, NotFound):
            # Answered when every gateway can read it (D11). It is decided and stored: that the store is behind or away
            # is no reason to say that it is not.
            wish = GetSchedule(company_id=command.company_id, schedule_id=command.schedule_id)
            await self._parts.store.ask("schedule", wish)
        view = msgspec.json.decode(answer.data, type=ScheduleView)
        headers = {HEADER: format_header(answer.sequences)}
        return reply(whole_seconds(view), status=status, headers=headers)


def _id(call: Call) -> str:
    schedule_id = call.parameters[0]
    if not ids.is_id(schedule_id):
        raise NotFound(f"no schedule {shown(schedule_id)}", code="SCHEDULE_NOT_FOUND")
    return schedule_id
