"""The tokens and signing secrets of channels, opened in memory (D14)."""

import asyncio

import structlog

from libs.common.cipher import Cipher, CipherRefused
from libs.common.config import Config
from libs.common.errors import Unavailable
from libs.common.messages.channel import Channel, hmac_context, token_context

log = structlog.get_logger(__name__)


class ChannelSecrets:
    """Opens what stores have sealed. The key is derived when the first secret is asked for, for that takes a while."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._cipher: asyncio.Task[Cipher] | None = None

    async def token(self, channel: Channel) -> str:
        """Return a channel's token, empty when it has none. Raises Unavailable when it cannot be opened."""
        return await self._opened(channel, channel.sealed_token, token_context(channel.id))

    async def hmac_secret(self, channel: Channel) -> str:
        """Return a channel's signing secret, empty when it has none. Raises Unavailable when it cannot be opened."""
        return await self._opened(channel, channel.sealed_hmac_secret, hmac_context(channel.id))

    async def _opened(self, channel: Channel, sealed: str, context: str) -> str:
        if not sealed:
            return ""
        if self._cipher is None:
            self._cipher = asyncio.create_task(self._derived(), name="derive the key of channels")
        try:
            # One derivation serves all who ask; none of them may cancel it for the others.
            return (await asyncio.shield(self._cipher)).open(sealed, context=context)
        except CipherRefused as error:
            log.error("channel_secret_unreadable", channel=channel.id, reason=error.message)  # noqa: TRY400
            raise Unavailable("this gateway cannot open the channel's secret; see its log") from error

    async def _derived(self) -> Cipher:
        return await asyncio.to_thread(Cipher.derive, self._config.enc_key_secret, self._config.enc_key_salt)
