"""Encryption at rest: opens only with its key, in its place, undamaged."""

import msgspec
import pytest

from libs.common.cipher import Cipher, CipherRefused

SECRET, SALT = "5a" * 128, "a5" * 32


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    return Cipher.derive(SECRET, SALT)


def test_what_was_sealed_opens_again(cipher: Cipher) -> None:
    sealed = cipher.seal("geheim äöü", context="user:1")
    assert "geheim" not in sealed
    assert Cipher.derive(SECRET, SALT).open(sealed, context="user:1") == "geheim äöü"


def test_the_same_text_is_never_sealed_to_the_same(cipher: Cipher) -> None:
    assert cipher.seal("x", context="c") != cipher.seal("x", context="c")


def test_it_does_not_open_elsewhere(cipher: Cipher) -> None:
    with pytest.raises(CipherRefused, match="damaged"):
        cipher.open(cipher.seal("x", context="user:1"), context="user:2")


def test_a_damaged_value_does_not_open(cipher: Cipher) -> None:
    sealed = msgspec.json.decode(cipher.seal("x" * 30, context="c"))
    sealed["ct"] = "A" * len(sealed["ct"])
    with pytest.raises(CipherRefused):
        cipher.open(msgspec.json.encode(sealed).decode(), context="c")


def test_another_key_is_told_from_damage(cipher: Cipher) -> None:
    other = Cipher(b"k" * 32)
    with pytest.raises(CipherRefused, match=f"encrypted with key {other.key_id}"):
        cipher.open(other.seal("x", context="c"), context="c")


@pytest.mark.parametrize(
    "text", ["", "plain", '{"alg":"A256GCM"}', '{"alg":"x","kid":"","nonce":"!","ct":"!"}']
)
def test_what_is_no_ciphertext_is_refused(cipher: Cipher, text: str) -> None:
    with pytest.raises(CipherRefused):
        cipher.open(text, context="c")


@pytest.mark.parametrize(
    ("secret", "salt", "named"),
    [
        ("", SALT, "HEADRACE_ENC_KEY_SECRET"),
        ("zz" * 128, SALT, "HEADRACE_ENC_KEY_SECRET"),
        ("5a" * 127, SALT, "HEADRACE_ENC_KEY_SECRET"),
        ("5a " * 85 + "5", SALT, "HEADRACE_ENC_KEY_SECRET"),
        (SECRET, "a5" * 31, "HEADRACE_ENC_KEY_SALT"),
    ],
)
def test_a_malformed_key_is_refused_without_being_shown(secret: str, salt: str, named: str) -> None:
    with pytest.raises(CipherRefused, match=named) as caught:
        Cipher.derive(secret, salt)
    assert "5a5a" not in caught.value.message
