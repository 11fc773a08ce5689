"""`/jobs`: plays as jobs, for whoever schedules work from outside (spec flow-like section 11.3)."""

from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from libs.common.errors import TooMany
from services.gateway import bodies
from services.gateway.answers import reply, whole_seconds
from services.gateway.flow_like.cancels import Cancels
from services.gateway.flow_like.jobs_door import JobsDoor
from services.gateway.flow_like.launches import (
    IDEMPOTENCY_KEY,
    JOB_PREFIX,
    Launches,
    Wish,
    mode_of,
    view_of,
)
from services.gateway.flow_like.run_rights import must_read
from services.gateway.flow_like.statuses import JobStatus, job_status
from services.gateway.operations import header, operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route
from services.gateway.starts import Begun

SYNC_WAIT_S = 30.0
QUEUE_FULL = "QUEUE_FULL"
REPEATABLE = (header(IDEMPOTENCY_KEY, "A repeat with the same key starts nothing", {"type": "string"}),)


class JobFields(msgspec.Struct, frozen=True, kw_only=True):
    """Which board to run, with what, and how."""

    app_id: str
    board_id: str
    version: str | int | list[int] | None = None
    payload: Any = None
    mode: str | None = None
    node_id: str | None = None
    event_id: str | None = None
    runtime_variables: dict[str, Any] | None = None


class JobSubmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is in the log."""

    job_id: str
    status: JobStatus


class JobDone(JobSubmitted, frozen=True, kw_only=True):
    """A job that was waited for."""

    output: Any
    error: str | None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands; these five fields, always."""

    job_id: str
    status: JobStatus
    started_at: datetime | None
    completed_at: datetime | None
    error: str | None


_fields = msgspec.json.Decoder(JobFields)


class JobRoutes:
    """Jobs: submit, read, cancel."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._launches = Launches(parts)
        self._cancels = Cancels(parts)
        self._door = JobsDoor(parts.config, parts.auth)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("POST", "/jobs/submit", self._submit, None),
            Route("GET", "/jobs/{job_id}", self._get, None),
            Route("POST", "/jobs/{job_id}/cancel", self._cancel, None),
        ]

    @operation(
        (JobSubmitted, JobDone), body=_fields, query=REPEATABLE, refusals=(404, 409, 429), permission="run"
    )
    async def _submit(self, call: Call) -> web.Response:
        """Submit a job: start a play of a board.

        The answer comes at once, with `mode` `sync` when the play has ended or half a minute is over. With `isolated`
        modules that can run so get processes of their own. Calls from the machine itself need no credential, unless
        `HEADRACE_JOBS_AUTH` says so.
        """
        await self._door.enter(call)
        fields = await bodies.read(call.request, _fields)
        wish = Wish(
            app_id=fields.app_id,
            board_id=fields.board_id,
            payload=fields.payload,
            mode=mode_of(fields.mode or "async", stream=False),
            version=fields.version,
            node_id=fields.node_id,
            event_id=fields.event_id,
            runtime_variables=fields.runtime_variables,
        )
        begun = (await self._launches.start(call, wish, wait=wish.mode == "sync")).begun
        try:
            if wish.mode == "sync":
                return reply(await _done(begun))
            return reply(JobSubmitted(job_id=f"{JOB_PREFIX}{begun.play_id}", status="queued"))
        finally:
            begun.close()

    @operation(Job, permission="run")
    async def _get(self, call: Call) -> web.Response:
        """Return how a job stands."""
        await self._door.enter(call)
        play = await view_of(self._parts, call.caller.company_id, call.parameters[0])
        await must_read(self._parts, call, play.flow_id, play.id)
        status = job_status(play.state, play.error_code)
        job = Job(
            job_id=f"{JOB_PREFIX}{play.id}",
            status=status,
            started_at=None if status == "queued" else play.started_at,
            completed_at=play.completed_at or play.failed_at,
            error=play.error,
        )
        return reply(whole_seconds(job))

    @operation(status=204, permission="run")
    async def _cancel(self, call: Call) -> web.Response:
        """Cancel a job.

        One that has ended stays as it is. The record can be read afterwards.
        """
        await self._door.enter(call)
        await self._cancels.cancel(call)
        return web.Response(status=204)


async def _done(begun: Begun) -> JobSubmitted:
    outcome = await begun.outcome(SYNC_WAIT_S)
    if outcome.error_code == QUEUE_FULL:
        raise TooMany(outcome.error)
    job_id = f"{JOB_PREFIX}{begun.play_id}"
    if not outcome.ended:
        return JobSubmitted(job_id=job_id, status=job_status(outcome.state))
    return JobDone(
        job_id=job_id,
        status=job_status(outcome.state, outcome.error_code),
        output=outcome.out,
        error=outcome.error or None,
    )
