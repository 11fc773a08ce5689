"""What a command says about the call that it came from (spec flow8 section 24)."""

import re
from datetime import datetime
from typing import TypedDict

from aiohttp import web

from libs.common import ids
from libs.common.clock import Clock
from libs.common.messages.origin import Origin
from services.gateway.routing import Call, as_utf8

USER_AGENT_CHARS_MAX = 500
_MADE = web.RequestKey("made", str)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Wished(TypedDict):
    """What every command tells, beside what it is about: the fields of Wish."""

    id: str
    at: datetime
    company_id: str
    by: str
    origin: Origin


def request_id_of(request: web.BaseRequest) -> str:
    """Return the request's `X-Request-Id`, or one of ours, the same each time."""
    given = request.headers.get("X-Request-Id", "")
    if _REQUEST_ID.fullmatch(given):
        return given
    made = request.get(_MADE)
    if made is None:
        made = request[_MADE] = ids.new_id()
    return made


def origin_of(call: Call) -> Origin:
    """Return where a call comes from; a request without an `X-Request-Id` gets one of ours."""
    request = call.request
    agent = request.headers.get("User-Agent", "")[:USER_AGENT_CHARS_MAX]
    return Origin(
        ip=request.remote or "",
        user_agent=as_utf8(agent),
        request_id=request_id_of(request),
        key_id=call.caller.key_id,
    )


def wishing(call: Call, clock: Clock) -> Wished:
    """Return the fields of a command that tell who wants it, when and from where, with an id of its own."""
    return {
        "id": ids.new_id(),
        "at": clock.now(),
        "company_id": call.caller.company_id,
        "by": call.caller.user_id,
        "origin": origin_of(call),
    }
