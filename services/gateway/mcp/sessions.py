"""The sessions of clients that shake hands (protocols up to 2025-11-25): whose they are, and who is told of changes.

The SDK keeps the sessions themselves and ends those that are silent. Many clients open one for each call and never end
it, so a company that has too many loses the one that was silent for longest, and takes nobody else's room.
"""

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.session import ServerSession

from libs.common.clock import Clock

SESSIONS_MAX = 4_000
SESSIONS_PER_COMPANY_MAX = 200
SESSION_IDLE_S = 1_800.0


@dataclass
class _Known:
    company_id: str
    owner: AuthenticatedUser
    used_at_s: float
    session: ServerSession | None = None


class Sessions:
    """The open sessions, the one that was silent for longest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def opened(self, session_id: str, company_id: str, owner: AuthenticatedUser) -> None:
        """Note a new session."""
        self._known[session_id] = _Known(company_id, owner, self._clock.monotonic_s())

    def too_many(self, company_id: str, busy: Container[str]) -> tuple[str, AuthenticatedUser] | None:
        """Return the session that its company should lose, and its owner; None while it has room."""
        ids = [session_id for session_id, known in self._known.items() if known.company_id == company_id]
        if len(ids) <= SESSIONS_PER_COMPANY_MAX:
            return None
        silent = next((session_id for session_id in ids if session_id not in busy), None)
        return None if silent is None else (silent, self._known[silent].owner)

    def listens(self, session_id: str | None, session: ServerSession) -> None:
        """Tell this session of changes from now on; a request of a later protocol has none, and other means."""
        known = self._known.get(session_id or "")
        if known is not None:
            known.session = session

    def used(self, session_id: str) -> None:
        """Note that a session is alive."""
        known = self._known.get(session_id)
        if known is not None:
            known.used_at_s = self._clock.monotonic_s()
            self._known.move_to_end(session_id)

    def over(self, session_id: str) -> None:
        """Forget a session."""
        self._known.pop(session_id, None)

    def of(self, company_id: str) -> list[ServerSession]:
        """Return the sessions of a company that are told of changes."""
        return [
            known.session
            for known in self._known.values()
            if known.company_id == company_id and known.session is not None
        ]

    def forget_silent(self) -> None:
        """Forget the sessions that were silent for longer than they live."""
        before_s = self._clock.monotonic_s() - SESSION_IDLE_S
        while self._known and next(iter(self._known.values())).used_at_s < before_s:
            self._known.popitem(last=False)
