"""Who may read and end a run: whoever started it, and whose role in its app allows that (spec flow-like 11.3)."""

from libs.common import subjects
from libs.common.errors import NotFound
from libs.common.messages.app import Bit
from services.gateway.flow_like.app_rights import must_hold
from services.gateway.flow_like.launches import start_of
from services.gateway.parts import Parts
from services.gateway.routing import Call

READ = Bit.READ_BOARDS | Bit.READ_LOGS


async def must_read(parts: Parts, call: Call, flow_id: str, play_id: str) -> None:
    """Raise NotFound or Forbidden unless the caller may read a run; a key that may run boards may read their runs."""
    wanted = READ | Bit.EXECUTE_BOARDS if call.caller.app_id else READ
    await _must(parts, call, parts.plays.key(call.caller.company_id, flow_id, play_id), wanted)


async def must_end(parts: Parts, call: Call, key: subjects.PlayKey) -> None:
    """Raise NotFound or Forbidden unless the caller may end a run."""
    await _must(parts, call, key, Bit.EXECUTE_BOARDS)


async def app_of(parts: Parts, company_id: str, flow_id: str) -> str | None:
    """Return the app whose board a flow is, None when it is of none, or deleted."""
    try:
        return (await parts.definitions.find(company_id, flow_id)).group_id
    except NotFound:
        # The board is deleted; what it did can still be read.
        return None


async def _must(parts: Parts, call: Call, key: subjects.PlayKey, wanted: int) -> None:
    caller = call.caller
    start = await start_of(parts, key)
    if caller.user_id and start is not None and start.by == caller.user_id:
        return
    app_id = await app_of(parts, key.company_id, key.flow_id)
    if app_id is None and not caller.app_id:
        # A flow outside of all apps is its company's.
        return
    try:
        await must_hold(parts, call, app_id or "", wanted)
    except NotFound as error:
        raise NotFound(f"there is no run {key.play_id}") from error
