"""Password hashes: argon2id (RFC 9106) in threads, a few at once, then encrypted before they enter an event (D14)."""

import asyncio

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from libs.common.cipher import Cipher, CipherRefused
from libs.common.ids import new_secret

# Each takes 64 MiB and a core for some 50 ms: a storm of logins must not take the machine.
CONCURRENT_MAX = 2
PASSWORD_CHARS_MAX = 1_024

log = structlog.get_logger(__name__)


class Passwords:
    """Makes and checks the hashes of users."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher
        self._hasher = PasswordHasher()
        self._slots = asyncio.Semaphore(CONCURRENT_MAX)
        self._decoy = ""

    async def prepare(self) -> None:
        """Make the hash that unknown emails are checked against."""
        self._decoy = await self._hash(new_secret())

    async def seal(self, password: str, *, user_id: str) -> str:
        """Return the encrypted hash of a password."""
        return self._cipher.seal(await self._hash(password), context=f"user:{user_id}")

    async def matches(self, password: str, sealed: str | None, *, user_id: str) -> bool:
        """Tell whether the password is the one of the encrypted hash; takes as long when there is none."""
        hashed = None if sealed is None else self._open(sealed, user_id)
        async with self._slots:
            same = await asyncio.to_thread(self._verify, hashed or self._decoy, password)
        return same and hashed is not None

    def _open(self, sealed: str, user_id: str) -> str | None:
        try:
            return self._cipher.open(sealed, context=f"user:{user_id}")
        except CipherRefused as error:
            # Nobody can log in with it; the environment's admin gets a new one at the next start.
            log.error("password_unreadable", user=user_id, reason=error.message)  # noqa: TRY400 - says it all
            return None

    async def _hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False
