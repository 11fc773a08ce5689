"""Personal access tokens: `pat_<id>.<secret>`, checked without asking anybody (spec flow-like section 2.1)."""

import hmac

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import Unauthorized
from libs.common.messages.access import User
from libs.common.messages.pat import EVERYBODY, Pat, PatEvent
from services.gateway.digests import digest_of
from services.gateway.latest import Latest
from services.gateway.principal import Principal, of_user

PREFIX = "pat_"
SECRET_CHARS_MAX = 128
PATS_MAX = 50_000
REFUSED = "this personal access token does not hold"


class PersonalTokens:
    """Tells who is behind a personal access token."""

    def __init__(self, config: Config, bus: Bus, clock: Clock, users: Latest[User]) -> None:
        self._clock = clock
        self._users = users
        self._pats = Latest(bus, "pat", _pat, entries_max=PATS_MAX, replicated=config.replicas > 1)

    async def start(self) -> None:
        """Follow revocations."""
        await self._pats.start()

    async def holder(self, token: str) -> Principal:
        """Return the user that a token acts for, with the user's role of now.

        Raises Unauthorized when it is unknown, over or revoked, or its user disabled.
        """
        pat_id, _, secret = token.removeprefix(PREFIX).partition(".")
        if not ids.is_id(pat_id) or len(secret) > SECRET_CHARS_MAX:
            raise Unauthorized(REFUSED)
        pat = await self._pats.get(subjects.definition("pat", EVERYBODY, pat_id))
        if pat is None or not hmac.compare_digest(digest_of(secret), pat.digest):
            raise Unauthorized(REFUSED)
        if pat.revoked or (pat.valid_until is not None and pat.valid_until <= self._clock.now()):
            raise Unauthorized(REFUSED)
        user = await self._users.get(subjects.definition("user", pat.company_id, pat.user_id))
        if user is None or user.disabled:
            raise Unauthorized(REFUSED)
        return of_user(user, key_id=pat.id, pat_bits=pat.permissions)

    def changed(self, pat_id: str, sequence: int) -> None:
        """Take note that a token is now at least as new as this place in DEFINITIONS."""
        self._pats.expect(subjects.definition("pat", EVERYBODY, pat_id), sequence)


def _pat(envelope: codec.Envelope, _sequence: int) -> Pat:
    event = envelope.data
    assert isinstance(event, PatEvent), f"{envelope.type} among personal access tokens"
    return event.pat
