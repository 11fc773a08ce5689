"""Who may call a channel: its token, or its signature (spec flow8 section 14.1)."""

import hmac
from collections.abc import Mapping
from typing import NamedTuple

from libs.common.clock import Clock
from libs.common.errors import Unauthorized
from libs.common.messages.channel import Channel
from services.gateway.channels import signatures
from services.gateway.channels.secrets import ChannelSecrets


class _Opened(NamedTuple):
    sealed: str
    plain: str


class Callers:
    """Checks the callers of one channel; what it opened once it keeps as long as the definition does."""

    def __init__(self, secrets: ChannelSecrets, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._token = _Opened("", "")
        self._hmac = _Opened("", "")

    async def check_token(
        self, channel: Channel, headers: Mapping[str, str], *, query_token: str = ""
    ) -> None:
        """Return when the caller brings the channel's token, or none is asked for. Raises Unauthorized, Unavailable."""
        if channel.auth_mode != "header_token":
            return
        if self._token.sealed != channel.sealed_token:
            self._token = _Opened(channel.sealed_token, await self._secrets.token(channel))
        kind, _, given = headers.get("Authorization", "").partition(" ")
        token = given.strip() if kind.lower() == "bearer" else query_token
        expected = self._token.plain
        same = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), expected.encode())
        if not (same and expected):
            raise Unauthorized("the channel's token is missing or wrong")

    async def check_signature(self, channel: Channel, headers: Mapping[str, str], body: bytes) -> str:
        """Return what names a signed delivery, empty when no signature is asked for or its scheme names none.

        Raises Unauthorized, Unavailable.
        """
        if channel.auth_mode != "hmac":
            return ""
        if self._hmac.sealed != channel.sealed_hmac_secret:
            self._hmac = _Opened(channel.sealed_hmac_secret, await self._secrets.hmac_secret(channel))
        if channel.hmac_style is None or not self._hmac.plain:
            raise Unauthorized("the channel has no signing secret")
        return signatures.verify(
            channel.hmac_style,
            headers,
            body,
            secret=self._hmac.plain,
            now_s=self._clock.now().timestamp(),
            tolerance_s=channel.hmac_tolerance_seconds,
        )
