"""What a command says about the call that it came from (spec flow8 section 24)."""

import re

from libs.common import ids
from libs.common.messages.origin import Origin
from services.gateway.routing import Call

USER_AGENT_CHARS_MAX = 500
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def origin_of(call: Call) -> Origin:
    """Return where a call comes from; a request without an `X-Request-Id` gets one of ours."""
    request = call.request
    given = request.headers.get("X-Request-Id", "")
    agent = request.headers.get("User-Agent", "")[:USER_AGENT_CHARS_MAX]
    return Origin(
        ip=request.remote or "",
        # aiohttp gives bytes that are no UTF-8 as lone surrogates, which no JSON can hold.
        user_agent=agent.encode("utf-8", "backslashreplace").decode(),
        request_id=given if _REQUEST_ID.fullmatch(given) else ids.new_id(),
        key_id=call.caller.key_id,
    )
