"""The table `plays`, and the fold of a shard's messages to the rows of plays and layers."""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any

from libs.common import codec, subjects
from libs.common.codec import encode
from libs.common.messages import play as m
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import checkpoints, layers
from services.store.read_models.checkpoints import Move
from services.store.read_models.layers import LayerRow
from services.store.read_models.text import storable

COLUMNS = (
    "id", "company_id", "flow_id", "shard", "state", "created_at", "started_at", "completed_at", "failed_at", "args",
    "out", "error", "error_code", "failed_ref", "flow_version", "trigger", "parent_play_id", "schedule_id",
    "changed_at", "first_sequence", "sequence",
)  # fmt: skip
TYPES = (
    "text", "text", "text", "integer", "text", "timestamptz", "timestamptz", "timestamptz", "timestamptz", "text",
    "text", "text", "text", "text", "integer", "text", "text", "text",
    "timestamptz", "bigint", "bigint",
)  # fmt: skip
_row_of = attrgetter(*COLUMNS)


def _project() -> str:
    names = ", ".join(COLUMNS)
    values = names.replace("args", "args::json").replace(" out,", " out::json,")
    arrays = ", ".join(f"${4 + n}::{kind}[]" for n, kind in enumerate(TYPES))
    return f"""
        with moved as ({checkpoints.MOVE}),
        written_layers as ({layers.upsert(4 + len(TYPES))}),
        written_plays as (
            insert into plays as t ({names})
            select {values} from unnest({arrays}) as row ({names})
            where exists (select from moved)
            on conflict (id) do update set
                state = case when excluded.state = 'NEW' then t.state else excluded.state end,
                started_at = coalesce(t.started_at, excluded.started_at),
                completed_at = coalesce(excluded.completed_at, t.completed_at),
                failed_at = coalesce(excluded.failed_at, t.failed_at),
                args = coalesce(t.args, excluded.args),
                out = coalesce(excluded.out, t.out),
                error = coalesce(excluded.error, t.error),
                error_code = coalesce(excluded.error_code, t.error_code),
                failed_ref = coalesce(excluded.failed_ref, t.failed_ref),
                flow_version = coalesce(t.flow_version, excluded.flow_version),
                trigger = coalesce(t.trigger, excluded.trigger),
                parent_play_id = coalesce(t.parent_play_id, excluded.parent_play_id),
                schedule_id = coalesce(t.schedule_id, excluded.schedule_id),
                changed_at = greatest(t.changed_at, excluded.changed_at),
                sequence = excluded.sequence
        )
        select count(*) from moved
    """  # noqa: S608 - names and numbers of ours


# One statement is one transaction and one round trip: with small batches those are what a play costs most.
PROJECT = _project()


class PlayRow:
    """What the messages of a batch say about one play; None where they say nothing."""

    __slots__ = (*COLUMNS, "layers")

    def __init__(self, key: subjects.PlayKey, at: datetime, sequence: int) -> None:
        self.id = key.play_id
        self.company_id = key.company_id
        self.flow_id = key.flow_id
        self.shard = key.shard
        self.state = "NEW"
        self.created_at = at
        self.started_at: datetime | None = None
        self.completed_at: datetime | None = None
        self.failed_at: datetime | None = None
        self.args: str | None = None
        self.out: str | None = None
        self.error: str | None = None
        self.error_code: str | None = None
        self.failed_ref: str | None = None
        self.flow_version: int | None = None
        self.trigger: str | None = None
        self.parent_play_id: str | None = None
        self.schedule_id: str | None = None
        self.changed_at = at
        self.first_sequence = sequence
        self.sequence = sequence
        self.layers: dict[str, LayerRow] = {}


class PlaysBatch:
    """The start commands and commits of one batch of a shard."""

    def __init__(self) -> None:
        self._rows: dict[str, PlayRow] = {}
        self.ended: list[str] = []  # the traceparents of the commits that ended a play

    def add(self, record: Record) -> None:
        """Fold in a start command or a commit. Raises msgspec.DecodeError or ValueError when it cannot be read."""
        key, last = subjects.parse_play(record.subject)
        if record.subject.startswith("cmd."):
            command = codec.decode_message(record.data).data
            if not isinstance(command, m.StartPlay):
                raise ValueError(f"{type(command).__name__} on a subject of start commands")
            _requested(self._row(key, command.at, record.sequence), command, command.at)
            return
        commit = codec.decode_commit(record.data, sequence=record.sequence)
        if not _KNOWN.issuperset(map(type, commit.events)):
            raise ValueError("a commit of a play holds events of something else")
        row = self._row(key, commit.time, record.sequence)
        row.state = last
        for event in commit.events:
            _FOLDS[type(event)](row, event)
        if last in m.TERMINAL and commit.traceparent:
            self.ended.append(commit.traceparent)

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write plays and layers and move the checkpoint, in one statement."""
        rows = [_row_of(row) for row in self._rows.values()]
        layer_rows = [layers.row_of(layer) for row in self._rows.values() for layer in row.layers.values()]
        arrays = [*_columns(rows, len(COLUMNS)), *_columns(layer_rows, len(layers.COLUMNS))]
        return bool(await connection.fetchval(PROJECT, *move, *arrays))

    def _row(self, key: subjects.PlayKey, at: datetime, sequence: int) -> PlayRow:
        row = self._rows.get(key.play_id)
        if row is None:
            row = self._rows[key.play_id] = PlayRow(key, at, sequence)
        row.changed_at = max(row.changed_at, at)
        row.sequence = sequence
        return row


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[Any]:
    return list(zip(*rows, strict=True)) if rows else [[] for _ in range(width)]


def _requested(row: PlayRow, event: m.StartPlay | m.PlayStarted, at: datetime) -> None:
    if row.args is not None:
        return
    row.created_at = at
    row.args = encode(event.args).decode()
    row.flow_version = event.flow_version
    row.trigger = event.trigger
    row.parent_play_id = event.parent_play_id or None
    row.schedule_id = event.schedule_id or None


def _started(row: PlayRow, event: m.PlayStarted) -> None:
    _requested(row, event, event.requested_at or event.at)
    row.started_at = row.started_at or event.at


def _completed(row: PlayRow, event: m.PlayCompleted) -> None:
    row.completed_at = event.at
    row.out = None if event.out is None else encode(event.out).decode()


def _failed(row: PlayRow, event: m.PlayFailed) -> None:
    row.completed_at = row.failed_at = event.at
    row.error = storable(event.error)
    row.error_code = event.error_code
    row.failed_ref = event.ref


def _nothing(_row: PlayRow, _event: Any) -> None:
    """Shows in no column: the state is in the commit's subject."""


def _of_layer(fold: Callable[[LayerRow, Any], None]) -> Callable[[PlayRow, Any], None]:
    def folded(row: PlayRow, event: m.LayerEvent) -> None:
        layer = row.layers.get(event.ref)
        if layer is None:
            layer = row.layers[event.ref] = LayerRow(row.id, event)
        fold(layer, event)

    return folded


_FOLDS: dict[type, Callable[[PlayRow, Any], None]] = {
    m.PlayStarted: _started,
    m.PlayResumed: _nothing,
    m.PlayWaiting: _nothing,
    m.CancelRequested: _nothing,
    m.PlayCompleted: _completed,
    m.PlayFailed: _failed,
    m.ApprovalDecided: _of_layer(layers.approval_decided),
    m.LayerStarted: _of_layer(layers.started),
    m.LayerWaiting: _of_layer(layers.waiting),
    m.LayerRetrying: _of_layer(layers.retrying),
    m.LayerCompleted: _of_layer(layers.completed),
    m.LayerFailed: _of_layer(layers.failed),
}
_KNOWN = frozenset(_FOLDS)
