"""Digests, message authentication and encryption."""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta, Struct

from libs.common import ids
from services.executor.modules.contract import EffectModule, Module, ModuleFailed, PureModule, Services, Step

NONCE_BYTES = 12  # NIST SP 800-38D section 8.2.2; random, so one key serves at most 2^32 messages
KEY_BYTES = (16, 24, 32)

HashName = Literal["md5", "sha1", "sha256", "sha384", "sha512", "sha3-256", "sha3-512", "blake2b"]
Algorithm = Annotated[
    HashName, Meta(description="The hash function; md5 and sha1 only for what asks for them.")
]
DigestEncoding = Literal["hex", "base64", "base64url"]
BytesEncoding = Literal["utf8", "base64", "hex"]
Encoding = Annotated[DigestEncoding, Meta(description="How the digest is written.")]
InputEncoding = Annotated[
    BytesEncoding, Meta(description="How `input` stands for the bytes: as text, or the bytes of a file.")
]
KeyEncoding = Annotated[BytesEncoding, Meta(description="How `key` is written; it holds 16, 24 or 32 bytes.")]


class HashArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `hash`."""

    input: Annotated[str, Meta(description="The text.")]
    input_encoding: InputEncoding = "utf8"
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"


class Hash(PureModule[HashArgs]):
    """A text's digest."""

    app_id = "hash"
    docs = "Hashes text, as UTF-8, or bytes. Not for passwords."
    Args = HashArgs
    args_example = {"input": "hello"}
    out_example = {"result": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}

    def evaluate(self, args: HashArgs, step: Step) -> dict[str, str]:
        """Return the digest."""
        content = _bytes(self.app_id, "input", args.input, args.input_encoding)
        digest = hashlib.new(_python_name(args.algorithm), content, usedforsecurity=False).digest()
        return {"result": _written(digest, args.encoding)}


class HmacArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `hmac`."""

    input: Annotated[str, Meta(description="The text, as it was received.")]
    input_encoding: InputEncoding = "utf8"
    key: Annotated[str, Meta(min_length=1, description="The shared secret.")]
    key_encoding: Annotated[BytesEncoding, Meta(description="How `key` stands for its bytes.")] = "utf8"
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    expected: Annotated[
        str | None,
        Meta(description="A signature to check, with or without a prefix such as `sha256=`; left out: sign."),
    ] = None


class Hmac(PureModule[HmacArgs]):
    """A keyed digest, made or checked."""

    app_id = "hmac"
    docs = (
        "Signs text with a shared secret (RFC 2104): `{result}`. With `expected` it checks a signature instead, in "
        "constant time, and gives only `{valid}`: a step that showed the right signature of any text would be a way "
        "to forge it."
    )
    Args = HmacArgs
    args_example = {"input": "The quick brown fox jumps over the lazy dog", "key": "key"}
    out_example = {"result": "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"}

    def evaluate(self, args: HmacArgs, step: Step) -> dict[str, Any]:
        """Return the signature, or whether the expected one is right."""
        key = _bytes(self.app_id, "key", args.key, args.key_encoding)
        content = _bytes(self.app_id, "input", args.input, args.input_encoding)
        digest = hmac.digest(key, content, _python_name(args.algorithm))
        written = _written(digest, args.encoding)
        if args.expected is None:
            return {"result": written}
        given = args.expected.strip().removeprefix(f"{args.algorithm}=")
        if args.encoding == "hex":
            given = given.lower()
        elif args.encoding == "base64url":
            given = given.rstrip("=")
        return {"valid": hmac.compare_digest(given.encode(), written.encode())}


class CipherArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `aes-gcm-encrypt` and `aes-gcm-decrypt`."""

    input: Annotated[str, Meta(description="The text, or what `aes-gcm-encrypt` made of it.")]
    key: Annotated[str, Meta(description="The secret key.")]
    key_encoding: KeyEncoding = "base64"
    context: Annotated[
        str,
        Meta(description="Authenticated beside the text, not stored in it: the same is needed to decrypt."),
    ] = ""


class AesGcmEncrypt(EffectModule[CipherArgs]):
    """Text to ciphertext."""

    app_id = "aes-gcm-encrypt"
    docs = (
        "Encrypts text with AES-GCM. `result` is base64 of a random nonce of 12 bytes, the ciphertext and the tag of "
        "16 bytes. It counts as a module with effects, because each call draws a new nonce."
    )
    Args = CipherArgs
    args_example = {"input": "attack at dawn", "key": "AAECAwQFBgcICQoLDA0ODw=="}
    out_example = {"result": "MjM0NTY3ODk6Ozw90Ep7q9+ZYgtdLPVrv2n9wrQOe6uwTO8fHtxsPt7G"}

    async def run(self, args: CipherArgs, step: Step, services: Services) -> dict[str, str]:
        """Return nonce, ciphertext and tag in base64."""
        nonce = bytes.fromhex(ids.random_seed())[:NONCE_BYTES]
        sealed = AESGCM(_key(self.app_id, args)).encrypt(nonce, args.input.encode(), args.context.encode())
        return {"result": b64encode(nonce + sealed).decode()}


class AesGcmDecrypt(PureModule[CipherArgs]):
    """Ciphertext to text."""

    app_id = "aes-gcm-decrypt"
    docs = "Decrypts what `aes-gcm-encrypt` made; the step fails when the key, the context or one bit of it is wrong."
    Args = CipherArgs
    shown_args = frozenset({"input"})
    args_example = {
        "input": "MjM0NTY3ODk6Ozw90Ep7q9+ZYgtdLPVrv2n9wrQOe6uwTO8fHtxsPt7G",
        "key": "AAECAwQFBgcICQoLDA0ODw==",
    }
    out_example = {"result": "attack at dawn"}

    def evaluate(self, args: CipherArgs, step: Step) -> dict[str, str]:
        """Return the text. Raises ModuleFailed when it cannot be authenticated."""
        cipher = AESGCM(_key(self.app_id, args))
        try:
            content = b64decode(args.input, validate=True)
            opened = cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], args.context.encode())
            return {"result": opened.decode()}
        except (InvalidTag, ValueError) as error:
            raise ModuleFailed(
                f"{self.app_id}: input was not made with this key and context, or was changed", final=True
            ) from error


def _python_name(algorithm: HashName) -> str:
    return algorithm.replace("-", "_")


def _written(digest: bytes, encoding: DigestEncoding) -> str:
    match encoding:
        case "hex":
            return digest.hex()
        case "base64":
            return b64encode(digest).decode()
        case "base64url":
            return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _bytes(app_id: str, name: str, text: str, encoding: BytesEncoding) -> bytes:
    try:
        match encoding:
            case "utf8":
                return text.encode()
            case "base64":
                return b64decode(text, validate=True)
            case "hex":
                return bytes.fromhex(text)
    except (binascii.Error, ValueError) as error:
        raise ModuleFailed(f"{app_id}: arg {name} is not {encoding}", final=True) from error


def _key(app_id: str, args: CipherArgs) -> bytes:
    key = _bytes(app_id, "key", args.key, args.key_encoding)
    if len(key) not in KEY_BYTES:
        raise ModuleFailed(f"{app_id}: the key has {len(key)} bytes; AES takes 16, 24 or 32", final=True)
    return key


MODULES: tuple[type[Module[Any]], ...] = (Hash, Hmac, AesGcmEncrypt, AesGcmDecrypt)
