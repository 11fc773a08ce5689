"""Answers questions from the read models: each within one company, each after what the asker knows (design D11)."""

from typing import Any, cast

import msgspec
from msgspec import UNSET

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.errors import NotFound
from libs.common.ids import derived_id, is_id
from libs.common.messages.play import Hold, run_name, shown_iteration
from libs.common.messages.query import (
    GetFlow,
    GetPlay,
    ListFlows,
    ListPlayLayers,
    ListPlays,
    ListStalePlays,
    Page,
    Query,
    Rows,
    StalePlay,
)
from libs.common.messages.views import PlayLayerView, PlayView
from services.store.database import Database, Row
from services.store.domain.names import is_permanent_id
from services.store.page_values import LIST, STEP, page_of
from services.store.progress import Progress

AFTER_WAIT_S_MAX = 1.0
PAGE_SIZE_MAX = 1_000
PAGE_NUMBER_MAX = 10_000_000
STALE_PLAYS_MAX = 10_000
_PLAY_BARE = """
    id, flow_id, state, created_at, started_at, completed_at, failed_at, error, error_code, failed_ref,
    flow_version, trigger, parent_play_id, schedule_id, hold, replay_of, retries
"""
_PLAY_COLUMNS = f"{_PLAY_BARE}, args, out, false as args_truncated, false as out_truncated"
_LAYER_BARE = (
    "ref, layer_id, state, started_at, completed_at, error, error_code, attempts, approval, reused, iteration"
)


class Queries:
    """Answers `qry.flow` and `qry.play`."""

    def __init__(self, bus: Bus, database: Database, progress: Progress, *, shards: int) -> None:
        self._bus = bus
        self._database = database
        self._progress = progress
        self._shards = shards

    # ── flows ───────────────────────────────────────────────────────────────────────────────────────

    async def list_flows(self, query: ListFlows) -> Rows:
        """Return a page of a company's flows, oldest first, without their layers."""
        await self._caught_up(query)
        where = """
            from flows where company_id = $1 and not deleted
                and ($2::text is null or category = $2)
                and ($3::boolean is null or enabled = $3)
                and ($4::text is null or group_id = $4)
        """
        args = (query.company_id, _text(query.category), query.enabled, _text(query.group_id))
        limit, offset = _page(query.page)
        sql = f"select summary {where} order by created_at, id limit $5 offset $6"
        rows = await self._database.rows(sql, *args, limit, offset)
        total = await self._count(f"select count(*) {where}", args, rows, query.page)
        return Rows([_raw(row["summary"]) for row in rows], total)

    async def get_flow(self, query: GetFlow) -> dict[str, Any]:
        """Return one flow with its layers, by id or permanentId. Raises NotFound (FLOW_NOT_FOUND)."""
        await self._caught_up(query)
        by = "id" if is_id(query.flow_id) else "permanent_id"
        row = None
        if by == "id" or is_permanent_id(query.flow_id):
            row = await self._database.row(
                f"select summary, layers from flows where company_id = $1 and {by} = $2 and not deleted",  # noqa: S608
                query.company_id,
                query.flow_id,
            )
        if row is None:
            raise NotFound(f"there is no flow {query.flow_id[:80]}", code="FLOW_NOT_FOUND")
        shown: dict[str, Any] = msgspec.json.decode(row["summary"], type=dict[str, msgspec.Raw])
        return shown | {"layers": _raw(row["layers"])}

    # ── plays ───────────────────────────────────────────────────────────────────────────────────────

    async def list_plays(self, query: ListPlays) -> Rows:
        """Return a page of a company's plays, newest first, without values that are too big for it."""
        await self._caught_up(query)
        args: list[Any] = [query.company_id]
        where = "from plays where company_id = $1"
        # Only what is asked for stands in the statement, so that the index that fits is found.
        for condition, value in (
            ("flow_id = ", await self._flow_id(query)),
            ("schedule_id = ", _text(query.schedule_id)),
            ("state = ", _text(query.state)),
            ("created_at >= ", query.from_at),
            ("created_at < ", query.to_at),
        ):
            if value is not None:
                args.append(value)
                where += f" and {condition}${len(args)}"
        limit, offset = _page(query.page)
        page = f"select {_PLAY_BARE}, args, out {where} order by created_at desc, id desc limit {limit} offset {offset}"
        rows = await self._database.rows(page_of(page, _PLAY_BARE, "args", "out", room=LIST), *args)
        total = await self._count(f"select count(*) {where}", args, rows, query.page)
        return Rows([_play(row) for row in rows], total)

    async def get_play(self, query: GetPlay) -> PlayView:
        """Return one play. Raises NotFound (PLAY_NOT_FOUND), once the log knows no such play either."""
        await self._caught_up(query)
        return _play(await self._play_row(query.company_id, query.play_id, _PLAY_COLUMNS))

    async def list_play_layers(self, query: ListPlayLayers) -> Rows:
        """Return a page of the recorded steps of a play in their order, without values that are too big for it.

        Raises NotFound (PLAY_NOT_FOUND).
        """
        await self._caught_up(query)
        await self._play_row(query.company_id, query.play_id, "id")
        where = "from layers where play_id = $1 and ($2::text is null or ref = $2)"
        args = (query.play_id, _text(query.ref))
        limit, offset = _page(query.page)
        page = f"""select {_LAYER_BARE}, out {where} order by "order", ref, iteration limit {limit} offset {offset}"""
        room = LIST if query.ref is None else STEP
        rows = await self._database.rows(page_of(page, _LAYER_BARE, "out", room=room), *args)
        total = await self._count(f"select count(*) {where}", args, rows, query.page)
        return Rows([_layer(query.play_id, row) for row in rows], total)

    async def list_stale_plays(self, query: ListStalePlays) -> list[StalePlay]:
        """Return plays of all companies in RUN, or parked, without a commit since a time, the longest silent first."""
        if query.in_line:
            return await self._first_in_line(query)
        # The words of the partial indexes, so that they are found.
        where = "state in ('WAIT', 'ON_HOLD', 'DEFERRED')" if query.parked else "state = 'RUN'"
        rows = await self._database.rows(
            f"select company_id, flow_id, id from plays where {where} and changed_at < $1 order by changed_at limit $2",  # noqa: S608
            query.before,
            max(0, min(query.limit, STALE_PLAYS_MAX)),
        )
        return [StalePlay(company_id=r["company_id"], flow_id=r["flow_id"], play_id=r["id"]) for r in rows]

    async def _first_in_line(self, query: ListStalePlays) -> list[StalePlay]:
        rows = await self._database.rows(
            """
            select distinct on (company_id, flow_id) company_id, flow_id, id from plays
            where state = 'DEFERRED' and changed_at < $1 order by company_id, flow_id, created_at, id limit $2
            """,
            query.before,
            max(0, min(query.limit, STALE_PLAYS_MAX)),
        )
        return [StalePlay(company_id=r["company_id"], flow_id=r["flow_id"], play_id=r["id"]) for r in rows]

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    async def _caught_up(self, query: Query) -> None:
        for stream, sequence in query.after.items():
            await self._progress.reached(stream, sequence, timeout_s=AFTER_WAIT_S_MAX)

    async def _count(self, sql: str, args: Any, rows: list[Row], page: Page) -> int:
        # A first page that is not full is the whole list.
        if page.page == 0 and len(rows) < _page(page)[0]:
            return len(rows)
        counted = await self._database.row(sql, *args)
        return 0 if counted is None else int(counted["count"])

    async def _flow_id(self, query: ListPlays) -> str | None:
        asked = _text(query.flow_id)
        if asked is None or is_id(asked):
            return asked
        row = await self._database.row(
            "select id from flows where company_id = $1 and permanent_id = $2", query.company_id, asked
        )
        return asked if row is None else str(row["id"])

    async def _play_row(self, company_id: str, play_id: str, columns: str) -> Row:
        sql = f"select {columns} from plays where id = $2 and company_id = $1"  # noqa: S608 - names of ours
        row = await self._database.row(sql, company_id, play_id) if is_id(play_id) else None
        if row is None and is_id(play_id) and await self._in_log(company_id, play_id):
            row = await self._database.row(sql, company_id, play_id)
        if row is None:
            raise NotFound(f"there is no play {play_id[:80]}", code="PLAY_NOT_FOUND")
        return row

    async def _in_log(self, company_id: str, play_id: str) -> bool:
        """Tell whether the log knows this play, once that is projected (or the time for waiting is over)."""
        shard = subjects.shard_of(play_id, self._shards)
        stream = subjects.plays_stream(shard)
        start = await self._bus.last(stream, f"cmd.play.{shard}.{company_id}.*.{play_id}.start", leader=True)
        if start is None:
            return False
        return await self._progress.reached(stream, start.sequence, timeout_s=AFTER_WAIT_S_MAX)


def _page(page: Page) -> tuple[int, int]:
    size = max(1, min(page.size, PAGE_SIZE_MAX))
    return size, max(0, min(page.page, PAGE_NUMBER_MAX)) * size


def _text(value: str | None) -> str | None:
    # No text in the tables holds U+0000, and Postgres takes none as a parameter.
    return None if value is None else value.replace("\0", "\ufffd")


def _raw(json: str | None) -> Any:
    return None if json is None else msgspec.Raw(json.encode())


def _duration_ms(row: Row) -> int | None:
    started, completed = row["started_at"], row["completed_at"]
    if completed is None:
        return None
    return 0 if started is None else max(0, round((completed - started).total_seconds() * 1_000))


def _play(row: Row) -> PlayView:
    return PlayView(
        id=row["id"],
        flow_id=row["flow_id"],
        state=row["state"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        failed_at=row["failed_at"],
        duration=_duration_ms(row),
        args=cast("dict[str, Any]", _raw(row["args"] or "{}")),
        out=_raw(row["out"]),
        args_truncated=row["args_truncated"] or UNSET,
        out_truncated=row["out_truncated"] or UNSET,
        error=row["error"],
        error_code=row["error_code"],
        failed_ref=row["failed_ref"],
        flow_version=row["flow_version"] or 1,
        trigger=row["trigger"] or "api",
        parent_play_id=row["parent_play_id"],
        schedule_id=row["schedule_id"],
        hold=cast("Hold | None", _raw(row["hold"])),
        replay_of=row["replay_of"],
        retries=row["retries"],
    )


def _layer(play_id: str, row: Row) -> PlayLayerView:
    return PlayLayerView(
        id=derived_id(play_id, run_name(row["ref"], tuple(row["iteration"]))),
        layer_id=row["layer_id"],
        ref=row["ref"],
        state=row["state"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        duration=_duration_ms(row),
        out=_raw(row["out"]),
        out_truncated=row["out_truncated"] or UNSET,
        error=row["error"],
        error_code=row["error_code"],
        attempts=row["attempts"],
        approval=cast("dict[str, Any] | None", _raw(row["approval"])),
        iteration=shown_iteration(row["iteration"]),
        reused=row["reused"],
    )
