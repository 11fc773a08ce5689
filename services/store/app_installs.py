"""Installs: copies what is published of an app into a new app of another company (spec flow-like section 11.3)."""

import msgspec

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.errors import Forbidden
from libs.common.ids import derived_id, is_id
from libs.common.messages.app import (
    App,
    AppFields,
    CreateApp,
    InstallApp,
    MetaFields,
    SnapshotTaken,
    UpdateApp,
)
from libs.common.messages.flow import Flow, FlowCreated
from libs.common.messages.query import Reply
from services.store.apps import Apps, app_of
from services.store.claims import PERMANENT, Claims
from services.store.database import Database
from services.store.domain import app as rules
from services.store.domain.names import slug_of
from services.store.domain.publication import pointed
from services.store.ledger import Decided, Ledger, Stand


class AppInstalls:
    """Answers the command to install an app."""

    def __init__(self, ledger: Ledger, database: Database, apps: Apps, bus: Bus) -> None:
        self._ledger = ledger
        self._database = database
        self._apps = apps
        self._bus = bus

    async def install(self, command: InstallApp) -> Reply:
        """Copy what is published. Raises NotFound when the app is not listed, Forbidden when it has a price.

        The app comes first and then its boards, each under an id that follows from the command: what broke off in
        between goes on when it is asked for again.
        """
        item = await self._item(command.item_id)
        if item.price > 0:
            raise Forbidden("this app has a price, and nothing is sold here")
        taken = await self._snapshot(item)
        made = await self._apps.create(_creation(command, item))
        for language in sorted(set(item.meta) - {item.language}):
            await self._apps.handle(_told(command, item, language))
        copies = {flow.id: derived_id(command.id, flow.id) for flow in taken.flows}
        names = dict(copies)
        for flow in taken.flows:
            claims = Claims(self._bus, command.company_id, PERMANENT)
            names[flow.permanent_id] = await claims.claim_free(
                slug_of(flow.name), copies[flow.id], at=command.at
            )
        for flow in taken.flows:
            await self._copy(command, flow, names)
        return made

    async def _copy(self, command: InstallApp, flow: Flow, names: dict[str, str]) -> None:
        flow_id = names[flow.id]
        layers = tuple(
            msgspec.structs.replace(
                layer,
                id=derived_id(command.id, layer.id),
                flow_id=flow_id,
                # Who calls whom: by id anywhere, by permanentId where a flow is named.
                args=_called(layer.args, names),
            )
            for layer in flow.layers
        )
        made = msgspec.structs.replace(
            flow,
            id=flow_id,
            company_id=command.company_id,
            permanent_id=names[flow.permanent_id],
            group_id=command.app_id,
            execution=msgspec.structs.replace(
                flow.execution, on_fail_flow_id=names.get(flow.execution.on_fail_flow_id or "")
            ),
            version=1,
            created_at=command.at,
            updated_at=command.at,
            layers=layers,
        )
        part = msgspec.structs.replace(command, id=derived_id(command.id, "flow", flow.id))
        event = FlowCreated(at=command.at, by=command.by, origin=command.origin, flow=made)

        async def rule(_known: Stand | None) -> Decided:
            return Decided(event)

        await self._ledger.commit(part, subjects.definition("flow", command.company_id, flow_id), rule)

    async def _item(self, item_id: str) -> App:
        row = await self._database.row("select company_id from apps where id = $1 and listed", item_id)
        app = None
        if row is not None and is_id(item_id):
            app = app_of(await self._ledger.last(subjects.definition("app", row["company_id"], item_id)))
        if app is None or not rules.is_listed(app):
            raise rules.no_such(item_id)
        return app

    async def _snapshot(self, item: App) -> SnapshotTaken:
        known = await self._ledger.last(subjects.definition("snapshot", item.company_id, item.published_id))
        if known is None or not isinstance(known.event, SnapshotTaken):
            raise rules.no_such(item.id)
        return known.event


def _called(args: dict[str, object], names: dict[str, str]) -> dict[str, object]:
    by_id = {old: new for old, new in names.items() if is_id(old)}
    made: dict[str, object] = pointed(args, by_id)
    if isinstance(flow := made.get("flowId"), str):
        made["flowId"] = names.get(flow, flow)
    return made


def _creation(command: InstallApp, item: App) -> CreateApp:
    return CreateApp(
        id=derived_id(command.id, "app"),
        at=command.at,
        company_id=command.company_id,
        by=command.by,
        origin=command.origin,
        app_id=command.app_id,
        administers=command.administers,
        fields=AppFields(
            version=item.version,
            changelog=item.changelog,
            primary_category=item.primary_category,
            secondary_category=item.secondary_category,
            execution_mode=item.execution_mode,
        ),
        meta=_fields(item, item.language),
        language=item.language,
        bits=item.bits,
        hidden_max=command.hidden_max,
        installed_from=item.id,
    )


def _told(command: InstallApp, item: App, language: str) -> UpdateApp:
    return UpdateApp(
        id=derived_id(command.id, "meta", language),
        at=command.at,
        company_id=command.company_id,
        by=command.by,
        origin=command.origin,
        app_id=command.app_id,
        fields=AppFields(),
        meta=_fields(item, language),
        language=language,
    )


def _fields(item: App, language: str) -> MetaFields:
    meta = item.meta[language]
    return MetaFields(**{name: getattr(meta, name) for name in MetaFields.__struct_fields__})
