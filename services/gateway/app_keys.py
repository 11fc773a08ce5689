"""Keys of apps: `flk_<app>.<key>.<secret>`, checked without asking anybody (spec flow-like section 2.1)."""

import hmac

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import Unauthorized
from libs.common.messages.app_key import EVERYBODY, AppKey, AppKeyEvent
from services.gateway.digests import digest_of
from services.gateway.latest import Latest
from services.gateway.principal import Principal

PREFIX = "flk_"
SECRET_CHARS_MAX = 128
KEYS_MAX = 50_000
REFUSED = "this app's key does not hold"


class AppKeys:
    """Tells which app is behind a key."""

    def __init__(self, config: Config, bus: Bus, clock: Clock) -> None:
        self._clock = clock
        self._keys = Latest(bus, "appkey", _key, entries_max=KEYS_MAX, replicated=config.replicas > 1)

    async def start(self) -> None:
        """Follow revocations."""
        await self._keys.start()

    async def holder(self, token: str) -> Principal:
        """Return whom a key stands for: nobody's user, with a role in its app and nowhere else.

        Raises Unauthorized when it is unknown, over or revoked.
        """
        app_id, _, rest = token.removeprefix(PREFIX).partition(".")
        key_id, _, secret = rest.partition(".")
        if not ids.is_id(key_id) or len(secret) > SECRET_CHARS_MAX:
            raise Unauthorized(REFUSED)
        key = await self._keys.get(subjects.definition("appkey", EVERYBODY, key_id))
        if key is None or key.app_id != app_id or not hmac.compare_digest(digest_of(secret), key.digest):
            raise Unauthorized(REFUSED)
        if key.revoked or (key.valid_until is not None and key.valid_until <= self._clock.now()):
            raise Unauthorized(REFUSED)
        return Principal(
            user_id="",
            company_id=key.company_id,
            email="",
            name=key.name,
            role="app key",
            permissions=frozenset(),
            key_id=key.id,
            app_id=key.app_id,
            app_role_id=key.role_id,
        )

    def changed(self, key_id: str, sequence: int) -> None:
        """Take note that a key is now at least as new as this place in DEFINITIONS."""
        self._keys.expect(subjects.definition("appkey", EVERYBODY, key_id), sequence)


def _key(envelope: codec.Envelope, _sequence: int) -> AppKey:
    event = envelope.data
    assert isinstance(event, AppKeyEvent), f"{envelope.type} among keys of apps"
    return event.key
