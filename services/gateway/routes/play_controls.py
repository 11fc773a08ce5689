"""`/api/plays/:id/hold`, `/resume`, `/retry` and `/replay`: operating a play (spec flow8 sections 8 and 9, Q35)."""

from datetime import datetime
from typing import Any, TypedDict

import msgspec
from aiohttp import web

from libs.common import codec, ids, subjects
from libs.common.errors import Invalid, Refused, Unavailable
from libs.common.messages import play as m
from libs.common.messages.origin import Origin
from services.gateway import bodies
from services.gateway.answers import PlayReplayed, PlayTold, reply
from services.gateway.live import Waiter
from services.gateway.operations import Answer, operation
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.play_commands import PlayCommands, Told, note_of, shows
from services.gateway.play_story import Story
from services.gateway.plays import Place
from services.gateway.positions import HEADER
from services.gateway.routes.run import KEY_CHARS_MAX, SAFE_AGAIN
from services.gateway.routing import Call, Route, shown

HELD = "ON_HOLD"


class PlayNote(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a hold, a resume or a retry: why."""

    note: str | None = None


class ReplayFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a replay; without `args` those of the play that is repeated."""

    from_ref: str | None = None
    args: dict[str, Any] | None = None
    idempotency_key: str | None = None
    force: bool = False


_note = msgspec.json.Decoder(PlayNote)
_replay_fields = msgspec.json.Decoder(ReplayFields)


class _Deed(TypedDict):
    """What every command of a person tells: when, who, and from where."""

    at: datetime
    by: str
    origin: Origin


class PlayControlRoutes:
    """Plays: hold, resume, retry, replay."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._commands = PlayCommands(parts)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("POST", "/api/plays/{id}/hold", self._hold, "run"),
            Route("POST", "/api/plays/{id}/resume", self._resume, "run"),
            Route("POST", "/api/plays/{id}/retry", self._retry, "run"),
            Route("POST", "/api/plays/{id}/replay", self._replay, "run"),
        ]

    def _deed(self, call: Call) -> _Deed:
        return {"at": self._parts.clock.now(), "by": call.caller.user_id, "origin": origin_of(call)}

    @operation(PlayTold, body=_note, body_optional=True, refusals=(409,))
    async def _hold(self, call: Call) -> web.Response:
        """Hold a play.

        Steps that run may end, nothing else begins; then the play is ON_HOLD until it is resumed or cancelled. The
        time on hold does not count towards the flow's timeout.
        """
        note = note_of((await bodies.read(call.request, _note, optional=True)).note)
        place = await self._commands.open_place(call)
        if place.state == HELD or (await self._parts.plays.story(place.key, self._parts.payloads)).held:
            raise Refused(f"play {place.key.play_id} is on hold already")
        command = m.HoldPlay(**self._deed(call), note=note)
        told = await self._commands.send(place, "hold", command, shows(m.HoldRequested))
        return self._answer(place, told, "put it on hold", place.state or "RUN")

    @operation(PlayTold, body=_note, body_optional=True, refusals=(409,))
    async def _resume(self, call: Call) -> web.Response:
        """Resume a play that is on hold."""
        note = note_of((await bodies.read(call.request, _note, optional=True)).note)
        place = await self._commands.open_place(call)
        if place.state != HELD and not (await self._parts.plays.story(place.key, self._parts.payloads)).held:
            raise Refused(f"play {place.key.play_id} is not on hold")
        command = m.ResumePlay(**self._deed(call), note=note)
        told = await self._commands.send(place, "resume", command, shows(m.HoldLifted))
        return self._answer(place, told, "resumed it", place.state or "RUN")

    @operation(PlayTold, body=_note, body_optional=True, refusals=(409,))
    async def _retry(self, call: Call) -> web.Response:
        """Retry a failed play from where it failed.

        The same play runs again: its failed steps, and those that were skipped because of them, begin anew with all
        their attempts; what is done stays done. A cancelled play can be retried, too.
        """
        note = note_of((await bodies.read(call.request, _note, optional=True)).note)
        place = await self._commands.place(call)
        if place.state != "FAIL":
            state = place.state or "NEW"
            raise Refused(f"only a failed play can be retried; play {place.key.play_id} is in {state}")
        command = m.RetryPlay(**self._deed(call), after=place.sequence, note=note)
        told = await self._commands.send(
            place, "retry", command, lambda _, commit: _holds(commit, m.PlayRetried, m.RetryDeferred)
        )
        return self._answer(place, told, "retried it", "RUN")

    @operation(
        PlayReplayed,
        status=201,
        also=(Answer(200, PlayReplayed, "The same `idempotencyKey` again: the play that there is"),),
        body=_replay_fields,
        body_optional=True,
        refusals=(409,),
    )
    async def _replay(self, call: Call) -> web.Response:
        """Run a play again as a new one.

        The new play runs the same version of the flow. With `fromRef` it takes over what the steps before that step's
        group put out, and runs from there; these steps must have ended. With an `idempotencyKey` a repeat starts
        nothing and answers with the same play.
        """
        fields = await bodies.read(call.request, _replay_fields, optional=True)
        given = fields.idempotency_key
        if given and len(given) > KEY_CHARS_MAX:
            raise Invalid(f"idempotencyKey: expected at most {KEY_CHARS_MAX} characters")
        place = await self._commands.place(call)
        source = place.key
        story = await self._parts.plays.story(source, self._parts.payloads)
        if story.started is None:
            raise Refused(f"play {source.play_id} has not begun yet")
        started = await self._parts.payloads.whole(story.started, source.company_id)
        await self._check(story, started, fields.from_ref or "")
        flow = await self._parts.definitions.find(source.company_id, source.flow_id)
        if not flow.enabled and not fields.force:
            raise Refused(f"flow {flow.id} is disabled; replay with force", code="FLOW_DISABLED")
        play_id = ids.derived_id(source.play_id, "replay", given) if given else ids.new_id()
        key = self._parts.plays.key(source.company_id, source.flow_id, play_id)
        command = m.StartPlay(
            **self._deed(call),
            definition=started.definition,
            flow_version=started.flow_version,
            args=started.args if fields.args is None else fields.args,
            seed=ids.random_seed(),
            idempotency_key=given or "",
            replay=m.Replay(
                play_id=source.play_id,
                shard=source.shard,
                sequence=place.sequence,
                from_ref=fields.from_ref or "",
            ),
        )
        first = await self._parts.lines.waiter(key, flow)
        try:
            return await self._start(key, command, first, self._parts.lines.accepted(flow))
        finally:
            if first is not None:
                first.close()

    async def _check(self, story: Story, started: m.PlayStarted, from_ref: str) -> None:
        """Raise Invalid when the flow has no such step, Refused when a step before it has not ended."""
        if not from_ref:
            return
        layers = await self._parts.plays.layers(started.definition)
        start = next((layer for layer in layers if layer.ref == from_ref), None)
        if start is None:
            raise Invalid(f"fromRef: the flow has no step {shown(from_ref)}")
        still_open = [
            layer.ref for layer in layers if layer.index < start.index and layer.ref not in story.ended
        ]
        if still_open:
            raise Refused(f"step {still_open[0]} has not ended, so there is nothing to take over from it")

    async def _start(
        self, key: subjects.PlayKey, command: m.StartPlay, first: Waiter | None, accepted: str
    ) -> web.Response:
        replay_of = command.replay.play_id if command.replay is not None else ""
        known = await self._parts.plays.requested(key) if command.idempotency_key else None
        if known is not None:
            seen = await self._parts.live.last(key)
            state = accepted if seen is None else seen.state
            return self._replayed(key, replay_of, known.sequence, status=200, state=state)
        appended = await self._parts.starts.append(key, command, advice=SAFE_AGAIN)
        seen = await self._parts.lines.first(key, first)
        state, sequence = (accepted, appended.sequence) if seen is None else (seen.state, seen.sequence)
        return self._replayed(
            key, replay_of, sequence, status=200 if appended.duplicate else 201, state=state
        )

    def _replayed(
        self, key: subjects.PlayKey, replay_of: str, sequence: int, *, status: int, state: str
    ) -> web.Response:
        stream = subjects.plays_stream(key.shard)
        self._parts.positions.note(key.company_id, stream, sequence)
        answer = PlayReplayed(play_id=key.play_id, state=state, replay_of=replay_of)
        return reply(answer, status=status, headers={HEADER: f"{stream}={sequence}"})

    def _answer(self, place: Place, told: Told | None, what: str, before: str) -> web.Response:
        play_id = place.key.play_id
        if told is None:
            raise Unavailable(f"the command is stored and not yet applied, play {play_id} is in {before}")
        if not told.own:
            # Somebody else's command, or the end, came first.
            ended = told.seen.state in m.TERMINAL
            why = f"has ended in {told.seen.state}" if ended else f"moved: somebody else {what} just now"
            raise Refused(f"play {play_id} {why}")
        answer = PlayTold(play_id=play_id, state=told.seen.state)
        return reply(answer, headers=self._commands.noted(place, told.seen))


def _holds(commit: codec.Commit, *kinds: type[m.PlayEvent]) -> bool:
    return any(isinstance(event, kinds) for event in commit.events)
