"""Plays as the log has them: where one lives, its state now, and which of its steps waits for a decision."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from libs.common import codec, ids, snapshots, subjects, trace
from libs.common.bus import APPEND_DEADLINE_S, Appended, Bus
from libs.common.errors import NotFound, PayloadLost, Refused
from libs.common.messages import play as m
from libs.common.messages.flow import FlowEvent, Layer
from libs.common.messages.play_seen import SEEN_FROM_VERSION
from libs.common.payloads import Payloads
from services.gateway.play_story import Pending, Story
from services.gateway.routing import shown

HISTORY_PAGE_MAX = 256

log = structlog.get_logger(__name__)
_ENDS = frozenset({codec.TYPE_NAMES[m.PlayCompleted], codec.TYPE_NAMES[m.PlayFailed]})


class Place(NamedTuple):
    """Where a play lives, the stream sequence it is known by, and its state; None: accepted, no commit yet."""

    key: subjects.PlayKey
    sequence: int
    state: str | None


class Requested(NamedTuple):
    """A start command that is in the log."""

    at: datetime
    sequence: int


class _RawEvent(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


_decode_batch = msgspec.json.Decoder(list[_RawEvent]).decode


def context_of(key: subjects.PlayKey) -> codec.Context:
    """Return what a command to a play says of its way here: the play it is about, and the trace of this call."""
    return codec.Context(
        source=codec.source_of(key.company_id, key.flow_id),
        subject=key.play_id,
        correlation_id=key.play_id,
        traceparent=trace.current_traceparent(),
    )


class Plays:
    """Reads plays from their streams, independent of any projection."""

    def __init__(self, bus: Bus, shards: int) -> None:
        self._bus = bus
        self._shards = shards

    def key(self, company_id: str, flow_id: str, play_id: str) -> subjects.PlayKey:
        """Return where a play of this flow lives."""
        return subjects.play_key(company_id, flow_id, play_id, shards=self._shards)

    async def order(self, key: subjects.PlayKey, verb: str, command: m.Command, *, id: str) -> Appended:
        """Store a command to a play and return its place once it is durable.

        Raises Unavailable when that takes too long; the command may be stored all the same.
        """
        body = codec.encode_message(command, id=id, context=context_of(key))
        return await self._bus.append(key.command(verb), body, id=id, deadline_s=APPEND_DEADLINE_S)

    async def find(self, company_id: str, play_id: str) -> Place | None:
        """Return a play of this company by its id alone, None when the log has nothing of it."""
        if not ids.is_id(play_id):
            return None
        shard = subjects.shard_of(play_id, self._shards)
        stream = subjects.plays_stream(shard)
        commit = await self._bus.last(stream, subjects.history(shard, company_id, play_id=play_id))
        if commit is not None:
            key, state = subjects.parse_play(commit.subject)
            return Place(key, commit.sequence, state)
        start = await self._bus.last(stream, subjects.start_of(shard, company_id, play_id))
        return None if start is None else Place(subjects.parse_play(start.subject)[0], start.sequence, None)

    async def requested(self, key: subjects.PlayKey) -> Requested | None:
        """Return the start command of a play, None when the log has none."""
        stored = await self._bus.last(subjects.plays_stream(key.shard), key.command("start"))
        if stored is None:
            return None
        return Requested(codec.decode_message(stored.data).time, stored.sequence)

    async def story(self, key: subjects.PlayKey, payloads: Payloads) -> Story:
        """Return what the history of a play says, for people who operate one play.

        That of a long one is read from its newest snapshot on. Raises Unavailable.
        """
        story = await self._from_snapshot(key, payloads)
        async for event in self._events(key, since=story.told + 1):
            if isinstance(event, m.PlaySnapshot) and story.started is None:
                # The log holds nothing before it any more.
                story.tell(await _whole(event, payloads, key.company_id))
            else:
                story.tell(event)
        return story

    async def _from_snapshot(self, key: subjects.PlayKey, payloads: Payloads) -> Story:
        """Return what a play's newest snapshot says, nothing when it has none that says enough."""
        stream = subjects.plays_stream(key.shard)
        place = snapshots.place_of(await self._bus.last(stream, key.events))
        holder = await self._bus.get(stream, place) if place else None
        if holder is None:
            return Story()
        snapshot = codec.decode_commit(holder.data, sequence=place).events[-1]
        if not isinstance(snapshot, m.PlaySnapshot) or snapshot.version < SEEN_FROM_VERSION:
            return Story()
        snapshot = await _whole(snapshot, payloads, key.company_id)
        if snapshot.play is None:
            return Story()
        story = Story(told=place)
        story.tell(snapshot)
        return story

    async def pending(self, key: subjects.PlayKey, story: Story, layer: str) -> Pending:
        """Return the step that waits for a decision; `layer` is a flowlet's id, a play-layer's id or a ref (Q22).

        Raises Refused when this step does not wait for one, NotFound when the play has no such step.
        """
        for gate in story.pending.values():
            if _is(layer, gate.layer_id, gate.ref, gate.iteration, key.play_id):
                return gate
        named = any(_is(layer, *run, key.play_id) for run in story.named)
        layers = () if named else await self.layers(story.definition or await self._requested_definition(key))
        if named or any(_is(layer, known.id, known.ref, (), key.play_id) for known in layers):
            raise Refused(f"layer {shown(layer)} does not wait for an approval")
        raise NotFound(f"play {key.play_id} has no layer {shown(layer)}", code="LAYER_NOT_FOUND")

    async def _requested_definition(self, key: subjects.PlayKey) -> int:
        stored = await self._bus.last(subjects.plays_stream(key.shard), key.command("start"))
        command = None if stored is None else codec.decode_message(stored.data).data
        return command.definition if isinstance(command, m.StartPlay) else 0

    async def layers(self, definition: int) -> tuple[Layer, ...]:
        """Return the steps of a stored definition, none when the log has no flow there."""
        stored = await self._bus.get(subjects.DEFINITIONS, definition) if definition else None
        event = None if stored is None else codec.last_event(stored.data).data
        return event.flow.layers if isinstance(event, FlowEvent) else ()

    async def _events(self, key: subjects.PlayKey, *, since: int) -> AsyncIterator[m.PlayEvent]:
        stream = subjects.plays_stream(key.shard)
        while page := await self._bus.load_page(stream, key.events, since=since, limit=HISTORY_PAGE_MAX):
            for stored in page:
                for event in codec.known_part(stored.data, sequence=stored.sequence)[0].events:
                    yield event
            since = page[-1].sequence + 1


async def _whole(event: m.PlaySnapshot, payloads: Payloads, company_id: str) -> m.PlaySnapshot:
    try:
        return await payloads.whole(event, company_id)
    except PayloadLost as error:
        log.warning("snapshot_lost", error=error.message)
        return event


def end_in(commit: bytes) -> m.PlayCompleted | m.PlayFailed | None:
    """Return the end of the play that a commit holds, None when it holds none. Raises as `last_in`."""
    end: m.PlayCompleted | m.PlayFailed | None = last_in(commit, _ENDS)
    return end


def last_in(commit: bytes, types: Collection[str]) -> Any:
    """Return the last event of a commit that is of these types, None without one; the others stay undecoded.

    Raises msgspec.DecodeError when it is no commit.
    """
    for raw in reversed(_decode_batch(commit)):
        if raw.type in types:
            return codec.data_of(raw.type, raw.data)
    return None


def _is(wanted: str, layer_id: str, ref: str, iteration: tuple[int, ...], play_id: str) -> bool:
    if wanted in (layer_id, ref):
        return True
    return ids.is_id(wanted) and wanted == ids.derived_id(play_id, m.run_name(ref, iteration))
