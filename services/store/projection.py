"""Writes messages of one stream to the read models, each exactly once, whatever is among them (design D10)."""

from collections.abc import Callable

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter

from libs.common import newer, subjects, trace
from libs.common.codec import UnknownType
from libs.common.errors import HeadraceError
from libs.common.payloads import Payloads
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.payload_records import may_refer, parts_of, whole_record
from services.store.read_models import dead_letters
from services.store.read_models.checkpoints import Batch, Move
from services.store.read_models.dead_letters import DeadLetter
from services.store.read_models.definitions import NOUNS, DefinitionsBatch
from services.store.read_models.kv import KvBatch
from services.store.read_models.plays import PlaysBatch
from services.store.read_models.requests import RequestsBatch
from services.store.read_models.schedules import SchedulesBatch

BATCH_MESSAGES_MAX = 1_000
# Of big values that are in memory together.
PAYLOAD_BYTES_MAX = 33_554_432
# A statement costs as much as ten plays in it: under load the plays of a fiftieth of a second share one. A message
# that comes alone is written at once.
PLAYS_INTERVAL_S = 0.02
DEAD_LETTERS = Counter("headrace_dead_letters_total", "Messages that could not be projected", ("stream",))
# A value that Postgres or its driver refuses; a ValueError is how the driver refuses a parameter.
REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,
    OverflowError,
)
# RecursionError: nested deeper than the decoder goes.
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)

log = structlog.get_logger(__name__)


class CheckpointMoved(HeadraceError):
    """Somebody else projected; read the checkpoint again and go on from there."""


class Projection:
    """One stream's way into the read models: what is read of it, and what is written, how often at most."""

    def __init__(
        self,
        stream: str,
        filters: list[str],
        make_batch: Callable[[], Batch],
        *,
        interval_s: float = 0.0,
        payloads: Payloads | None = None,
    ) -> None:
        self.interval_s = interval_s
        self._payloads = payloads
        self.stream = stream
        self.filters = filters
        self._make_batch = make_batch

    async def write(self, connection: Connection, records: list[Record], *, before: int) -> int:
        """Project these messages, with their big values, and return the new checkpoint.

        Raises CheckpointMoved when the checkpoint is not at `before` (any more), Unavailable when a value is away.
        """
        if self._payloads is None or not any(map(may_refer, records)):
            return await self._write_whole(connection, records, before=before)
        for part in parts_of(records, bytes_max=PAYLOAD_BYTES_MAX):
            whole = [await whole_record(self._payloads, record) for record in part]
            before = await self._write_whole(connection, whole, before=before)
        return before

    async def write_again(self, connection: Connection, records: list[Record], *, at: int) -> None:
        """Project messages from before the checkpoint, which stays `at`, inside the caller's transaction.

        Raises CheckpointMoved when it is elsewhere, Unavailable when a value is away.
        """
        if self._payloads is not None:
            records = [await whole_record(self._payloads, record) for record in records]
        batch = self._make_batch()
        letters = [letter for record in records if (letter := _add(batch, record)) is not None]
        await self._write(connection, batch, letters, Move(self.stream, at, at))

    async def _write_whole(self, connection: Connection, records: list[Record], *, before: int) -> int:
        after = records[-1].sequence
        with trace.span("project batch", stream=self.stream, messages=len(records)):
            batch = self._make_batch()
            letters = [letter for record in records if (letter := _add(batch, record)) is not None]
            try:
                await self._write(connection, batch, letters, Move(self.stream, before, after))
            except REFUSED as error:
                return await self._write_parts(connection, records, before, error)
        if trace.enabled() and isinstance(batch, PlaysBatch):
            _trace_ended(batch)
        return after

    async def _write(
        self, connection: Connection, batch: Batch, letters: list[DeadLetter], move: Move
    ) -> None:
        if not letters:
            written = await batch.write(connection, move)
        else:
            async with connection.transaction():
                written = await batch.write(connection, move)
                await dead_letters.write(connection, self.stream, letters)
            self._tell(letters)
        if not written:
            raise CheckpointMoved(f"the checkpoint of {self.stream} is not at {move.before} any more")

    async def _write_parts(
        self, connection: Connection, records: list[Record], before: int, error: Exception
    ) -> int:
        # One message holds what Postgres cannot: halve until it stands alone.
        if len(records) > 1:
            half = len(records) // 2
            middle = await self._write_whole(connection, records[:half], before=before)
            return await self._write_whole(connection, records[half:], before=middle)
        letters = [DeadLetter(records[0], f"{type(error).__name__}: {error}")]
        move = Move(self.stream, before, records[0].sequence)
        await self._write(connection, self._make_batch(), letters, move)
        return move.after

    def _tell(self, letters: list[DeadLetter]) -> None:
        DEAD_LETTERS.labels(self.stream).inc(len(letters))
        for record, error in letters:
            if error.startswith(dead_letters.NEWER):
                continue  # told of its type, once
            log.error(
                "dead_letter",
                stream=self.stream,
                sequence=record.sequence,
                subject=record.subject,
                error=error,
            )


def _add(batch: Batch, record: Record) -> DeadLetter | None:
    try:
        batch.add(record)
    except UnknownType as error:
        newer.note(error, what="projection", subject=record.subject, sequence=record.sequence)
        return DeadLetter(record, f"{dead_letters.NEWER}{error}")
    except _UNREADABLE as error:
        return DeadLetter(record, f"{type(error).__name__}: {error}")
    return None


def _trace_ended(batch: PlaysBatch) -> None:
    for traceparent in batch.ended:
        with trace.continued("project play", traceparent):
            continue


def _deeds(shard: int) -> list[str]:
    return [subjects.shard_commands(shard, verb) for verb in subjects.CONTROL_VERBS]


def projections(shards: int, payloads: Payloads) -> list[Projection]:
    """Return the projections of all streams."""
    filters = [f"evt.{noun}.>" for noun in NOUNS]
    return [
        Projection(subjects.DEFINITIONS, filters, DefinitionsBatch),
        Projection(subjects.KV, ["evt.kv.>", "evt.keyuse.>"], KvBatch),
        Projection(subjects.REQUESTS, ["evt.request.>"], RequestsBatch),
        Projection(subjects.SCHEDULES, ["evt.schedule.>"], SchedulesBatch),
        *(
            Projection(
                subjects.plays_stream(shard),
                [subjects.shard_events(shard), subjects.shard_starts(shard), *_deeds(shard)],
                PlaysBatch,
                interval_s=PLAYS_INTERVAL_S,
                payloads=payloads,
            )
            for shard in range(shards)
        ),
    ]
