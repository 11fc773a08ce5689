"""`/api/v1/execution`: run a board, watch a run, end it (spec flow-like sections 8.3 and 11.3)."""

from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from libs.common.errors import Invalid, Unauthorized
from services.gateway import bodies, paging
from services.gateway.answers import reply, whole_seconds
from services.gateway.flow_like.app_rights import enter
from services.gateway.flow_like.cancels import Cancels
from services.gateway.flow_like.jobs import REPEATABLE
from services.gateway.flow_like.launches import Wish, mode_of, start_of, view_of
from services.gateway.flow_like.poll_tokens import PREFIX, check, claim_of
from services.gateway.flow_like.run_answers import (
    PollAnswer,
    RunAccepted,
    RunCancelled,
    RunEnded,
    RunShown,
    RunTitled,
)
from services.gateway.flow_like.run_feed import RunFeed
from services.gateway.flow_like.run_records import RunRecords
from services.gateway.flow_like.run_rights import must_read
from services.gateway.flow_like.runner import SYNC_WAIT_S, SYNC_WAIT_S_MAX, Runner
from services.gateway.flow_like.statuses import run_status, titled
from services.gateway.operations import number, operation, text
from services.gateway.parts import Parts
from services.gateway.routes.events import EVENT_STREAM
from services.gateway.routing import Call, Route

POLL_WAIT_S = 10
POLL_WAIT_S_MAX = 30


class ExecutionFields(msgspec.Struct, frozen=True, kw_only=True):
    """Which board to run, with what, and how."""

    app_id: str | None = None
    board_id: str | None = None
    event_id: str | None = None
    node_id: str | None = None
    version: str | int | list[int] | None = None
    payload: Any = UNSET
    input: Any = UNSET
    mode: str | None = None
    runtime_variables: dict[str, Any] | None = None
    stream_state: bool | None = None
    timeout_s: float | None = None


_fields = msgspec.json.Decoder(ExecutionFields)


class ExecutionRoutes:
    """Runs: start, watch, poll, cancel."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._records = RunRecords(parts)
        self._runner = Runner(parts, self._records)
        self._cancels = Cancels(parts)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("POST", "/api/v1/execution/run", self._run, None),
            Route("GET", "/api/v1/execution/poll", self._poll, None),
            Route("GET", "/api/v1/execution/{id}", self._get, None),
            Route("POST", "/api/v1/execution/{id}/cancel", self._cancel, None),
            Route("GET", "/api/v1/execution/run/{run_id}", self._get_titled, None),
            Route("DELETE", "/api/v1/execution/run/{run_id}", self._cancel, None),
        ]

    @operation(
        (RunAccepted, RunEnded), body=_fields, query=REPEATABLE, refusals=(404, 409, 429), permission="run"
    )
    async def _run(self, call: Call) -> web.StreamResponse:
        """Run a board.

        The answer comes at once; with `mode` `sync` when the run has ended, or after `timeout_s`; with `stream`, or an
        `Accept` of `text/event-stream`, it is the run as Server-Sent Events. `poll_token` follows the run for an hour
        without another credential.
        """
        await enter(self._parts, call, "run")
        fields = await bodies.read(call.request, _fields)
        if fields.event_id is None:
            for name in ("app_id", "board_id"):
                if getattr(fields, name) is None:
                    raise Invalid(f"{name} is required")
        streams = EVENT_STREAM in call.request.headers.get("Accept", "")
        wish = Wish(
            app_id=fields.app_id or "",
            board_id=fields.board_id or "",
            payload=_payload_of(fields),
            mode=mode_of(fields.mode or ("stream" if streams else "async"), stream=True),
            version=fields.version,
            node_id=fields.node_id,
            event_id=fields.event_id,
            runtime_variables=fields.runtime_variables,
        )
        if streams or wish.mode == "stream":
            return await self._runner.stream(call, wish, with_state=fields.stream_state is not False)
        return await self._runner.run(call, wish, wait_s=_wait_s(fields.timeout_s))

    @operation(RunShown, permission="read")
    async def _get(self, call: Call) -> web.Response:
        """Return how a run stands, by its id or its job's."""
        await enter(self._parts, call, "read")
        view = await view_of(self._parts, call.caller.company_id, call.parameters[0])
        await must_read(self._parts, call, view.flow_id, view.id)
        return reply(whole_seconds(await self._records.shown(call.caller.company_id, view)))

    @operation(RunTitled, permission="read")
    async def _get_titled(self, call: Call) -> web.Response:
        """Return how a run stands, its status with a capital."""
        await enter(self._parts, call, "read")
        view = await view_of(self._parts, call.caller.company_id, call.parameters[0])
        await must_read(self._parts, call, view.flow_id, view.id)
        shown = await self._records.shown(call.caller.company_id, view)
        fields: dict[str, Any] = {name: getattr(shown, name) for name in RunTitled.__struct_fields__}
        return reply(whole_seconds(RunTitled(**{**fields, "status": titled(shown.status)})))

    @operation(
        PollAnswer,
        query=(
            text("poll_token", "What the start of the run answered; or as a bearer token", required=False),
            number("after_sequence", "Only events after this one", default=0),
            number("timeout", "Wait so many seconds for something to happen", default=POLL_WAIT_S),
        ),
        refusals=(401, 404),
    )
    async def _poll(self, call: Call) -> web.Response:
        """Return what happened in a run since an event, as soon as something has.

        At most a hundred events; `done` when the run has ended and all of it was told.
        """
        query = call.request.query
        after = paging.count(query, "after_sequence", default=0, minimum=0)
        wait_s = min(paging.count(query, "timeout", default=POLL_WAIT_S, minimum=0), POLL_WAIT_S_MAX)
        claim = claim_of(_poll_token(call))
        place = await self._parts.plays.find(claim.company_id, claim.play_id)
        start = None if place is None else await start_of(self._parts, place.key)
        if place is None or start is None:
            raise Unauthorized("this poll token does not hold")
        check(claim, seed=start.seed, now_s=int(self._parts.clock.now().timestamp()))
        feed = RunFeed(self._parts, place.key, after=after)
        events = await feed.next(wait_s)
        view = await view_of(self._parts, claim.company_id, claim.play_id)
        shown = await self._records.shown(claim.company_id, view)
        answer = PollAnswer(
            run_id=view.id,
            status=titled(shown.status),
            progress=shown.progress,
            current_step=shown.current_step,
            error=view.error,
            events=[whole_seconds(event) for event in events],
            started_at=shown.started_at,
            completed_at=shown.completed_at,
            done=feed.ended,
        )
        return reply(whole_seconds(answer))

    @operation(RunCancelled, permission="run")
    async def _cancel(self, call: Call) -> web.Response:
        """Cancel a run; one that has ended stays as it is."""
        await enter(self._parts, call, "run")
        await self._cancels.cancel(call)
        view = await view_of(self._parts, call.caller.company_id, call.parameters[0])
        status = run_status(view.state, view.error_code)
        return reply(RunCancelled(run_id=view.id, status=status, cancelled=status == "cancelled"))


def _payload_of(fields: ExecutionFields) -> Any:
    given = fields.input if isinstance(fields.payload, UnsetType) else fields.payload
    return None if isinstance(given, UnsetType) else given


def _wait_s(given: float | None) -> float:
    if given is None:
        return SYNC_WAIT_S
    if not 0 <= given <= SYNC_WAIT_S_MAX:
        raise Invalid(f"timeout_s: expected seconds, from 0 to {SYNC_WAIT_S_MAX:g}")
    return given


def _poll_token(call: Call) -> str:
    given = call.request.query.get("poll_token")
    if given is not None:
        return given
    scheme, _, token = call.request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.startswith(PREFIX):
        return token.strip()
    raise Unauthorized("a poll token is required")
