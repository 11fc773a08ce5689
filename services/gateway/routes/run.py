"""`POST /api/flows/:id/run`: start a play, and maybe wait for its end (spec flow8 section 8). The hot path."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from libs.common import ids, subjects
from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.play import TERMINAL, PlayCompleted, PlayFailed, StartPlay
from libs.common.messages.query import GetPlay
from libs.common.messages.views import PlayView
from services.gateway import bodies
from services.gateway.answers import PlayAccepted, PlayEnded, reply, whole_seconds
from services.gateway.frames import milliseconds
from services.gateway.lines import NOT_STARTED
from services.gateway.live import Seen, Waiter
from services.gateway.operations import Parameter, header, operation
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.plays import end_in
from services.gateway.positions import HEADER
from services.gateway.routing import Call, Route
from services.gateway.waiting import WAIT_S_MAX, wait_s_of

KEY_CHARS_MAX = 255
SAFE_AGAIN = ". Trying again is safe with an idempotencyKey"
SECONDS = {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX}
WAIT = (
    Parameter("wait", "Answer when the play has ended or parked, at most after so many seconds", SECONDS),
    header("Prefer", "The same as `wait`: `wait=10` (RFC 7240)", {"type": "string", "examples": ["wait=10"]}),
)
IDEMPOTENCY_KEY = "Idempotency-Key"
REPEATABLE = header(IDEMPOTENCY_KEY, "The same as `idempotencyKey`, which goes before it", {"type": "string"})
# A play nobody drives for now: who waits is told so.
PARKED = frozenset({"WAIT", "ON_HOLD", "DEFERRED"})


class RunFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a run."""

    args: dict[str, Any] = {}
    idempotency_key: str | None = None
    force: bool = False


class _Started(NamedTuple):
    """A play in the log: since when, its start command's place (0: not in the log any more), its state if known."""

    at: datetime | None
    sequence: int
    state: str


_fields = msgspec.json.Decoder(RunFields)


class RunRoutes:
    """Starts plays."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoint."""
        return [Route("POST", "/api/flows/{id}/run", self._run, "run")]

    @operation(
        (PlayEnded, PlayAccepted),
        body=_fields,
        body_optional=True,
        query=(*WAIT, REPEATABLE),
        refusals=(409, 429),
    )
    async def _run(self, call: Call) -> web.Response:
        """Start a play of a flow.

        With `wait` the answer comes when the play has ended or parked, or the time is over. Where a limit may hold it
        back the answer waits a moment for the play's first commit: `DEFERRED` is in line, `NEW` not decided yet. With
        an `idempotencyKey`, or the header, a repeat starts nothing and answers with the same play.
        """
        parts, caller = self._parts, call.caller
        wait_s = wait_s_of(call.request)
        fields = await bodies.read(call.request, _fields, optional=True)
        flow = await parts.definitions.named(call)
        given = fields.idempotency_key or call.request.headers.get(IDEMPOTENCY_KEY) or ""
        if len(given) > KEY_CHARS_MAX:
            raise Invalid(f"idempotencyKey: expected at most {KEY_CHARS_MAX} characters")
        play_id = ids.derived_id(caller.company_id, flow.id, given) if given else ids.new_id()
        key = parts.plays.key(caller.company_id, flow.id, play_id)
        # Before the append: what happens right after it must not be missed.
        waiter = await parts.live.waiter(key, _ended_or_parked) if wait_s else None
        first = None if wait_s else await parts.lines.waiter(key, flow)
        try:
            accepted = parts.lines.accepted(flow)
            known = await self._known(key, accepted) if given else None
            if known is None:
                if not flow.enabled and not fields.force:
                    raise Refused(f"flow {flow.id} is disabled; run it with force", code="FLOW_DISABLED")
                command = StartPlay(
                    at=parts.clock.now(),
                    definition=flow.sequence,
                    flow_version=flow.version,
                    args=fields.args,
                    by=caller.user_id,
                    origin=origin_of(call),
                    seed=ids.random_seed(),
                    idempotency_key=given,
                )
                known = await self._start(key, command, accepted)
                known = await self._decided(key, known, first)
            return await self._answer(key, known, waiter, wait_s)
        finally:
            for each in (waiter, first):
                if each is not None:
                    each.close()

    async def _start(self, key: subjects.PlayKey, command: StartPlay, accepted: str) -> _Started:
        appended = await self._parts.starts.append(key, command, advice=SAFE_AGAIN)
        if appended.duplicate:
            known = await self._known(key, accepted)
            if known is not None:
                return known
        return _Started(command.at, appended.sequence, accepted)

    async def _decided(self, key: subjects.PlayKey, known: _Started, first: Waiter | None) -> _Started:
        """Return the play as its first commit left it, when there is a limit that may put it in line."""
        seen = await self._parts.lines.first(key, first)
        if seen is None:
            return known
        self._parts.starts.note(key, seen.sequence)
        return _Started(known.at, seen.sequence, seen.state)

    async def _known(self, key: subjects.PlayKey, accepted: str) -> _Started | None:
        # The log first: it knows of a start that no projection has seen yet.
        requested = await self._parts.plays.requested(key)
        if requested is not None:
            seen = await self._parts.live.last(key)
            return _Started(requested.at, requested.sequence, accepted if seen is None else seen.state)
        try:
            wish = GetPlay(company_id=key.company_id, play_id=key.play_id)
            play = (await self._parts.store.ask("play", wish)).decode(PlayView)
        except NotFound:
            return None
        return _Started(play.started_at, 0, play.state)

    async def _answer(
        self, key: subjects.PlayKey, known: _Started, waiter: Waiter | None, wait_s: float
    ) -> web.Response:
        state, stream = known.state, subjects.plays_stream(key.shard)
        if waiter is not None:
            seen = await self._seen(key, known, waiter, wait_s)
            if seen is not None:
                self._parts.starts.note(key, seen.sequence)
                ended = await self._ended(key, known, seen)
                if ended is not None:
                    headers = {HEADER: f"{stream}={seen.sequence}", "Preference-Applied": f"wait={wait_s:g}"}
                    return reply(whole_seconds(ended), headers=headers)
                state = seen.state
        started_at = None if state in NOT_STARTED else _whole(known.at)
        answer = PlayAccepted(play_id=key.play_id, state=state, started_at=started_at)
        return reply(answer, headers={HEADER: f"{stream}={known.sequence}"} if known.sequence else None)

    async def _ended(self, key: subjects.PlayKey, known: _Started, seen: Seen) -> PlayEnded | None:
        if seen.state not in TERMINAL:
            return None
        match end_in(seen.data):
            case None:
                return None
            case PlayCompleted() as end:
                out, error, error_code = end.out, None, None
                if end.payloads:
                    out = (await self._parts.payloads.whole(end, key.company_id)).out
            case PlayFailed() as end:
                out, error, error_code = None, end.error, end.error_code
        started_at = end.started_at or known.at
        return PlayEnded(
            play_id=key.play_id,
            state=seen.state,
            started_at=started_at,
            completed_at=end.at,
            duration=None if started_at is None else milliseconds(started_at, end.at),
            out=out,
            error=error,
            error_code=error_code,
        )

    async def _seen(
        self, key: subjects.PlayKey, known: _Started, waiter: Waiter, wait_s: float
    ) -> Seen | None:
        if known.state in TERMINAL or known.state in PARKED:
            return await self._parts.live.last(key)
        # A lost message, or one that came while this call was deciding to wait no longer, is in the stream.
        return await waiter.seen(wait_s) or await self._parts.live.last(key)


def _ended_or_parked(state: str, _data: bytes) -> bool:
    return state in TERMINAL or state in PARKED


def _whole(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(microsecond=0)
