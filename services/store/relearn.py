"""Projects what was set aside because only a newer release knew its type, once a store of such a release leads.

An older store shows what it knows of a commit and keeps the whole as a dead letter. Here its play is folded anew from
the log, and what else was set aside is projected by itself: each definition in the log is whole (design D7).
"""

from collections.abc import Iterable
from itertools import groupby

import msgspec
import structlog

from libs.common import codec, subjects
from libs.common.bus import Bus, Stored
from libs.common.messages import play as m
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.projection import REFUSED, CheckpointMoved, Projection
from services.store.read_models import checkpoints, dead_letters
from services.store.read_models.checkpoints import Move

LETTERS_MAX = 1_000
_PROJECTED = {"start", *subjects.CONTROL_VERBS}
_BEGINNINGS = (m.PlayStarted, m.PlayDeferred)
_FORGET_STEPS = "delete from layers where play_id = $1"
_FORGET_PLAY = "delete from plays where id = $1"

log = structlog.get_logger(__name__)


async def relearn(bus: Bus, connection: Connection, projection: Projection, *, at: int) -> int:
    """Project the messages up to the checkpoint, which is `at`, that this release is the first to know.

    Returns how many there were; what it does not know either stays. Raises CheckpointMoved, Unavailable.
    """
    count, after = 0, 0
    while letters := await dead_letters.of_newer_releases(
        connection, projection.stream, after=after, limit=LETTERS_MAX
    ):
        after = letters[-1].sequence
        readable = filter(_is_readable, letters)
        for subject, about in groupby(sorted(readable, key=_aggregate), key=_aggregate):
            known = list(about)
            if await _project(bus, connection, projection, subject, known, at=at):
                count += len(known)
    if count:
        log.info("dead_letters_projected", stream=projection.stream, count=count)
    return count


async def _project(
    bus: Bus, connection: Connection, projection: Projection, subject: str, known: list[Record], *, at: int
) -> bool:
    """Project what was set aside of one play, or of one other thing; False when the database refuses it."""
    stream = projection.stream
    of_play = subject.startswith("play.")
    if of_play:
        found = [*await bus.load(stream, f"evt.{subject}.*"), *await bus.load(stream, f"cmd.{subject}.*")]
    else:
        # Of an entry the log keeps the newest message only: what is gone from there is outdated here.
        found = [stored for letter in known if (stored := await bus.get(stream, letter.sequence)) is not None]
    records = _records(found, upto=at)
    try:
        async with connection.transaction():
            if not await checkpoints.hold(connection, Move(stream, at, at)):
                raise CheckpointMoved(f"the checkpoint of {stream} is not at {at} any more")
            await dead_letters.forget(connection, stream, [letter.sequence for letter in known])
            if of_play and _is_whole(records):
                play_id = subject.rpartition(".")[2]
                await connection.execute(_FORGET_STEPS, play_id)
                await connection.execute(_FORGET_PLAY, play_id)
            if records:
                await projection.write_again(connection, records, at=at)
    except REFUSED as error:
        log.error("dead_letter_refused", stream=stream, subject=subject, error=str(error))  # noqa: TRY400
        return False
    return True


def _aggregate(record: Record) -> str:
    """Return what a message is about: its subject without `evt.` or `cmd.`, of a play without its state or verb."""
    words = record.subject.split(".")
    return ".".join(words[1:-1] if words[1] == "play" else words)


def _records(found: Iterable[Stored], *, upto: int) -> list[Record]:
    records = [Record(stored.subject, stored.sequence, stored.data) for stored in found]
    wanted = [record for record in records if record.sequence <= upto and _is_projected(record.subject)]
    return sorted(wanted, key=lambda record: record.sequence)


def _is_projected(subject: str) -> bool:
    return not subject.startswith("cmd.") or subject.rpartition(".")[2] in _PROJECTED


def _is_whole(records: list[Record]) -> bool:
    """Tell whether the log still has a play from its beginning, or from a snapshot of the whole of it, on."""
    if not records or records[0].subject.startswith("cmd."):
        return bool(records)
    events = codec.known_part(records[0].data, sequence=records[0].sequence)[0].events
    return bool(events) and (isinstance(events[0], _BEGINNINGS) or isinstance(events[-1], m.PlaySnapshot))


def _is_readable(record: Record) -> bool:
    try:
        if record.data.startswith(b"["):
            codec.decode_commit(record.data, sequence=record.sequence)
        else:
            codec.decode_message(record.data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return True
