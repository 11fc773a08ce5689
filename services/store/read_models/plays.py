"""The table `plays`, and the fold of a shard's messages to the rows of plays and layers."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from libs.common import codec, subjects
from libs.common.codec import encode
from libs.common.messages import play as m
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import audit, carried, checkpoints, layers
from services.store.read_models.audit import AuditRow
from services.store.read_models.checkpoints import Move
from services.store.read_models.layers import LayerRow
from services.store.read_models.text import storable

NOTHING = "null"  # JSON's: replaces what the table has
COLUMNS = """id text, company_id text, flow_id text, shard integer, state text, created_at timestamptz,
    started_at timestamptz, completed_at timestamptz, failed_at timestamptz, args text, out text, error text,
    error_code text, failed_ref text, flow_version integer, trigger text, parent_play_id text, schedule_id text,
    hold text, replay_of text, retries integer,
    changed_at timestamptz, first_sequence bigint, sequence bigint"""
# One statement is one transaction and one round trip: with small batches those are what a play costs most. The rows
# travel as JSON: encoding arrays for `unnest` costs the store three times what parsing costs Postgres more.
PROJECT = f"""
    with moved as ({checkpoints.MOVE}),
    written_layers as ({layers.upsert(5)}),
    written_audit as ({audit.insert(6, "exists (select from moved)")}),
    written_plays as (
        insert into plays as t (id, company_id, flow_id, shard, state, created_at, started_at, completed_at,
            failed_at, args, out, error, error_code, failed_ref, flow_version, trigger, parent_play_id, schedule_id,
            hold, replay_of, retries, changed_at, first_sequence, sequence)
        select id, company_id, flow_id, shard, state, created_at, started_at, completed_at,
            failed_at, args::json, out::json, error, error_code, failed_ref, flow_version, trigger, parent_play_id,
            schedule_id, hold::json, replay_of, coalesce(retries, 0), changed_at, first_sequence, sequence
        from json_to_recordset($4::json) as row ({COLUMNS})
        where exists (select from moved)
        on conflict (id) do update set
            state = case when excluded.state = 'NEW' then t.state else excluded.state end,
            started_at = coalesce(t.started_at, excluded.started_at),
            completed_at = case when excluded.retries > t.retries then excluded.completed_at
                else coalesce(excluded.completed_at, t.completed_at) end,
            failed_at = case when excluded.retries > t.retries then excluded.failed_at
                else coalesce(excluded.failed_at, t.failed_at) end,
            args = coalesce(t.args, excluded.args),
            out = case when excluded.retries > t.retries then excluded.out
                else coalesce(excluded.out, t.out) end,
            error = case when excluded.retries > t.retries then excluded.error
                else coalesce(excluded.error, t.error) end,
            error_code = case when excluded.retries > t.retries then excluded.error_code
                else coalesce(excluded.error_code, t.error_code) end,
            failed_ref = case when excluded.retries > t.retries then excluded.failed_ref
                else coalesce(excluded.failed_ref, t.failed_ref) end,
            flow_version = coalesce(t.flow_version, excluded.flow_version),
            trigger = coalesce(t.trigger, excluded.trigger),
            parent_play_id = coalesce(t.parent_play_id, excluded.parent_play_id),
            schedule_id = coalesce(t.schedule_id, excluded.schedule_id),
            hold = case when excluded.completed_at is null then coalesce(excluded.hold, t.hold)
                else excluded.hold end,
            replay_of = coalesce(t.replay_of, excluded.replay_of),
            retries = greatest(t.retries, excluded.retries),
            changed_at = greatest(t.changed_at, excluded.changed_at),
            sequence = excluded.sequence
    )
    select count(*) from moved
"""  # noqa: S608 - names and numbers of ours


class PlayRow(msgspec.Struct, omit_defaults=True):
    """What the messages of a batch say about one play; None where they say nothing. `args`, `out`, `hold` are JSON.

    With more `retries` than the table has, what the row says of an end replaces what the table says. A play that has
    ended is not on hold, whatever the table says.
    """

    id: str
    company_id: str
    flow_id: str
    shard: int
    state: str
    created_at: datetime
    changed_at: datetime
    first_sequence: int
    sequence: int
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    args: str | None = None
    out: str | None = None
    error: str | None = None
    error_code: str | None = None
    failed_ref: str | None = None
    flow_version: int | None = None
    trigger: str | None = None
    parent_play_id: str | None = None
    schedule_id: str | None = None
    hold: str | None = None
    replay_of: str | None = None
    retries: int | None = None


# The items of a loop that begins anew: the loop may have fewer now, and all of them begin from nothing.
FORGET_ITEMS = """
    delete from layers using json_to_recordset($1::json) as anew (play_id text, ref text)
    where (layers.play_id, layers.ref) = (anew.play_id, anew.ref) and layers.iteration <> '{}'
"""
# A step that was skipped with its loop as a whole, and runs in its items after a retry, stands there for these alone.
FORGET_WHOLE = """
    delete from layers using json_to_recordset($1::json) as looped (play_id text, ref text)
    where (layers.play_id, layers.ref) = (looped.play_id, looped.ref) and layers.iteration = '{}'
"""
# Its items that are not listed are none of the loop that runs now.
FORGET_UNLISTED = """
    update plays set unlisted = (unlisted::jsonb - anew.refs)::json from (
        select play_id, array_agg(ref) as refs from json_to_recordset($1::json) as anew (play_id text, ref text)
        group by play_id
    ) as anew
    where plays.id = anew.play_id and unlisted is not null
"""
# What has ended in loops, as a snapshot counts it, and has no row.
COUNT_UNLISTED = """
    with told as (
        select * from json_to_recordset($1::json) as told (play_id text, ref text, state text, ended integer)
    ),
    listed as (
        select play_id, ref, state, count(*) as runs from layers
        where play_id = any ($2) and iteration <> '{}' group by play_id, ref, state
    ),
    missing as (
        select play_id, ref, json_object_agg(state, ended - coalesce(runs, 0)) as states
        from told left join listed using (play_id, ref, state)
        where ended > coalesce(runs, 0) group by play_id, ref
    )
    update plays set unlisted = (select json_object_agg(ref, states) from missing where play_id = plays.id)
    where id = any ($2)
"""


class PlayFold:
    """One play of a batch: its row, the rows of its steps.

    `anew` are the steps that a retry began anew, `looped` those that came to an item of their loop. Of a play whose
    beginning is not in the batch `told` is how many runs had ended in loops at its snapshot, by ref and state, and
    `known` are the runs that had ended by then and have a row in the batch.
    """

    __slots__ = ("anew", "known", "layers", "looped", "row", "told")

    def __init__(self, row: PlayRow) -> None:
        self.row = row
        self.anew: set[str] = set()
        self.looped: set[str] = set()
        self.layers: dict[tuple[str, tuple[int, ...]], LayerRow] = {}
        self.told: Counter[tuple[str, str]] | None = None
        self.known: set[tuple[str, tuple[int, ...]]] = set()

    def ended_in_loops(self) -> set[tuple[str, tuple[int, ...]]]:
        """Return the runs in items of loops that have ended and have a row in the batch."""
        return {name for name, row in self.layers.items() if name[1] and row.state in m.TERMINAL}


class PlaysBatch:
    """The start commands and commits of one batch of a shard."""

    def __init__(self) -> None:
        self._plays: dict[str, PlayFold] = {}
        self._audit: list[AuditRow] = []
        self.ended: list[str] = []  # the traceparents of the commits that ended a play

    def add(self, record: Record) -> None:
        """Fold in a command or a commit. Raises msgspec.DecodeError or ValueError when it cannot be read.

        Of a commit with events that only a newer release knows the others are folded in: then it raises UnknownType.
        """
        key, last = subjects.parse_play(record.subject)
        if record.subject.startswith("cmd."):
            self._add_command(key, record)
            return
        commit, newer = codec.known_part(record.data, sequence=record.sequence)
        if not _KNOWN.issuperset(map(type, commit.events)):
            raise ValueError("a commit of a play holds events of something else")
        play = self._play(key, commit.time, record.sequence)
        play.row.state = last
        for event in commit.events:
            _FOLDS[type(event)](play, event)
        if last in m.TERMINAL and commit.traceparent:
            self.ended.append(commit.traceparent)
        if newer:
            raise codec.UnknownType(newer[0])

    def _add_command(self, key: subjects.PlayKey, record: Record) -> None:
        envelope = codec.decode_message(record.data)
        command = envelope.data
        if type(command) not in audit.DEEDS:
            raise ValueError(f"{type(command).__name__} is nobody's command")
        stream = subjects.plays_stream(key.shard)
        row = audit.deed_of(envelope, play_id=key.play_id, stream=stream, sequence=record.sequence)
        if isinstance(command, m.StartPlay):
            _requested(self._play(key, command.at, record.sequence), command, command.at)
        if row is not None:
            self._audit.append(row)

    def fold(self, play_id: str) -> PlayFold | None:
        """Return what was folded in of one play, None when nothing was."""
        return self._plays.get(play_id)

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write plays, layers and deeds and move the checkpoint: in one statement, which is one round trip.

        Loops that begin, or begin anew, take others before it, and snapshots one after it.
        """
        plays = self._plays.values()
        anew = [{"play_id": play.row.id, "ref": ref} for play in plays for ref in play.anew]
        looped = [{"play_id": play.row.id, "ref": ref} for play in plays for ref in play.looped]
        carried = [play for play in plays if play.told is not None]
        if not (anew or looped or carried):
            return await self._project(connection, move)
        async with connection.transaction():
            if not await checkpoints.hold(connection, move):
                return False
            forgotten = ((FORGET_ITEMS, anew), (FORGET_UNLISTED, anew), (FORGET_WHOLE, looped))
            for statement, steps in forgotten:
                if steps:
                    await connection.execute(statement, encode(steps).decode())
            written = await self._project(connection, move)
            if carried:
                told = [each for play in carried for each in _told(play)]
                await connection.execute(COUNT_UNLISTED, encode(told).decode(), [p.row.id for p in carried])
            return written

    async def _project(self, connection: Connection, move: Move) -> bool:
        plays = encode([play.row for play in self._plays.values()]).decode()
        steps = encode([step for play in self._plays.values() for step in play.layers.values()]).decode()
        deeds = encode(self._audit).decode()
        return bool(await connection.fetchval(PROJECT, *move, plays, steps, deeds))

    def _play(self, key: subjects.PlayKey, at: datetime, sequence: int) -> PlayFold:
        play = self._plays.get(key.play_id)
        if play is None:
            row = PlayRow(
                key.play_id, key.company_id, key.flow_id, key.shard, "NEW", at, at, sequence, sequence
            )
            play = self._plays[key.play_id] = PlayFold(row)
            return play
        play.row.changed_at = max(play.row.changed_at, at)
        play.row.sequence = sequence
        return play


def _told(play: PlayFold) -> Iterator[dict[str, Any]]:
    """Return how many runs of each step and state have ended in loops by the end of the batch."""
    ended = Counter(play.told)
    ended.update((ref, play.layers[ref, item].state) for ref, item in play.ended_in_loops() - play.known)
    for (ref, state), count in ended.items():
        yield {"play_id": play.row.id, "ref": ref, "state": state, "ended": count}


def _requested(play: PlayFold, event: m.StartPlay | m.PlayStarted, at: datetime) -> None:
    row = play.row
    if row.args is not None:
        return
    row.created_at = at
    row.args = encode(event.args).decode()
    row.flow_version = event.flow_version
    row.trigger = event.trigger
    row.parent_play_id = event.parent_play_id or None
    row.schedule_id = event.schedule_id or None
    row.replay_of = event.replay.play_id if event.replay is not None else None


def _started(play: PlayFold, event: m.PlayStarted) -> None:
    _requested(play, event, event.requested_at or event.at)
    play.row.started_at = play.row.started_at or event.at


def _resumed(play: PlayFold, event: m.PlayResumed) -> None:
    if event.reason == "released":
        # It was cancelled in line, perhaps, and retried: then this is when it starts.
        play.row.started_at = play.row.started_at or event.at


def _deferred(play: PlayFold, event: m.PlayDeferred) -> None:
    start = event.start if event.payloads else msgspec.structs.replace(event.start, args=event.args)
    _requested(play, start, start.at)


def _completed(play: PlayFold, event: m.PlayCompleted) -> None:
    play.row.completed_at, play.row.hold = event.at, None
    play.row.out = None if event.out is None else encode(event.out).decode()


def _failed(play: PlayFold, event: m.PlayFailed) -> None:
    row = play.row
    row.completed_at = row.failed_at = event.at
    row.hold = None
    row.error = storable(event.error)
    row.error_code = event.error_code
    row.failed_ref = event.ref


def _hold_requested(play: PlayFold, event: m.HoldRequested) -> None:
    play.row.hold = encode(m.Hold(event.at, event.by, event.note)).decode()


def _hold_lifted(play: PlayFold, _event: m.HoldLifted) -> None:
    play.row.hold = NOTHING


def _retried(play: PlayFold, event: m.PlayRetried | m.RetryDeferred) -> None:
    row = play.row
    row.retries, row.hold = event.number, NOTHING
    row.completed_at = row.failed_at = row.out = row.error = row.error_code = row.failed_ref = None
    if isinstance(event, m.PlayRetried):
        row.started_at = row.started_at or event.at
    for key in [key for key in play.layers if key[1] and key[0] in event.refs]:
        del play.layers[key]
    play.anew.update(event.refs)
    if play.told is not None:
        play.told = Counter({name: count for name, count in play.told.items() if name[0] not in event.refs})
        play.known = {name for name in play.known if name[0] not in event.refs}
    for ref in event.refs:
        before = play.layers.get((ref, ()))
        play.layers[ref, ()] = layers.again(row.id, ref, event.number, before)


def _carried(play: PlayFold, event: m.PlaySnapshot) -> None:
    """Fold in the whole of a play: of what the log has forgotten nobody else tells."""
    seen = carried.seen_play(event)
    if seen is None:
        return
    is_all_there_is = play.row.args is None
    if event.started is not None:
        _started(play, msgspec.structs.replace(event.started, args=seen.args))
    elif seen.start is not None:
        _requested(play, msgspec.structs.replace(seen.start, args=seen.args), seen.start.at)
    play.row.hold = NOTHING if seen.hold is None else encode(seen.hold).decode()
    play.row.retries = seen.retries or None
    carried.fold_steps(play.layers, play.row.id, seen)
    if is_all_there_is:
        play.told, play.known = carried.ended_in_loops(seen), play.ended_in_loops()


def _nothing(_play: PlayFold, _event: Any) -> None:
    """Shows in no column: the state is in the commit's subject, an item in the rows of its steps."""


def _of_layer(fold: Callable[[LayerRow, Any], None]) -> Callable[[PlayFold, Any], None]:
    def folded(play: PlayFold, event: m.LayerEvent) -> None:
        key = event.ref, event.iteration
        layer = play.layers.get(key)
        if layer is None:
            if event.iteration and not any(event.iteration):
                # Every step of a loop comes to its first item.
                play.looped.add(event.ref)
                play.layers.pop((event.ref, ()), None)
            layer = LayerRow(play.row.id, event.ref, event.layer_id, event.order, "NEW", 0)
            layer.iteration = event.iteration
            play.layers[key] = layer
        layer.layer_id, layer.order = event.layer_id, event.order
        fold(layer, event)

    return folded


_FOLDS: dict[type, Callable[[PlayFold, Any], None]] = {
    m.PlayStarted: _started,
    m.PlayResumed: _resumed,
    m.PlayDeferred: _deferred,
    m.PlayWaiting: _nothing,
    m.ChildReturned: _nothing,
    m.CancelRequested: _nothing,
    m.PlaySnapshot: _carried,
    m.HoldRequested: _hold_requested,
    m.PlayHeld: _nothing,
    m.HoldLifted: _hold_lifted,
    m.PlayRetried: _retried,
    m.RetryDeferred: _retried,
    m.PlayCompleted: _completed,
    m.PlayFailed: _failed,
    m.ApprovalDecided: _of_layer(layers.approval_decided),
    m.ApprovalVoted: _of_layer(layers.approval_pending),
    m.ApprovalEscalated: _of_layer(layers.approval_pending),
    m.ApprovalReminded: _of_layer(layers.approval_pending),
    m.LayerStarted: _of_layer(layers.started),
    m.LayerWaiting: _of_layer(layers.waiting),
    m.LayerRetrying: _of_layer(layers.retrying),
    m.LayerCompleted: _of_layer(layers.completed),
    m.LayerFailed: _of_layer(layers.failed),
    m.LayerIterating: _of_layer(layers.iterating),
    m.ItemEnded: _nothing,
    m.LayerCollected: _nothing,
}
_KNOWN = frozenset(_FOLDS)
