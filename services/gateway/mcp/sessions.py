"""The sessions of clients that shake hands (protocol up to 2025-11-25), as far as they are told of changes.

The SDK keeps the sessions themselves, and forgets them without saying so; what is kept here is let go when a session
was silent for as long.
"""

from collections import OrderedDict
from typing import NamedTuple

from mcp.server.session import ServerSession
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from starlette.requests import Request

from libs.common.clock import Clock

SESSIONS_MAX = 1_000
SESSION_IDLE_S = 1_800.0


class _Known(NamedTuple):
    company_id: str
    session: ServerSession
    used_at_s: float


class Sessions:
    """Who asked for tools and wants to know when they change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def note(self, request: Request, company_id: str, session: ServerSession) -> None:
        """Remember the session of a request; a request without one is of a later protocol and has other means."""
        session_id = request.headers.get(MCP_SESSION_ID_HEADER)
        if session_id is None:
            return
        self._known[session_id] = _Known(company_id, session, self._clock.monotonic_s())
        self._known.move_to_end(session_id)
        if len(self._known) > SESSIONS_MAX:
            self._known.popitem(last=False)

    def used(self, session_id: str) -> None:
        """Note that a session is alive."""
        known = self._known.get(session_id)
        if known is not None:
            self._known[session_id] = known._replace(used_at_s=self._clock.monotonic_s())
            self._known.move_to_end(session_id)

    def over(self, session_id: str) -> None:
        """Forget a session."""
        self._known.pop(session_id, None)

    def of(self, company_id: str) -> list[ServerSession]:
        """Return the sessions of a company."""
        return [known.session for known in self._known.values() if known.company_id == company_id]

    def forget_silent(self) -> None:
        """Forget the sessions that were silent for longer than they live."""
        before_s = self._clock.monotonic_s() - SESSION_IDLE_S
        while self._known and next(iter(self._known.values())).used_at_s < before_s:
            self._known.popitem(last=False)
