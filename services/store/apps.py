"""Apps: makes, changes, publishes and deletes them, each with its group (spec flow-like sections 5 and 11.3)."""

from typing import Any

import msgspec

from libs.common import codec, subjects
from libs.common.errors import Forbidden, NotFound
from libs.common.ids import derived_id, is_id
from libs.common.messages.access import UserCreated, UserUpdated
from libs.common.messages.app import (
    AnyAppCommand,
    App,
    AppCommand,
    AppEvent,
    CreateApp,
    DecidePublication,
    DeleteApp,
    InviteMember,
    SetVisibility,
    UpdateApp,
)
from libs.common.messages.flow import DeleteFlow, Flow, FlowEvent
from libs.common.messages.group import CreateGroup, DeleteGroup, Group, GroupEvent, GroupFields, UpdateGroup
from libs.common.messages.query import Reply
from services.store.database import Database
from services.store.domain import app as rules
from services.store.domain import app_team as team
from services.store.domain import publication
from services.store.flows import Flows
from services.store.groups import Groups
from services.store.ledger import Decided, Ledger, Stand, check_command


class Apps:
    """Answers `cmd.app`."""

    def __init__(self, ledger: Ledger, database: Database, groups: Groups, flows: Flows) -> None:
        self._ledger = ledger
        self._database = database
        self._groups = groups
        self._flows = flows

    async def create(self, command: CreateApp) -> Reply:
        """Make an app and its group. Raises Invalid naming the field, Forbidden above what the user's plan allows."""
        subject = self._subject(command)
        known = await self._ledger.last(subject)
        rules.created(command, None)
        if known is None and 0 <= command.hidden_max <= await self._hidden(command):
            raise Forbidden(f"your plan has room for {command.hidden_max} apps that are not listed")
        await self._groups.handle(
            CreateGroup(
                id=derived_id(command.id, "group"),
                at=command.at,
                company_id=command.company_id,
                by=command.by,
                origin=command.origin,
                group_id=command.app_id,
                fields=GroupFields(name=str(command.meta.name)),
            )
        )

        async def rule(known: Stand | None) -> Decided:
            return Decided(rules.created(command, app_of(known)))

        return reply_of(await self._ledger.commit(command, subject, rule))

    async def handle(self, command: AnyAppCommand) -> Reply:
        """Change an app. Raises NotFound, Forbidden, Invalid naming the field, Refused."""

        async def rule(known: Stand | None) -> Decided:
            app = await self.present(command, known)
            if isinstance(command, UpdateApp):
                return Decided(rules.updated(command, app))
            if isinstance(command, SetVisibility):
                return Decided(publication.seen(command, app))
            exists = isinstance(command, InviteMember) and await self._user_exists(command)
            assert isinstance(command, team.TeamCommand)
            return Decided(team.decided(command, app, user_exists=exists))

        done = await self._ledger.commit(command, self._subject(command), rule)
        await self._rename(command, done.event.app)
        return reply_of(done)

    async def show(self, command: SetVisibility) -> Reply:
        """Let others see an app, and keep what it is when that publishes it. Raises as `handle`."""
        subject = self._subject(command)
        known = await self._ledger.last(subject)
        if known is None or known.event_id != command.id:
            app = await self.present(command, known)
            if publication.publishes(command, app):
                await self._keep(command, app)
        return await self.handle(command)

    async def decide(self, command: DecidePublication) -> Reply:
        """Decide on a publication of any company. Raises NotFound, Invalid when it was decided before."""
        row = await self._database.row(
            "select id, company_id from apps where definition -> 'publications' @> $1::jsonb and not deleted",
            codec.encode([{"id": command.publication_id}]).decode(),
        )
        if row is None:
            raise NotFound(f"there is no publication {command.publication_id[:80]}")
        own = msgspec.structs.replace(command, app_id=row["id"], company_id=row["company_id"])

        async def rule(known: Stand | None) -> Decided:
            return Decided(publication.decided(own, app_of(known)))

        return reply_of(await self._ledger.commit(own, self._subject(own), rule))

    async def delete(self, command: DeleteApp) -> Reply:
        """Delete an app, its boards and its group. Raises NotFound, Forbidden to all but its owner.

        The app goes last: what broke off in between can be asked for again.
        """
        subject = self._subject(command)
        known = await self._ledger.last(subject)
        if known is None or known.event_id != command.id:
            rules.may_delete(command, await self.present(command, known))
            await self._delete_group(command)

        async def rule(known: Stand | None) -> Decided:
            app = app_of(known)
            if app is None or app.deleted:
                # Its group is gone already, and nobody has written anything of it.
                app = rules.of_group(await self._group(command), command.by)
            return Decided(rules.deleted(command, app))

        return reply_of(await self._ledger.commit(command, subject, rule))

    async def present(self, command: AppCommand, known: Stand | None) -> App:
        """Return the app of a command.

        A group of which no app was made belongs to whoever administers the company. Raises NotFound, and Forbidden
        when it is listed by another company.
        """
        app = app_of(known)
        if app is not None and not app.deleted:
            return app
        group = None if app is not None else await self._group_of(command)
        if group is not None and not group.deleted and command.administers:
            return rules.of_group(group, command.by)
        row = await self._database.row(
            "select 1 from apps where id = $1 and listed and company_id <> $2",
            command.app_id,
            command.company_id,
        )
        if row is not None:
            raise Forbidden("this app belongs to another company; install it")
        raise rules.no_such(command.app_id)

    async def flows_of(self, company_id: str, group_id: str) -> list[Flow]:
        """Return the flows of a group, oldest first."""
        rows = await self._database.rows(
            "select id from flows where company_id = $1 and group_id = $2 and not deleted order by created_at, id",
            company_id,
            group_id,
        )
        flows = []
        for row in rows:
            known = await self._ledger.last(subjects.definition("flow", company_id, row["id"]))
            if known is not None and isinstance(known.event, FlowEvent):
                flows.append(known.event.flow)
        return [flow for flow in flows if flow.group_id == group_id and not flow.deleted]

    async def _keep(self, command: SetVisibility, app: App) -> None:
        taken = publication.snapshot(command, await self.flows_of(app.company_id, app.id))
        part = msgspec.structs.replace(command, id=derived_id(command.id, "snapshot"))

        async def rule(_known: Stand | None) -> Decided:
            return Decided(taken)

        await self._ledger.commit(
            part, subjects.definition("snapshot", app.company_id, command.publication_id), rule
        )

    async def _rename(self, command: AnyAppCommand, app: App) -> None:
        if not isinstance(command, UpdateApp) or not isinstance(command.meta.name, str):
            return
        if command.language == app.language:
            await self._groups.handle(
                UpdateGroup(
                    id=derived_id(command.id, "group"),
                    at=command.at,
                    company_id=command.company_id,
                    by=command.by,
                    origin=command.origin,
                    group_id=command.app_id,
                    fields=GroupFields(name=command.meta.name),
                )
            )

    async def _delete_group(self, command: DeleteApp) -> None:
        wish: dict[str, Any] = {
            "at": command.at,
            "company_id": command.company_id,
            "by": command.by,
            "origin": command.origin,
        }
        for flow in await self.flows_of(command.company_id, command.app_id):
            gone = DeleteFlow(id=derived_id(command.id, flow.id), flow_id=flow.id, **wish)
            await self._flows.handle(gone)
        group = await self._group_of(command)
        if group is not None and not group.deleted:
            await self._groups.delete(
                DeleteGroup(id=derived_id(command.id, "group"), group_id=command.app_id, **wish)
            )

    async def _hidden(self, command: CreateApp) -> int:
        row = await self._database.row(
            "select count(*) from apps where owner_id = $1 and not deleted and visibility in ('Private', 'Prototype')",
            command.by,
        )
        return 0 if row is None else int(row["count"])

    async def _user_exists(self, command: InviteMember) -> bool:
        if not is_id(command.user_id):
            return False
        subject = subjects.definition("user", command.company_id, command.user_id)
        known = await self._ledger.last(subject)
        event = None if known is None else known.event
        return isinstance(event, UserCreated | UserUpdated) and not event.user.disabled

    async def _group_of(self, command: AppCommand) -> Group | None:
        known = await self._ledger.last(subjects.definition("group", command.company_id, command.app_id))
        return known.event.group if known is not None and isinstance(known.event, GroupEvent) else None

    async def _group(self, command: AppCommand) -> Group:
        group = await self._group_of(command)
        if group is None:
            raise rules.no_such(command.app_id)
        return group

    def _subject(self, command: AppCommand) -> str:
        check_command(command)
        if not is_id(command.app_id):
            raise rules.no_such(command.app_id)
        return subjects.definition("app", command.company_id, command.app_id)


def app_of(known: Stand | None) -> App | None:
    """Return the app of its last event, None when there is none."""
    return known.event.app if known is not None and isinstance(known.event, AppEvent) else None


def reply_of(done: Stand) -> Reply:
    """Return the answer to a command: the app after it."""
    return Reply(data=codec.raw(done.event.app), sequences={subjects.DEFINITIONS: done.sequence})
