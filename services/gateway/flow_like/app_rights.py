"""What a caller may do with the boards of an app, told from the log without asking the store (spec flow-like 2.2).

An app of which nothing but its group is known belongs to whoever administers the company, as in the store's answers.
"""

from libs.common import codec, ids, subjects
from libs.common.errors import Forbidden
from libs.common.messages.access import Permission
from libs.common.messages.app import App, AppEvent, Bit, holds
from libs.common.messages.pat import PROJECTS
from services.gateway.flow_like.app_access import view_of
from services.gateway.flow_like.jobs_door import SERVICE_ACCOUNT
from services.gateway.parts import Parts
from services.gateway.principal import Principal
from services.gateway.routing import Call


async def enter(parts: Parts, call: Call, permission: Permission) -> None:
    """Set the caller of a call that keys of apps may make too; others need this permission of the company's roles."""
    call.caller = await parts.auth.identify(call.request)
    if not call.caller.app_id:
        call.caller.must(permission)
        call.caller.must_reach(PROJECTS)


async def must_hold(parts: Parts, call: Call, app_id: str, wanted: int) -> None:
    """Raise unless the caller's role in an app allows any of this.

    NotFound for what they may not know of, Forbidden for members, keys, and everybody when the app is listed.
    """
    caller = call.caller
    if caller == SERVICE_ACCOUNT:
        return
    if ids.is_id(app_id) and caller.app_id in ("", app_id):
        bits = await _bits(parts, caller, app_id)
        if holds(bits, wanted):
            return
        if bits or caller.app_id:
            raise Forbidden("your role in this app does not allow that")
    # Whether a stranger may know that it is there, the store tells, also of other companies.
    await view_of(parts, call, app_id)
    raise Forbidden("only members of this app may do that")


async def _bits(parts: Parts, caller: Principal, app_id: str) -> int:
    app = await _app(parts, caller.company_id, app_id)
    if app is None:
        owns = "administer" in caller.permissions and await _is_group(parts, caller.company_id, app_id)
        return int(Bit.OWNER) if owns else 0
    if app.deleted:
        return 0
    held = [member.role_id for member in app.members if caller.user_id and member.user_id == caller.user_id]
    role_ids = [caller.app_role_id] if caller.app_id else held
    return sum(role.permissions for role in app.roles if role.id in role_ids)


async def _app(parts: Parts, company_id: str, app_id: str) -> App | None:
    stored = await parts.bus.last(subjects.DEFINITIONS, subjects.definition("app", company_id, app_id))
    event = None if stored is None else codec.last_event(stored.data).data
    return event.app if isinstance(event, AppEvent) else None


async def _is_group(parts: Parts, company_id: str, app_id: str) -> bool:
    # Else an app of another company, of which only the store knows whether it is listed.
    subject = subjects.definition("group", company_id, app_id)
    return await parts.bus.last(subjects.DEFINITIONS, subject) is not None
