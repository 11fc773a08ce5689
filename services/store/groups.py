"""Groups of flows; one that is deleted lets its flows go and takes its KV entries with it (spec flow8 section 5.3)."""

import msgspec

from libs.common import codec, subjects
from libs.common.ids import derived_id, is_id
from libs.common.messages.flow import FlowFields, UpdateFlow
from libs.common.messages.group import (
    AnyGroupCommand,
    CreateGroup,
    DeleteGroup,
    GetGroup,
    Group,
    GroupEvent,
    GroupView,
    ListGroups,
    UpdateGroup,
)
from libs.common.messages.query import Reply, Rows
from services.store.database import Database
from services.store.domain import group as rules
from services.store.flows import Flows
from services.store.kv import Kv
from services.store.ledger import Decided, Ledger, Stand, check_command
from services.store.listing import Listing, Where

_COLUMNS = "id, company_id, name, index, created_at, updated_at"


class Groups:
    """Answers `cmd.group` and `qry.group`."""

    def __init__(self, ledger: Ledger, listing: Listing, database: Database, flows: Flows, kv: Kv) -> None:
        self._ledger = ledger
        self._listing = listing
        self._database = database
        self._flows = flows
        self._kv = kv

    async def handle(self, command: CreateGroup | UpdateGroup) -> Reply:
        """Make or change a group. Raises Invalid naming the field, NotFound (GROUP_NOT_FOUND)."""
        everybody = subjects.definition("group", command.company_id, "*")

        async def rule(known: Stand | None) -> Decided:
            if isinstance(command, UpdateGroup):
                return Decided(rules.updated(command, _group(known)))
            groups = [group for stand in await self._ledger.all(everybody) if (group := _group(stand))]
            return Decided(rules.created(command, _group(known), groups))

        done = await self._ledger.commit(command, self._subject(command), rule)
        return _reply(done)

    async def delete(self, command: DeleteGroup) -> Reply:
        """Delete a group. Raises NotFound (GROUP_NOT_FOUND).

        Its flows and entries are dealt with before, so that a crash in between leaves a group that can be deleted
        again, and once more after, for a flow may have joined meanwhile.
        """
        subject = self._subject(command)
        known = await self._ledger.last(subject)
        if known is None or known.event_id != command.id:
            rules.found(_group(known), command.group_id)
            await self._empty(command)

        async def rule(known: Stand | None) -> Decided:
            return Decided(rules.deleted(command, _group(known)))

        done = await self._ledger.commit(command, subject, rule)
        await self._empty(command)
        return _reply(done)

    async def page(self, query: ListGroups) -> Rows:
        """Return a page of groups, by index."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("deleted = ", value=False)
        rows, total = await self._listing.page(_COLUMNS, "groups", where, "index, created_at, id", query.page)
        return Rows([GroupView(**row) for row in rows], total)

    async def get(self, query: GetGroup) -> GroupView:
        """Return one group. Raises NotFound (GROUP_NOT_FOUND)."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("id = ", query.group_id).add("deleted = ", value=False)
        row = await self._listing.row(_COLUMNS, "groups", where)
        if row is None:
            rules.found(None, query.group_id)
        assert row is not None
        return GroupView(**row)

    async def _empty(self, command: DeleteGroup) -> None:
        rows = await self._database.rows(
            "select id from flows where company_id = $1 and group_id = $2 and not deleted",
            command.company_id,
            command.group_id,
        )
        for row in rows:
            leave = UpdateFlow(
                id=derived_id(command.id, row["id"]),
                at=command.at,
                company_id=command.company_id,
                by=command.by,
                origin=command.origin,
                flow_id=row["id"],
                fields=FlowFields(group_id=None),
            )
            await self._flows.handle(leave)
        await self._kv.drop_scope(command, "flow_group", command.group_id)

    def _subject(self, command: AnyGroupCommand) -> str:
        check_command(command)
        if not is_id(command.group_id):
            rules.found(None, command.group_id)
        return subjects.definition("group", command.company_id, command.group_id)


def _group(known: Stand | None) -> Group | None:
    return known.event.group if known is not None and isinstance(known.event, GroupEvent) else None


def _reply(done: Stand) -> Reply:
    group = done.event.group
    view = GroupView(**{field: getattr(group, field) for field in GroupView.__struct_fields__})
    return Reply(data=msgspec.Raw(codec.encode(view)), sequences={subjects.DEFINITIONS: done.sequence})
