"""Plays that the projection is late with, as the log has them: what was accepted can be read (design D11).

The fold that fills the read models makes the rows here, too; it reads the whole history of one play, if that is short.
"""

from typing import Any, NamedTuple

import msgspec

from libs.common import codec, newer, subjects
from libs.common.bus import Bus, Stored
from libs.common.codec import UnknownType
from libs.common.errors import Unavailable
from libs.common.messages import play as m
from libs.common.messages.query import Reply
from libs.common.payloads import Payloads
from services.store.log_reader import Record
from services.store.payload_records import bytes_of, whole_record
from services.store.read_models.plays import PlaysBatch

COMMITS_MAX = 1_000
VALUES_BYTES_MAX = 33_554_432
_BEGINNINGS = (m.PlayStarted, m.PlayDeferred)
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class LatePlay(NamedTuple):
    """A play and its steps in their order, each as the columns of its row."""

    play: dict[str, Any]
    layers: list[dict[str, Any]]
    stream: str

    def reply(self, view: Any) -> Reply:
        """Return what is shown of it with how far that reaches: who asks for a list next should find it there, too."""
        return Reply(
            data=msgspec.Raw(msgspec.json.encode(view)), sequences={self.stream: self.play["sequence"]}
        )


class LatePlays:
    """Reads plays from their streams."""

    def __init__(self, bus: Bus, payloads: Payloads, *, shards: int) -> None:
        self._bus = bus
        self._payloads = payloads
        self._shards = shards

    async def start(self, company_id: str, play_id: str) -> tuple[str, Stored] | None:
        """Return the stream and the start command of a play as its leader has it, None when the log has none."""
        shard = subjects.shard_of(play_id, self._shards)
        stream = subjects.plays_stream(shard)
        start = await self._bus.last(stream, subjects.start_of(shard, company_id, play_id), leader=True)
        return None if start is None else (stream, start)

    async def read(self, company_id: str, play_id: str, *, known: int | None) -> LatePlay | None:
        """Return a play of the log, None when its row says as much; `known` is how far that reaches, None without one.

        Raises Unavailable when there is no row, and the history is too long to be read here.
        """
        records = await self._history(company_id, play_id, known or 0)
        if records is None:
            if known is None:
                raise Unavailable(f"play {play_id} was accepted, and cannot be shown yet; ask again")
            return None
        # A replica may have answered, that has less than the row.
        if not records or records[-1].sequence <= (known or 0):
            return None
        # Of a play that is older than the log, the row knows more.
        if known is not None and not _begins(records[0]):
            return None
        return _folded(play_id, [await whole_record(self._payloads, record) for record in records])

    async def _history(self, company_id: str, play_id: str, known: int) -> list[Record] | None:
        """Return all that the log says of a play, nothing when that is known; None when it is too much."""
        shard = subjects.shard_of(play_id, self._shards)
        stream = subjects.plays_stream(shard)
        history = subjects.history(shard, company_id, play_id=play_id)
        last = await self._bus.last(stream, history, leader=True)
        if known and (last is None or last.sequence <= known):
            return []
        start = await self.start(company_id, play_id)
        found = [] if start is None else [start[1]]
        if last is not None:
            # Named in full, it is found at once, and not looked for in all of the stream.
            key, _ = subjects.parse_play(last.subject)
            commits, more = await self._bus.load_some(stream, key.events, since=1, limit=COMMITS_MAX)
            if more:
                return None
            found += commits
        records = [Record(stored.subject, stored.sequence, stored.data) for stored in found]
        return records if sum(map(bytes_of, records)) <= VALUES_BYTES_MAX else None


def _begins(record: Record) -> bool:
    if record.subject.startswith("cmd."):
        return True
    events = codec.known_part(record.data, sequence=record.sequence)[0].events
    return bool(events) and isinstance(events[0], _BEGINNINGS)


def _folded(play_id: str, records: list[Record]) -> LatePlay | None:
    batch = PlaysBatch()
    for record in records:
        try:
            batch.add(record)
        except UnknownType as error:
            newer.note(error, what="query", subject=record.subject, sequence=record.sequence)
        except _UNREADABLE:
            # The projection finds out the same, says so, and keeps it as a dead letter.
            continue
    fold = batch.fold(play_id)
    if fold is None:
        return None
    steps = sorted(fold.layers.values(), key=lambda row: (row.order, row.ref, row.iteration))
    row = msgspec.structs.asdict(fold.row)
    return LatePlay(row, list(map(msgspec.structs.asdict, steps)), subjects.plays_stream(fold.row.shard))
