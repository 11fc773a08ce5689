"""Plays as the log has them: where one lives, its state now, and which of its steps waits for a decision."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from libs.common import codec, ids, subjects, trace
from libs.common.bus import Appended, Bus
from libs.common.errors import NotFound, Refused
from libs.common.messages import play as m
from libs.common.messages.flow import FlowEvent
from services.gateway.routing import shown

HISTORY_PAGE_MAX = 256
APPEND_DEADLINE_S = 5.0
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
        context = codec.Context(
            source=codec.source_of(key.company_id, key.flow_id),
            subject=key.play_id,
            correlation_id=key.play_id,
            traceparent=trace.current_traceparent(),
        )
        body = codec.encode_message(command, id=id, context=context)
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

    async def pending_gate(self, key: subjects.PlayKey, layer: str) -> m.LayerWaiting:
        """Return the step that waits for a decision; `layer` is a flowlet's id, a play-layer's id or a ref (Q22).

        Raises Refused when this step does not wait for one, NotFound when the play has no such step.
        """
        definition, named = 0, False
        pending: dict[str, m.LayerWaiting] = {}  # by the name of the run
        async for event in self._events(key):
            match event:
                case m.PlayStarted():
                    definition = event.definition
                case m.LayerWaiting(kind="approval"):
                    pending[_name(event)] = event
                case m.ApprovalDecided() | m.LayerCompleted() | m.LayerFailed():
                    pending.pop(_name(event), None)
            if isinstance(event, m.LayerEvent) and _is(layer, event, key.play_id):
                named = True
        for gate in pending.values():
            if _is(layer, gate, key.play_id):
                return gate
        if named or await self._defines(definition, layer, key.play_id):
            raise Refused(f"layer {shown(layer)} does not wait for an approval")
        raise NotFound(f"play {key.play_id} has no layer {shown(layer)}", code="LAYER_NOT_FOUND")

    async def _events(self, key: subjects.PlayKey) -> AsyncIterator[m.PlayEvent]:
        stream, since = subjects.plays_stream(key.shard), 1
        while page := await self._bus.load_page(stream, key.events, since=since, limit=HISTORY_PAGE_MAX):
            for stored in page:
                for event in codec.decode_commit(stored.data, sequence=stored.sequence).events:
                    yield event
            since = page[-1].sequence + 1

    async def _defines(self, definition: int, layer: str, play_id: str) -> bool:
        stored = await self._bus.get(subjects.DEFINITIONS, definition) if definition else None
        if stored is None:
            return False
        event = codec.last_event(stored.data).data
        layers = event.flow.layers if isinstance(event, FlowEvent) else ()
        names = {
            name for known in layers for name in (known.id, known.ref, ids.derived_id(play_id, known.ref))
        }
        return layer in names


def decision_in(events: Iterable[m.PlayEvent], gate: m.LayerWaiting) -> m.ApprovalDecided | None:
    """Return the decision on this step among the events of a commit, None when there is none."""
    decisions = (event for event in events if isinstance(event, m.ApprovalDecided))
    return next((event for event in decisions if _name(event) == _name(gate)), None)


def end_in(commit: bytes) -> m.PlayCompleted | m.PlayFailed | None:
    """Return the end of the play that a commit holds, None when it holds none; the other events stay undecoded.

    Raises msgspec.DecodeError when it is no commit.
    """
    for raw in reversed(_decode_batch(commit)):
        if raw.type in _ENDS:
            end: m.PlayCompleted | m.PlayFailed = codec.data_of(raw.type, raw.data)
            return end
    return None


def _name(event: m.LayerEvent) -> str:
    return m.run_name(event.ref, event.iteration)


def _is(wanted: str, event: m.LayerEvent, play_id: str) -> bool:
    if wanted in (event.layer_id, event.ref):
        return True
    return ids.is_id(wanted) and wanted == ids.derived_id(play_id, _name(event))
