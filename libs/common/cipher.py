"""Encrypts what must not travel in the clear (design D14): AES-256-GCM, the key derived once from the environment.

A ciphertext is `{alg, kid, nonce, ct}`; `kid` names the key, so that a second key can be told from a damaged value.
The key is derived by scrypt (RFC 7914) with the parameters of spec flow8 section 22.
"""

import base64
import hashlib
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from libs.common.errors import HeadraceError

SECRET_HEX_CHARS = 256
SALT_HEX_CHARS = 64
SCRYPT_N, SCRYPT_R, SCRYPT_P = 32_768, 8, 1
KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_HEX_CHARS = 16
ALGORITHM = "A256GCM"


class CipherRefused(HeadraceError):
    """A key that is no key, or a value that this key does not open."""


class Sealed(msgspec.Struct, frozen=True):
    """An encrypted value; `nonce` and `ct` are base64."""

    alg: str
    kid: str
    nonce: str
    ct: str


_decode = msgspec.json.Decoder(Sealed).decode


class Cipher:
    """Seals and opens texts with one key. `context` says what a value belongs to; elsewhere it does not open."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self.key_id = hashlib.sha256(b"headrace key id" + key).hexdigest()[:KEY_ID_HEX_CHARS]

    @classmethod
    def derive(cls, secret_hex: str, salt_hex: str) -> "Cipher":
        """Derive the key; takes about 0.1 s and 32 MiB. Raises CipherRefused when secret or salt is malformed."""
        secret = _hex("HEADRACE_ENC_KEY_SECRET", secret_hex, SECRET_HEX_CHARS)
        salt = _hex("HEADRACE_ENC_KEY_SALT", salt_hex, SALT_HEX_CHARS)
        return cls(Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(secret))

    def seal(self, text: str, *, context: str) -> str:
        """Encrypt a text."""
        nonce = os.urandom(NONCE_BYTES)
        encrypted = self._aead.encrypt(nonce, text.encode(), context.encode())
        sealed = Sealed(
            ALGORITHM, self.key_id, base64.b64encode(nonce).decode(), base64.b64encode(encrypted).decode()
        )
        return msgspec.json.encode(sealed).decode()

    def open(self, sealed_text: str, *, context: str) -> str:
        """Decrypt what `seal` made. Raises CipherRefused for another key, another context, or a damaged value."""
        try:
            sealed = _decode(sealed_text)
            nonce, encrypted = base64.b64decode(sealed.nonce), base64.b64decode(sealed.ct)
        except (msgspec.DecodeError, ValueError) as error:
            raise CipherRefused("the stored value is not encrypted in a form that is known") from error
        if sealed.alg != ALGORITHM or sealed.kid != self.key_id:
            raise CipherRefused(
                f"the stored value was encrypted with key {sealed.kid}, ours is {self.key_id}"
            )
        try:
            return self._aead.decrypt(nonce, encrypted, context.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise CipherRefused("the stored value is damaged") from error


def _hex(variable: str, value: str, chars: int) -> bytes:
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        raw = b""
    # Lengths only: the value itself must reach no log.
    if len(value) != chars or len(raw) * 2 != chars:
        raise CipherRefused(
            f"{variable} must be {chars} hexadecimal characters; `openssl rand -hex {chars // 2}`"
        )
    return raw
