"""Encodings, regular expressions, digests, encryption and tokens."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.executor.modules.contract import EffectModule
from services.executor.modules.text import MATCHES_MAX
from tests.fixtures.modules import MODULES, NOW, a_step, decoded, evaluated, failure

KEY_128 = "000102030405060708090a0b0c0d0e0f"
SECRET = "a secret of thirty-two characters"


@pytest.mark.parametrize("app_id", ["base64", "url"])
@pytest.mark.parametrize("text", ["", "hello", "ünïcode ✓ & = + %", "\x00\n"])
def test_decoding_gives_back_what_was_encoded(app_id: str, text: str) -> None:
    there = evaluated(f"{app_id}-encode", {"input": text})["result"]
    assert evaluated(f"{app_id}-decode", {"input": there})["result"] == text


@pytest.mark.parametrize("text", ["w7_Dvg==", "w7_Dvg", "w7/Dvg==", " w7/D\nvg "])
def test_base64_of_either_alphabet_is_read(text: str) -> None:
    assert evaluated("base64-decode", {"input": text}) == {"result": "ÿþ"}


@pytest.mark.parametrize(
    ("app_id", "text"),
    [
        ("base64-decode", "a"),
        ("base64-decode", "a*b="),
        ("base64-decode", "_w"),
        ("url-decode", "%zz"),
        ("url-decode", "%ff"),
    ],
)
def test_text_that_was_never_encoded_fails_for_good(app_id: str, text: str) -> None:
    assert failure(app_id, {"input": text}).final


@pytest.mark.parametrize(
    ("operation", "pattern", "out"),
    [
        ("match", "[0-9]", {"matched": True, "found": True}),
        ("match", "^b", {"matched": False, "found": False}),
        ("find", "(b)(x)?([0-9])", {"match": "b2", "groups": ["b", None, "2"], "found": True}),
        ("find", "z", {"match": None, "groups": [], "found": False}),
        ("findAll", "[a-z]", {"matches": ["a", "b", "c"], "found": True, "count": 3}),
        ("findAll", "z", {"matches": [], "found": False, "count": 0}),
        ("split", "[0-9]", {"parts": ["a", "b", "c", ""], "count": 4}),
        ("split", "z", {"parts": ["a1b2c3"], "count": 1}),
        ("split", "", {"parts": ["a", "1", "b", "2", "c", "3"], "count": 6}),
    ],
)
def test_a_pattern_is_applied(operation: str, pattern: str, out: dict[str, Any]) -> None:
    assert evaluated("regex", {"input": "a1b2c3", "pattern": pattern, "operation": operation}) == out


@pytest.mark.parametrize(
    ("replacement", "result"),
    [
        ("", " and "),
        ("$2-$1", "x-ä and z-y"),
        ("${last}!", "x! and z!"),
        ("$$1", "$1 and $1"),
        ("$1s$9", "äs and ys"),
        ("\\1", "\\1 and \\1"),
    ],
)
def test_a_replacement_names_groups_as_go_does(replacement: str, result: str) -> None:
    args = {
        "input": "äx and yz",
        "pattern": "(ä|y)(?P<last>x|z)",
        "operation": "replace",
        "replacement": replacement,
    }
    assert evaluated("regex", args) == {"result": result, "found": True}


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"pattern": "("}, "not a valid regular expression"),
        ({"pattern": "(?=a)"}, "not a valid regular expression"),
        ({"pattern": "", "operation": "findAll", "input": "x" * MATCHES_MAX}, "more than 100,000 matches"),
        (
            {"pattern": "x", "operation": "replace", "input": "x" * 9000, "replacement": "y" * 9000},
            "larger than",
        ),
    ],
)
def test_a_pattern_that_is_none_or_finds_too_much_fails_for_good(args: dict[str, str], reason: str) -> None:
    failed = failure("regex", {"input": "x", **args})
    assert failed.final
    assert reason in failed.message


def test_a_pattern_that_would_take_others_for_ever_takes_no_time() -> None:
    args = {"input": "a" * 5000, "pattern": "(a*)*(a*)*(a*)*b"}
    assert evaluated("regex", args) == {"matched": False, "found": False}


@pytest.mark.parametrize(
    ("algorithm", "start"),
    [
        ("md5", "900150983cd24fb0"),
        ("sha1", "a9993e364706816a"),
        ("sha384", "cb00753f45a35e8b"),
        ("sha512", "ddaf35a193617aba"),
        ("sha3-256", "3a985da74fe225b2"),
        ("sha3-512", "b751850b1a57168a"),
        ("blake2b", "ba80a53f981c4d0d"),
    ],
)
def test_a_digest_is_the_published_one(algorithm: str, start: str) -> None:
    assert evaluated("hash", {"input": "abc", "algorithm": algorithm})["result"].startswith(start)


def test_a_digest_may_be_base64() -> None:
    assert (
        evaluated("hash", {"input": "abc", "algorithm": "md5", "encoding": "base64"})["result"]
        == "kAFQmDzST7DWlj99KOF/cg=="
    )


@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_a_signature_is_checked_and_never_shown(prefix: str) -> None:
    signature = evaluated("hmac", {"input": "body", "key": SECRET})["result"].upper().replace("SHA", "sha")
    assert evaluated("hmac", {"input": "body", "key": SECRET, "expected": prefix + signature}) == {
        "valid": True
    }
    assert evaluated("hmac", {"input": "other", "key": SECRET, "expected": prefix + signature}) == {
        "valid": False
    }


@pytest.mark.parametrize("expected", ["", "ü", "sha256="])
def test_a_signature_that_is_none_is_not_valid(expected: str) -> None:
    assert evaluated("hmac", {"input": "body", "key": SECRET, "expected": expected}) == {"valid": False}


def encrypted(**args: str) -> str:
    module = MODULES.get("aes-gcm-encrypt")
    assert isinstance(module, EffectModule)
    # The services are for modules that call others; this one only draws a nonce.
    run: Any = module.run
    return str(asyncio.run(run(decoded("aes-gcm-encrypt", args), a_step(), None))["result"])


@pytest.mark.parametrize(
    "key",
    [("hex", KEY_128), ("base64", "AAECAwQFBgcICQoLDA0ODw=="), ("utf8", "thirty-two characters of a key!!")],
)
def test_only_the_same_key_and_context_open_what_was_encrypted(key: tuple[str, str]) -> None:
    args = {"keyEncoding": key[0], "key": key[1], "context": "order 7"}
    sealed = encrypted(input="geheim ✓", **args)
    assert evaluated("aes-gcm-decrypt", {**args, "input": sealed}) == {"result": "geheim ✓"}
    assert failure("aes-gcm-decrypt", {**args, "input": sealed, "context": "order 8"}).final
    changed = ("B" if sealed[0] == "A" else "A") + sealed[1:]
    assert failure("aes-gcm-decrypt", {**args, "input": changed}).final


def test_the_same_text_is_never_encrypted_alike() -> None:
    args = {"input": "x", "key": KEY_128, "keyEncoding": "hex"}
    assert encrypted(**args) != encrypted(**args)


@pytest.mark.parametrize(
    ("key", "encoding", "sentence"),
    [
        ("5ec4e7", "hex", "the key has 3 bytes; AES takes 16, 24 or 32"),
        ("secret", "hex", "arg key is not hex"),
        ("secret", "base64", "arg key is not base64"),
    ],
)
def test_a_key_that_is_none_fails_without_being_shown(key: str, encoding: str, sentence: str) -> None:
    failed = failure("aes-gcm-decrypt", {"input": "AAAA", "key": key, "keyEncoding": encoding})
    assert (failed.message, failed.final) == (f"aes-gcm-decrypt: {sentence}", True)


def pem_pair(key: Any) -> tuple[str, str]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def verified(token: str, **args: Any) -> dict[str, Any]:
    out: dict[str, Any] = evaluated("jwt-verify", {"token": token, "key": SECRET, **args})
    return out


def signed(claims: dict[str, Any], **args: Any) -> str:
    return str(evaluated("jwt-sign", {"claims": claims, "key": SECRET, **args})["token"])


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_that_was_signed_holds(algorithm: str) -> None:
    token = signed({"sub": "42", "iat": 1}, algorithm=algorithm, header={"kid": "k"})
    assert verified(f"Bearer {token}", algorithm=algorithm) == {
        "valid": True,
        "claims": {"sub": "42", "iat": 1},
        "error": "",
    }


def test_a_token_takes_its_times_from_the_step() -> None:
    claims = verified(signed({}, expiresIn=60))["claims"]
    now = int(NOW.timestamp())
    assert claims == {"iat": now, "exp": now + 60}


def test_a_token_may_be_signed_with_a_pair_of_keys() -> None:
    private, public = pem_pair(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    token = signed({"a": 1, "iat": 1}, key=private, algorithm="RS256")
    assert verified(token, key=public, algorithm="RS256")["valid"]
    # A public key must never serve as a shared secret.
    assert failure("jwt-verify", {"token": token, "key": public, "algorithm": "HS256"}).final


@pytest.mark.parametrize(
    ("claims", "args", "error"),
    [
        ({"exp": NOW.timestamp()}, {}, "the token has expired"),
        ({"nbf": NOW.timestamp() + 1}, {}, "the token is not valid yet"),
        ({"exp": "soon"}, {}, "the claim exp is no number"),
        ({"aud": "a"}, {"audience": "b"}, "the token is for another audience"),
        ({}, {"audience": "b"}, "the token is for another audience"),
        ({"iss": "a"}, {"issuer": "b"}, "the token is from another issuer"),
        ({}, {"algorithm": "HS512"}, "the token is not signed with HS512"),
        ({}, {"key": "another secret"}, "the signature does not hold"),
    ],
)
def test_a_token_that_does_not_hold_says_why(
    claims: dict[str, Any], args: dict[str, Any], error: str
) -> None:
    assert verified(signed(claims), **args) == {"valid": False, "claims": {}, "error": error}


@pytest.mark.parametrize(
    ("claims", "args"),
    [
        ({"exp": NOW.timestamp()}, {"leeway": 1}),
        ({"nbf": NOW.timestamp()}, {}),
        ({"aud": ["a", "b"]}, {"audience": "b"}),
        ({"aud": "b"}, {"audience": "b"}),
    ],
)
def test_a_token_holds_within_its_bounds(claims: dict[str, Any], args: dict[str, Any]) -> None:
    assert verified(signed(claims), **args)["valid"]


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "*.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_does_not_hold(token: str) -> None:
    assert verified(token)["valid"] is False


def test_a_token_with_unknown_demands_does_not_hold() -> None:
    assert (
        verified(signed({}, header={"crit": ["x"]}))["error"]
        == "the token demands extensions that are not known"
    )


def test_a_key_of_another_kind_fails_for_good() -> None:
    private, _ = pem_pair(ec.generate_private_key(ec.SECP256R1()))
    assert failure("jwt-sign", {"claims": {}, "key": private, "algorithm": "RS256"}).final
    assert failure("jwt-sign", {"claims": {}, "key": "no key", "algorithm": "RS256"}).final
