"""`/api/plays`: what ran, what runs, and telling it to end or to go on (spec flow8 sections 8 and 12)."""

import msgspec
from aiohttp import web

from libs.common import codec
from libs.common.errors import Forbidden, Refused, Unavailable
from libs.common.messages import approval
from libs.common.messages import play as m
from libs.common.messages.query import PLAY_LAYERS_MAX, GetPlay, ListPlayLayers, ListPlays, Page, Query
from libs.common.messages.views import PlayLayerView, PlayView
from services.gateway import bodies, paging
from services.gateway.answers import ApprovalAnswered, PlayCancelled, reply, whole_seconds
from services.gateway.lines import IN_LINE
from services.gateway.operations import choice, moment, number, operation, text
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.play_commands import PlayCommands, Told, is_end, note_of, play_id_of
from services.gateway.play_story import Pending
from services.gateway.plays import end_in
from services.gateway.routing import Call, Route, shown
from services.gateway.store import Answer

CANCELLED = "CANCELLED"
FILTERS = (
    choice("state", "Only plays in this state", m.PLAY_STATES),
    moment("from", "Only plays made since then"),
    moment("to", "Only plays made until then; a date includes its day"),
)


LAYER_FILTERS = (
    text("ref", "Only this step"),
    number("page", "Which page, from 0"),
    number("size", "How many on a page; more than 100 counts as 100", at_least=1),
)
TOTAL = "X-Total-Count"


class ApproveFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a decision."""

    layer_id: str
    decision: m.Decision
    note: str | None = None


class _PlayRows(msgspec.Struct, frozen=True):
    data: list[PlayView]
    total: int


class _LayerRows(msgspec.Struct, frozen=True):
    data: list[PlayLayerView]
    total: int


_approve_fields = msgspec.json.Decoder(ApproveFields)


class PlayRoutes:
    """Plays: list, read, cancel, approve."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._commands = PlayCommands(parts)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/flows/{id}/plays", self._list_of_flow, "read"),
            Route("GET", "/api/plays", self._list, "read"),
            Route("GET", "/api/plays/{id}", self._get, "read"),
            Route("DELETE", "/api/plays/{id}", self._cancel, "run"),
            Route("GET", "/api/plays/{id}/layers", self._layers, "read"),
            Route("POST", "/api/plays/{id}/approve", self._approve, "run"),
        ]

    @operation(PlayView, page=True, query=FILTERS)
    async def _list_of_flow(self, call: Call) -> web.Response:
        """List the plays of a flow, newest first."""
        flow = await self._parts.definitions.named(call)
        return await self._rows(call, flow.id)

    @operation(
        PlayView, page=True, query=(text("flowId", "Only plays of this flow, by id or permanentId"), *FILTERS)
    )
    async def _list(self, call: Call) -> web.Response:
        """List plays, newest first."""
        flow = paging.text(call.request.query, "flowId")
        if flow is None:
            return await self._rows(call, None)
        # Plays of a deleted flow stay readable; a name that never was has none.
        flow_id = await self._parts.definitions.id_of(call.caller.company_id, flow)
        return await self._rows(call, flow_id or flow)

    async def _rows(self, call: Call, flow_id: str | None) -> web.Response:
        query = call.request.query
        page = paging.page_of(query)
        wish = ListPlays(
            company_id=call.caller.company_id,
            page=page,
            flow_id=flow_id,
            state=paging.choice(query, "state", m.PLAY_STATES),
            from_at=paging.moment(query, "from"),
            to_at=paging.moment_after(query, "to"),
        )
        answer = await self._parts.store.ask("play", wish, call)
        rows = answer.decode(_PlayRows)
        envelope = paging.envelope([whole_seconds(play) for play in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(PlayView)
    async def _get(self, call: Call) -> web.Response:
        """Return one play; of one that is `DEFERRED` also its place in line, 1 for the next.

        `queuePosition` is null once the play has its slot and is about to run.
        """
        wish = GetPlay(company_id=call.caller.company_id, play_id=play_id_of(call))
        answer = await self._ask(call, wish)
        play = answer.decode(PlayView)
        if play.state == IN_LINE:
            key = self._parts.plays.key(call.caller.company_id, play.flow_id, play.id)
            place = await self._parts.lines.position(key, play.retries)
            play = msgspec.structs.replace(play, queue_position=place)
        return reply(whole_seconds(play), headers=answer.headers)

    @operation(list[PlayLayerView], query=LAYER_FILTERS)
    async def _layers(self, call: Call) -> web.Response:
        """Return the steps of a play: their states, outputs and errors.

        A step in a loop stands there once for each item. A long list is answered in part; the header `X-Total-Count`
        tells how long it is, `page` and `size` lead through it.
        """
        query = call.request.query
        paged = "page" in query or "size" in query
        page = paging.page_of(query) if paged else Page(size=PLAY_LAYERS_MAX)
        ref = paging.text(query, "ref")
        wish = ListPlayLayers(company_id=call.caller.company_id, play_id=play_id_of(call), page=page, ref=ref)
        answer = await self._ask(call, wish)
        rows = answer.decode(_LayerRows)
        headers = {**answer.headers, TOTAL: str(rows.total)}
        return reply([whole_seconds(layer) for layer in rows.data], headers=headers)

    async def _ask(self, call: Call, wish: Query) -> Answer:
        return await self._parts.store.ask("play", wish, call)

    @operation(PlayCancelled, refusals=(409,))
    async def _cancel(self, call: Call) -> web.Response:
        """Cancel a play.

        The step that runs is abandoned, and the play ends in FAIL with the error CANCELLED.
        """
        place = await self._commands.open_place(call)
        command = m.CancelPlay(at=self._parts.clock.now(), by=call.caller.user_id, origin=origin_of(call))
        told = await self._commands.send(place, "cancel", command, is_end)
        if told is None:
            return reply(PlayCancelled(play_id=place.key.play_id, state=place.state or "RUN"))
        end = end_in(told.seen.data)
        if not (isinstance(end, m.PlayFailed) and end.error_code == CANCELLED):
            raise Refused(f"play {place.key.play_id} had ended already, in {told.seen.state}")
        answer = PlayCancelled(play_id=place.key.play_id, state=told.seen.state)
        return reply(answer, headers=self._commands.noted(place, told.seen))

    @operation(ApprovalAnswered, body=_approve_fields, refusals=(409,))
    async def _approve(self, call: Call) -> web.Response:
        """Decide a step that waits for an approval.

        `layerId` is the layer's id, its id within the play, or its ref. With rules on the step only those whom they
        name may decide (403), and each of them once (409); the step goes on when as many have approved as they ask
        for, and fails when one declines.
        """
        fields = await bodies.read(call.request, _approve_fields)
        note = note_of(fields.note)
        place = await self._commands.open_place(call)
        story = await self._parts.plays.story(place.key, self._parts.payloads)
        gate = await self._parts.plays.pending(place.key, story, fields.layer_id)
        caller = call.caller
        started_by = story.started.by if story.started is not None else ""
        person = approval.Person(caller.user_id, caller.role, caller.email)
        # The decider says the same and counts; this answers at once.
        forbidden = approval.forbids(gate.gate, person, started_by=started_by)
        if forbidden is not None:
            raise Forbidden(forbidden)
        if approval.has_voted(gate.gate, caller.user_id):
            raise Refused(f"you have approved layer {shown(fields.layer_id)} already")
        command = m.ApprovePlay(
            at=self._parts.clock.now(),
            layer_id=gate.ref,
            decision=fields.decision,
            note=note,
            by=caller.user_id,
            origin=origin_of(call),
            role=caller.role,
            email=caller.email,
            iteration=gate.iteration,
        )

        def settles(state: str, commit: codec.Commit) -> bool:
            return state in m.TERMINAL or any(
                _settles(event, gate, caller.user_id) for event in commit.events
            )

        told = await self._commands.send(place, "approve", command, settles)
        if told is None:
            raise Unavailable("the decision is stored and not yet applied; look at the play again")
        if not told.own:
            raise Refused(_why_late(told, gate, caller.user_id, shown(fields.layer_id)))
        answer = ApprovalAnswered(
            play_id=place.key.play_id,
            layer_id=gate.layer_id,
            decision=fields.decision,
            state=told.seen.state,
        )
        return reply(answer, headers=self._commands.noted(place, told.seen))


def _settles(event: m.PlayEvent, gate: Pending, user_id: str) -> bool:
    """Tell whether an event leaves nothing for this user to say about the step: decided, voted on by them, ended."""
    if not isinstance(event, m.LayerEvent) or (event.ref, event.iteration) != (gate.ref, gate.iteration):
        return False
    match event:
        case m.ApprovalVoted():
            return event.gate.votes[-1].by == user_id
        case _:
            return isinstance(event, m.ApprovalDecided | m.LayerCompleted | m.LayerFailed)


def _why_late(told: Told, gate: Pending, user_id: str, layer: str) -> str:
    """Return why a decision came too late, from the commit that was before it."""
    for event in told.commit.events:
        if _settles(event, gate, user_id) and isinstance(event, m.ApprovalDecided | m.ApprovalVoted):
            by = event.by if isinstance(event, m.ApprovalDecided) else user_id
            if not by:
                return f"the time to decide on layer {layer} was over just now"
            return f"{'you have' if by == user_id else 'somebody else has'} decided on layer {layer} just now"
    if told.seen.state in m.TERMINAL:
        return f"the play has ended in {told.seen.state}"
    return f"layer {layer} does not wait for an approval any more"
