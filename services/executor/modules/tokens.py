"""JSON Web Tokens, signed and checked (RFC 7515, RFC 7519); the time is the step's own."""

import binascii
from base64 import b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import Annotated, Any, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from jwt.algorithms import ECAlgorithm, get_default_algorithms
from jwt.utils import der_to_raw_signature
from msgspec import Meta, Struct

from services.executor.modules.contract import Module, ModuleFailed, PureModule, Step

KEYS_CACHED_MAX = 64  # reading an RSA key takes far longer than signing with it
KEY_CHARS_MAX = 4096  # room for RSA of 4096 bits; a longer key would take seconds to read
EXPIRES_IN_S_MAX = 10 * 365 * 24 * 3600
LEEWAY_S_MAX = 3600

_ALGORITHMS = get_default_algorithms()

# PS256 draws a random number for each signature, so a pure module offers it for checking only. ES256 need not.
SignAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"
]
VerifyAlgorithm = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]


class JwtSignArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `jwt-sign`."""

    claims: Annotated[
        dict[str, Any], Meta(description="What the token says; `iat` is added unless it is there.")
    ]
    key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=KEY_CHARS_MAX,
            description="The shared secret, or the private key in PEM.",
        ),
    ]
    algorithm: Annotated[SignAlgorithm, Meta(description="How it is signed.")] = "HS256"
    expires_in: Annotated[
        Annotated[int, Meta(ge=1, le=EXPIRES_IN_S_MAX)] | None,
        Meta(description="Seconds until it expires; left out: no `exp`."),
    ] = None
    header: Annotated[dict[str, Any], Meta(description="Further header fields, such as `kid`.")] = {}


class JwtSign(PureModule[JwtSignArgs]):
    """A signed token."""

    app_id = "jwt-sign"
    docs = "Signs claims as a JSON Web Token. Times come from the step's own time, so a repeat gives the same token."
    Args = JwtSignArgs
    shown_args = frozenset({"claims", "header"})
    args_example = {
        "claims": {"sub": "42", "iat": 1767225600},
        "key": "a secret of thirty-two characters",
        "expiresIn": 3600,
    }
    out_example = {
        "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImlhdCI6MTc2NzIyNTYwMCwiZXhwIjoxNzY3MjI5MjAwfQ"
        ".hETWpg4dks_BHshz-_vziCrfh9Pep3LSB1MrtS25-7Y"
    }

    def evaluate(self, args: JwtSignArgs, step: Step) -> dict[str, str]:
        """Return the token. Raises ModuleFailed when the key does not fit the algorithm."""
        issued_s = args.claims.get("iat", int(step.now.timestamp()))
        claims = {**args.claims, "iat": issued_s}
        if args.expires_in is not None:
            if not isinstance(issued_s, int):
                raise ModuleFailed("jwt-sign: the claim iat is not a whole number of seconds", final=True)
            claims["exp"] = issued_s + args.expires_in
        header = {**args.header, "alg": args.algorithm, "typ": args.header.get("typ", "JWT")}
        signed = f"{_part(header)}.{_part(claims)}"
        signature = _signature(signed.encode(), args)
        return {"token": f"{signed}.{_unpadded(signature)}"}


def _signature(signed: bytes, args: JwtSignArgs) -> bytes:
    key, algorithm = _key("jwt-sign", args.algorithm, args.key), _ALGORITHMS[args.algorithm]
    if not isinstance(key, bytes) and not hasattr(key, "sign"):
        raise ModuleFailed(f"jwt-sign: {args.algorithm} signs with a private key", final=True)
    if isinstance(key, EllipticCurvePrivateKey):
        assert isinstance(algorithm, ECAlgorithm)
        # The same message and key give the same signature (RFC 6979).
        der = key.sign(signed, ECDSA(algorithm.hash_alg(), deterministic_signing=True))
        return der_to_raw_signature(der, key.curve)
    return algorithm.sign(signed, key)


class JwtVerifyArgs(Struct, frozen=True, kw_only=True):
    """Args of `jwt-verify`."""

    token: Annotated[str, Meta(description="The token, with or without `Bearer ` before it.")]
    key: Annotated[
        str,
        Meta(
            min_length=1, max_length=KEY_CHARS_MAX, description="The shared secret, or the public key in PEM."
        ),
    ]
    algorithm: Annotated[VerifyAlgorithm, Meta(description="The only algorithm that is accepted.")] = "HS256"
    audience: Annotated[str | None, Meta(description="What `aud` must be or contain.")] = None
    issuer: Annotated[str | None, Meta(description="What `iss` must be.")] = None
    leeway: Annotated[int, Meta(ge=0, le=LEEWAY_S_MAX, description="Seconds that clocks may differ.")] = 0


class JwtVerify(PureModule[JwtVerifyArgs]):
    """A token's claims, if it holds."""

    app_id = "jwt-verify"
    docs = (
        "Checks a JSON Web Token: signature, `exp`, `nbf`, and audience and issuer when they are given. A token that "
        "does not hold is no failure: `valid` is false, `claims` is empty and `error` says why; filter on "
        "`$prev.<ref>.valid`."
    )
    Args = JwtVerifyArgs
    shown_args = frozenset({"token"})
    args_example = {
        "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImlhdCI6MTc2NzIyNTYwMH0"
        ".io6nRUShUAI805q30YPRjFZjP_aGM7CpQ-RLbfKPXUQ",
        "key": "a secret of thirty-two characters",
    }
    out_example = {"valid": True, "claims": {"sub": "42", "iat": 1767225600}, "error": ""}

    def evaluate(self, args: JwtVerifyArgs, step: Step) -> dict[str, Any]:
        """Return whether the token holds, and its claims. Raises ModuleFailed when the key is no key."""
        key = _key("jwt-verify", args.algorithm, args.key)
        try:
            claims = _signed_claims(args, key)
            _demand_current(claims, step.now.timestamp(), args.leeway)
            _demand_addressed(claims, args)
        except _Objection as objection:
            return {"valid": False, "claims": {}, "error": str(objection)}
        return {"valid": True, "claims": claims, "error": ""}


class _Objection(Exception):
    """Why a token does not hold."""


def _signed_claims(args: JwtVerifyArgs, key: Any) -> dict[str, Any]:
    parts = args.token.strip().removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        raise _Objection("the token has not three parts")
    header, claims = _object(parts[0], "header"), _object(parts[1], "claims")
    if header.get("alg") != args.algorithm:
        raise _Objection(f"the token is not signed with {args.algorithm}")
    if "crit" in header:
        raise _Objection("the token demands extensions that are not known")  # RFC 7515 section 4.1.11
    if not _ALGORITHMS[args.algorithm].verify(
        f"{parts[0]}.{parts[1]}".encode(), key, _bytes(parts[2], "signature")
    ):
        raise _Objection("the signature does not hold")
    return claims


def _demand_current(claims: dict[str, Any], now_s: float, leeway_s: int) -> None:
    for name in ("exp", "nbf"):
        value = claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _Objection(f"the claim {name} is no number")
    if claims.get("exp") is not None and now_s >= claims["exp"] + leeway_s:
        raise _Objection("the token has expired")
    if claims.get("nbf") is not None and now_s < claims["nbf"] - leeway_s:
        raise _Objection("the token is not valid yet")


def _demand_addressed(claims: dict[str, Any], args: JwtVerifyArgs) -> None:
    audience = claims.get("aud")
    if args.audience is not None and args.audience not in (
        audience if isinstance(audience, list) else [audience]
    ):
        raise _Objection("the token is for another audience")
    if args.issuer is not None and claims.get("iss") != args.issuer:
        raise _Objection("the token is from another issuer")


@lru_cache(maxsize=KEYS_CACHED_MAX)
def _key(app_id: str, algorithm: str, key: str) -> Any:
    try:
        return _ALGORITHMS[algorithm].prepare_key(key)
    except (jwt.InvalidKeyError, ValueError, TypeError) as error:
        raise ModuleFailed(f"{app_id}: the key does not fit {algorithm}", final=True) from error


def _part(value: dict[str, Any]) -> str:
    return _unpadded(msgspec.json.encode(value))


def _unpadded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_bytes(part, name), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Objection(f"the token's {name} cannot be read") from error


def _bytes(part: str, name: str) -> bytes:
    try:
        return b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Objection(f"the token's {name} cannot be read") from error


MODULES: tuple[type[Module[Any]], ...] = (JwtSign, JwtVerify)
