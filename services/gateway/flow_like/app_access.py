"""Which app a call is about, and what its caller may there (spec flow-like sections 2.2 and 11.2)."""

from typing import TypedDict

from libs.common import ids
from libs.common.errors import Forbidden, NotFound
from libs.common.messages.app import LANGUAGE, App, AppCommand, holds
from libs.common.messages.app_query import AppView, GetApp
from services.gateway import paging
from services.gateway.flow_like.hub import Hub
from services.gateway.operations import Parameter, text
from services.gateway.origin import Wished
from services.gateway.origin import wishing as wished
from services.gateway.parts import Parts
from services.gateway.routing import Call, shown
from services.gateway.store import Answer

IN_LANGUAGE: tuple[Parameter, ...] = (text("language", "A language tag; without words in it, the app's own"),)


class Asking(TypedDict):
    """What every query about apps tells."""

    company_id: str
    user_id: str
    administers: bool


class WishedOfApp(Wished):
    """What every command on an app tells: the fields of AppCommand."""

    app_id: str
    administers: bool


def language_of(call: Call) -> str:
    """Return the language asked for."""
    return paging.text(call.request.query, "language") or LANGUAGE


def asking(call: Call) -> Asking:
    """Return the fields of a query that tell who asks."""
    return {
        "company_id": call.caller.company_id,
        "user_id": call.caller.user_id,
        "administers": "administer" in call.caller.permissions,
    }


def wishing(parts: Parts, call: Call, app_id: str) -> WishedOfApp:
    """Return the fields of a command that tell who wants it, of which app."""
    return {
        **wished(call, parts.clock),
        "app_id": app_id,
        "administers": "administer" in call.caller.permissions,
    }


async def view_of(parts: Parts, call: Call, app_id: str) -> AppView:
    """Return an app that the caller may know of.

    Raises NotFound for what is not there, or not for them; also for a key that is of another app.
    """
    caller = call.caller
    if not ids.is_id(app_id) or (caller.app_id and caller.app_id != app_id):
        raise NotFound(f"there is no app {shown(app_id)}")
    query = GetApp(**asking(call), app_id=app_id, role_id=caller.app_role_id)
    answer = await parts.store.ask("app", query, call)
    return answer.decode(AppView)


async def member_view(parts: Parts, call: Call, app_id: str, wanted: int) -> AppView:
    """Return an app in which the caller may any of this. Raises NotFound, and Forbidden when they may not."""
    view = await view_of(parts, call, app_id)
    if not view.bits or not holds(view.bits, wanted):
        raise Forbidden("your role in this app does not allow that")
    return view


async def order(parts: Parts, command: AppCommand) -> tuple[App, Answer]:
    """Have a command decided and return the app after it."""
    answer = await parts.store.order("app", command)
    return answer.decode(App), answer


def hidden_max(hub: Hub) -> int:
    """Return how many apps a user may have that are not listed, -1 for any number."""
    tier = hub.file.tiers.get(hub.file.default_user_plan)
    return -1 if tier is None else tier.max_non_visible_projects
