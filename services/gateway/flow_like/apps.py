"""`/api/v1/apps`: apps, what is told of them, and who may see them (spec flow-like sections 5 and 11.3)."""

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from libs.common import ids
from libs.common.errors import Invalid, NotFound
from libs.common.messages.app import (
    LISTED,
    App,
    AppFields,
    Category,
    CreateApp,
    DeleteApp,
    ExecutionMode,
    MetaFields,
    SetVisibility,
    Status,
    UpdateApp,
    Visibility,
)
from libs.common.messages.app_query import AppView, ListApps
from libs.common.messages.pat import PROJECTS
from services.gateway import bodies
from services.gateway.answers import reply
from services.gateway.flow_like import slices
from services.gateway.flow_like.app_access import (
    IN_LANGUAGE,
    asking,
    hidden_max,
    language_of,
    order,
    view_of,
    wishing,
)
from services.gateway.flow_like.app_shapes import (
    AppObject,
    MetaObject,
    Pair,
    PublicationObject,
    app_object,
    meta_object,
    pair,
    publication_object,
)
from services.gateway.flow_like.hub import Hub
from services.gateway.operations import Answer, operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route


class AppWish(MetaFields, frozen=True, kw_only=True):
    """An app to make or change: `app` and `meta`, or their fields beside each other."""

    app: AppFields | UnsetType = UNSET
    meta: MetaFields | UnsetType = UNSET
    bits: tuple[str, ...] = ()
    status: Status | UnsetType = UNSET
    version: str | None | UnsetType = UNSET
    changelog: str | None | UnsetType = UNSET
    price: int | None | UnsetType = UNSET
    primary_category: Category | None | UnsetType = UNSET
    secondary_category: Category | None | UnsetType = UNSET
    execution_mode: ExecutionMode | UnsetType = UNSET


class VisibilityWish(msgspec.Struct, frozen=True, kw_only=True):
    """Who may see an app."""

    visibility: Visibility


class _Rows(msgspec.Struct, frozen=True):
    data: list[AppView]
    total: int


_wish = msgspec.json.Decoder(AppWish)
_visibility = msgspec.json.Decoder(VisibilityWish)
_meta = msgspec.json.Decoder(MetaFields)
APPS_LIMIT_DEFAULT = 100


class AppRoutes:
    """Apps: list, make, read, change, delete, show."""

    def __init__(self, parts: Parts, hub: Hub) -> None:
        self._parts = parts
        self._hub = hub

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/apps", self._list, "read"),
            Route("POST", "/api/v1/apps", self._create, "edit"),
            Route("GET", "/api/v1/apps/{id}", self._get, None),
            Route("PUT", "/api/v1/apps/{id}", self._update, "edit"),
            Route("DELETE", "/api/v1/apps/{id}", self._delete, "edit"),
            Route("PATCH", "/api/v1/apps/{id}/visibility", self._show, "edit"),
            Route("GET", "/api/v1/apps/{id}/meta", self._get_meta, "read"),
            Route("PUT", "/api/v1/apps/{id}/meta", self._put_meta, "edit"),
        ]

    @operation(list[Pair], query=(*IN_LANGUAGE, *slices.parameters(default=APPS_LIMIT_DEFAULT)))
    async def _list(self, call: Call) -> web.Response:
        """List the apps that the caller is a member of, the newest change first.

        Each comes with what is told of it, in a pair.
        """
        call.caller.must_reach(PROJECTS)
        span = slices.span_of(call.request.query, default=APPS_LIMIT_DEFAULT)
        wish = ListApps(**asking(call), span=span)
        answer = await self._parts.store.ask("app", wish, call)
        rows, language = answer.decode(_Rows), language_of(call)
        shown = [pair(view, language) for view in rows.data]
        return reply(shown, headers={**answer.headers, **slices.total(rows.total)})

    @operation(AppObject, status=201, body=_wish, query=IN_LANGUAGE)
    async def _create(self, call: Call) -> web.Response:
        """Make an app, of which nobody but the caller knows.

        It comes with a group of the same id: flows of that group are its boards.
        """
        call.caller.must_reach(PROJECTS)
        given = await bodies.read(call.request, _wish)
        return await self._made(call, given, status=201)

    @operation(AppObject, query=IN_LANGUAGE, permission="read")
    async def _get(self, call: Call) -> web.Response:
        """Return one app.

        To its members, to its keys, and to everybody when it is listed.
        """
        call.caller = await self._parts.auth.identify(call.request)
        if not call.caller.app_id:
            call.caller.must("read")
            call.caller.must_reach(PROJECTS)
        view = await view_of(self._parts, call, call.parameters[0])
        return reply(app_object(view, language_of(call)))

    @operation(AppObject, body=_wish, query=IN_LANGUAGE)
    async def _update(self, call: Call) -> web.Response:
        """Change an app, or what is told of it in a language.

        Only what is named changes. Fields of the app take its owner or an admin, the rest a role that may write it. An
        id that is not there, with a name for it, makes an app under an id of the server's choice.
        """
        call.caller.must_reach(PROJECTS)
        given = await bodies.read(call.request, _wish)
        app_id = call.parameters[0]
        try:
            await view_of(self._parts, call, app_id)
        except NotFound:
            if _meta_of(given).name is UNSET:
                raise
            return await self._made(call, given, status=200)
        command = UpdateApp(
            **wishing(self._parts, call, app_id),
            fields=_fields_of(given),
            meta=_meta_of(given),
            language=language_of(call),
        )
        await order(self._parts, command)
        view = await view_of(self._parts, call, app_id)
        return reply(app_object(view, language_of(call)))

    @operation(None, status=204)
    async def _delete(self, call: Call) -> web.Response:
        """Delete an app with its boards and its group.

        Only its owner may.
        """
        call.caller.must_reach(PROJECTS)
        await view_of(self._parts, call, call.parameters[0])
        _, answer = await order(self._parts, DeleteApp(**wishing(self._parts, call, call.parameters[0])))
        return web.Response(status=204, headers=answer.headers)

    @operation(
        AppObject, body=_visibility, also=(Answer(202, PublicationObject, "An admin will decide on it"),)
    )
    async def _show(self, call: Call) -> web.Response:
        """Let others see an app, or not.

        From Private to Prototype and back; from Prototype to Public or PublicRequestAccess, and between these two. To
        be listed keeps what the app is now for who installs it; asking for it again keeps it anew.
        """
        call.caller.must_reach(PROJECTS)
        given = await bodies.read(call.request, _visibility)
        app_id = call.parameters[0]
        await view_of(self._parts, call, app_id)
        publication_id = ids.new_id()
        command = SetVisibility(
            **wishing(self._parts, call, app_id),
            visibility=given.visibility,
            publication_id=publication_id,
            review=self._hub.file.store_review,
        )
        app, answer = await order(self._parts, command)
        waiting = next((entry for entry in app.publications if entry.id == publication_id), None)
        if given.visibility in LISTED and waiting is not None and waiting.status == "PENDING":
            shown = publication_object(waiting, app.id, _name_of(app))
            return reply(shown, status=202, headers=answer.headers)
        view = await view_of(self._parts, call, app_id)
        return reply(app_object(view, language_of(call)), headers=answer.headers)

    @operation(MetaObject, query=IN_LANGUAGE)
    async def _get_meta(self, call: Call) -> web.Response:
        """Return what is told of an app in a language, or else in its own."""
        call.caller.must_reach(PROJECTS)
        view = await view_of(self._parts, call, call.parameters[0])
        return reply(meta_object(view.app, language_of(call)))

    @operation(MetaObject, body=_meta, query=IN_LANGUAGE)
    async def _put_meta(self, call: Call) -> web.Response:
        """Change what is told of an app in a language; only what is named changes."""
        call.caller.must_reach(PROJECTS)
        given = await bodies.read(call.request, _meta)
        app_id = call.parameters[0]
        await view_of(self._parts, call, app_id)
        command = UpdateApp(
            **wishing(self._parts, call, app_id), fields=AppFields(), meta=given, language=language_of(call)
        )
        app, answer = await order(self._parts, command)
        return reply(meta_object(app, language_of(call)), headers=answer.headers)

    async def _made(self, call: Call, given: AppWish, *, status: int) -> web.Response:
        meta = _meta_of(given)
        if meta.name is UNSET:
            raise Invalid("name is required")
        app_id = ids.new_id()
        command = CreateApp(
            **wishing(self._parts, call, app_id),
            fields=_fields_of(given),
            meta=meta,
            language=language_of(call),
            bits=given.bits,
            hidden_max=hidden_max(self._hub),
        )
        _, answer = await order(self._parts, command)
        view = await view_of(self._parts, call, app_id)
        headers = (
            {**answer.headers, "Location": f"/api/v1/apps/{app_id}"} if status == 201 else answer.headers
        )
        return reply(app_object(view, language_of(call)), status=status, headers=headers)


def _fields_of(given: AppWish) -> AppFields:
    beside = {
        name: value for name in AppFields.__struct_fields__ if (value := getattr(given, name)) is not UNSET
    }
    return msgspec.structs.replace(AppFields() if given.app is UNSET else given.app, **beside)


def _meta_of(given: AppWish) -> MetaFields:
    beside = {
        name: value for name in MetaFields.__struct_fields__ if (value := getattr(given, name)) is not UNSET
    }
    return msgspec.structs.replace(MetaFields() if given.meta is UNSET else given.meta, **beside)


def _name_of(app: App) -> str:
    told = app.meta.get(app.language)
    return told.name if told else ""
