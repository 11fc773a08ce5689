"""Answers questions from the read models: each within one company, each after what the asker knows (design D11)."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType

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
    Reply,
    Rows,
    StalePlay,
)
from libs.common.messages.views import PlayLayerView, PlayView
from services.store.database import Database, Row
from services.store.domain.names import is_permanent_id
from services.store.late_plays import LatePlay, LatePlays
from services.store.listing import AFTER_WAIT_S_MAX, Listing, Where, bounds
from services.store.page_values import LIST, STEP, page_of, shortened
from services.store.progress import Progress

STALE_PLAYS_MAX = 10_000
# A row, or what stands in for one.
Columns: TypeAlias = Row | Mapping[str, Any]
_PLAY_BARE = """
    id, flow_id, state, created_at, started_at, completed_at, failed_at, error, error_code, failed_ref,
    flow_version, trigger, parent_play_id, schedule_id, hold, replay_of, retries, unlisted
"""
_PLAY_COLUMNS = f"{_PLAY_BARE}, sequence, args, out"
_LAYER_BARE = (
    "ref, layer_id, state, started_at, completed_at, error, error_code, attempts, approval, reused, iteration"
)
_FIRST_IN_LINE = """
    select distinct on (company_id, flow_id) company_id, flow_id, id from plays
    where state = 'DEFERRED' and changed_at < $1 order by company_id, flow_id, created_at, id limit $2
"""


class Queries:
    """Answers `qry.flow` and `qry.play`."""

    def __init__(
        self, database: Database, progress: Progress, listing: Listing, late_plays: LatePlays
    ) -> None:
        self._database = database
        self._progress = progress
        self._listing = listing
        self._late_plays = late_plays

    # ── flows ───────────────────────────────────────────────────────────────────────────────────────

    async def list_flows(self, query: ListFlows) -> Rows:
        """Return a page of a company's flows, oldest first, without their layers."""
        await self._listing.caught_up(query)
        where = (
            Where(query.company_id)
            .add("deleted = ", value=False)
            .add("category = ", query.category)
            .add("enabled = ", query.enabled)
            .add("group_id = ", query.group_id)
        )
        rows, total = await self._listing.page("summary", "flows", where, "created_at, id", query.page)
        return Rows([_raw(row["summary"]) for row in rows], total)

    async def get_flow(self, query: GetFlow) -> dict[str, Any]:
        """Return one flow with its layers, by id or permanentId. Raises NotFound (FLOW_NOT_FOUND)."""
        await self._listing.caught_up(query)
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
        await self._listing.caught_up(query)
        where = (
            Where(query.company_id)
            .add("flow_id = ", await self._flow_id(query))
            .add("schedule_id = ", query.schedule_id)
            .add("state = ", query.state)
            .add("created_at >= ", query.from_at)
            .add("created_at < ", query.to_at)
        )
        rows, total = await self._listing.page(
            f"{_PLAY_BARE}, args, out",
            "plays",
            where,
            "created_at desc, id desc",
            query.page,
            around=lambda page: page_of(page, _PLAY_BARE, "args", "out", room=LIST),
        )
        return Rows([_play(row) for row in rows], total)

    async def get_play(self, query: GetPlay) -> PlayView | Reply:
        """Return one play, from the log when the projection is late with it.

        Raises NotFound (PLAY_NOT_FOUND) when the log knows no such play either, and as `LatePlays.read`.
        """
        row, late = await self._one_play(query, _PLAY_COLUMNS)
        return _play(row) if late is None else late.reply(_play(late.play))

    async def list_play_layers(self, query: ListPlayLayers) -> Rows | Reply:
        """Return a page of the recorded steps of a play in their order, without values that are too big for it.

        Raises as `get_play`.
        """
        _, late = await self._one_play(query, "id, sequence")
        room = LIST if query.ref is None else STEP
        if late is not None:
            steps = [step for step in late.layers if query.ref in (None, step["ref"])]
            size, offset = bounds(query.page)
            page = shortened(steps[offset : offset + size], "out", room=room)
            return late.reply(Rows([_layer(query.play_id, step) for step in page], len(steps)))
        rows, total = await self._listing.page(
            f"{_LAYER_BARE}, out",
            "layers",
            Where(query.play_id, column="play_id").add("ref = ", query.ref),
            '"order", ref, iteration',
            query.page,
            around=lambda page: page_of(page, _LAYER_BARE, "out", room=room),
        )
        return Rows([_layer(query.play_id, row) for row in rows], total)

    async def list_stale_plays(self, query: ListStalePlays) -> list[StalePlay]:
        """Return plays of all companies in RUN, or parked, without a commit since a time, the longest silent first.

        With `in_line` the first of each flow's that waits in line for so long.
        """
        # The words of the partial indexes, so that they are found.
        where = "state in ('WAIT', 'ON_HOLD', 'DEFERRED')" if query.parked else "state = 'RUN'"
        silent = f"""
            select company_id, flow_id, id from plays where {where} and changed_at < $1 order by changed_at limit $2
        """  # noqa: S608 - words of ours
        limit = max(0, min(query.limit, STALE_PLAYS_MAX))
        rows = await self._database.rows(_FIRST_IN_LINE if query.in_line else silent, query.before, limit)
        return [StalePlay(company_id=r["company_id"], flow_id=r["flow_id"], play_id=r["id"]) for r in rows]

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    async def _flow_id(self, query: ListPlays) -> str | None:
        asked = query.flow_id
        if asked is None or not is_permanent_id(asked):
            return asked
        row = await self._database.row(
            "select id from flows where company_id = $1 and permanent_id = $2", query.company_id, asked
        )
        return asked if row is None else str(row["id"])

    async def _one_play(
        self, query: GetPlay | ListPlayLayers, columns: str
    ) -> tuple[Columns, LatePlay | None]:
        """Return the row of a play, and the play itself when the log knows more of it than the row."""
        company_id, play_id = query.company_id, query.play_id
        in_time = await self._listing.caught_up(query, within_s=AFTER_WAIT_S_MAX)
        row = await self._play_row(company_id, play_id, columns)
        if row is None and in_time and is_id(play_id):
            in_time = await self._start_projected(company_id, play_id)
            row = await self._play_row(company_id, play_id, columns)
        if row is not None and in_time:
            return row, None
        known = None if row is None else int(row["sequence"])
        late = await self._late_plays.read(company_id, play_id, known=known) if is_id(play_id) else None
        if late is not None:
            return late.play, late
        if row is None:
            raise NotFound(f"there is no play {play_id[:80]}", code="PLAY_NOT_FOUND")
        return row, None

    async def _play_row(self, company_id: str, play_id: str, columns: str) -> Row | None:
        sql = f"select {columns} from plays where id = $2 and company_id = $1"  # noqa: S608 - names of ours
        return await self._database.row(sql, company_id, play_id) if is_id(play_id) else None

    async def _start_projected(self, company_id: str, play_id: str) -> bool:
        """Wait until a play's start command is projected; tell whether it was in time, as is one that is not there."""
        start = await self._late_plays.start(company_id, play_id)
        if start is None:
            return True
        stream, command = start
        return await self._progress.reached(stream, command.sequence, timeout_s=AFTER_WAIT_S_MAX)


def _raw(json: str | None) -> Any:
    return None if json is None else msgspec.Raw(json.encode())


def _duration_ms(row: Columns) -> int | None:
    started, completed = row["started_at"], row["completed_at"]
    if completed is None:
        return None
    return 0 if started is None else max(0, round((completed - started).total_seconds() * 1_000))


def _play(row: Columns) -> PlayView:
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
        args_truncated=row.get("args_truncated") or UNSET,
        out_truncated=row.get("out_truncated") or UNSET,
        error=row["error"],
        error_code=row["error_code"],
        failed_ref=row["failed_ref"],
        flow_version=row["flow_version"] or 1,
        trigger=row["trigger"] or "api",
        parent_play_id=row["parent_play_id"],
        schedule_id=row["schedule_id"],
        hold=cast("Hold | None", _raw(row["hold"])),
        replay_of=row["replay_of"],
        retries=row["retries"] or 0,
        # A play that is read from the log has all of its rows.
        unlisted=_unlisted(row.get("unlisted")),
    )


def _unlisted(json: str | None) -> dict[str, dict[str, int]] | UnsetType:
    return UNSET if json in (None, "{}") else cast("dict[str, dict[str, int]]", _raw(json))


def _layer(play_id: str, row: Columns) -> PlayLayerView:
    return PlayLayerView(
        id=derived_id(play_id, run_name(row["ref"], tuple(row["iteration"]))),
        layer_id=row["layer_id"],
        ref=row["ref"],
        state=row["state"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        duration=_duration_ms(row),
        out=_raw(row["out"]),
        out_truncated=row.get("out_truncated") or UNSET,
        error=row["error"],
        error_code=row["error_code"],
        attempts=row["attempts"],
        approval=cast("dict[str, Any] | None", _raw(row["approval"])),
        iteration=shown_iteration(row["iteration"]),
        reused=row["reused"],
    )
