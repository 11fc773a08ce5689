"""The secrets of one embedded system: taken from the environment, else made once and kept in secrets.json."""

import secrets
import sys
from collections.abc import Callable, Mapping

from deploy.local.home import Home, read_secret_json, write_secret_json

ADMIN_EMAIL = "HEADRACE_ADMIN_EMAIL"
ADMIN_PASSWORD = "HEADRACE_ADMIN_PASSWORD"  # noqa: S105  # the name of a variable, not a password
ENC_KEY_SECRET = "HEADRACE_ENC_KEY_SECRET"  # noqa: S105
ENC_KEY_SALT = "HEADRACE_ENC_KEY_SALT"
JWT_SECRET = "HEADRACE_JWT_SECRET"  # noqa: S105
MCP_JWT_SECRET = "HEADRACE_MCP_JWT_SECRET"  # noqa: S105
POSTGRES_PASSWORD = "HEADRACE_POSTGRES_PASSWORD"  # noqa: S105

# The names that flow8 documents for the same values (spec flow8, environment).
ALIASES = {
    ENC_KEY_SECRET: ("ENC_KEY_SECRET",),
    ENC_KEY_SALT: ("ENV_KEY_SALT", "ENC_KEY_SALT"),
    JWT_SECRET: ("EXTERNAL_JWT_SECRET",),
    MCP_JWT_SECRET: ("MCP_JWT_SECRET",),
}
MADE: dict[str, Callable[[], str]] = {
    ADMIN_EMAIL: lambda: "admin@headrace.local",
    ADMIN_PASSWORD: lambda: secrets.token_urlsafe(15),
    ENC_KEY_SECRET: lambda: secrets.token_hex(128),
    ENC_KEY_SALT: lambda: secrets.token_hex(32),
    JWT_SECRET: lambda: secrets.token_hex(32),
    MCP_JWT_SECRET: lambda: secrets.token_hex(32),
    POSTGRES_PASSWORD: lambda: secrets.token_urlsafe(24),
}


def load(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """Return every secret by its variable name, and say on stderr where the admin's password is.

    A value from the environment is used and not written down; a made one is kept, so that the next start has it.
    """
    given = {name: value for name in MADE if (value := _from_environment(name, environ))}
    kept = read_secret_json(home.secrets)
    made = {name: make() for name, make in MADE.items() if name not in given and name not in kept}
    if made:
        write_secret_json(home.secrets, {**kept, **made})
    all_secrets: dict[str, str] = {**kept, **made, **given}
    if ADMIN_PASSWORD in made:
        print(
            f"admin login: {all_secrets[ADMIN_EMAIL]}  password: {made[ADMIN_PASSWORD]}  (kept in {home.secrets})",
            file=sys.stderr,
        )
    elif ADMIN_PASSWORD not in given:
        print(f"admin login: {all_secrets[ADMIN_EMAIL]}  password: see {home.secrets}", file=sys.stderr)
    return all_secrets


def names() -> set[str]:
    """Return every variable that carries a secret, with its aliases."""
    return set(MADE) | {alias for aliases in ALIASES.values() for alias in aliases}


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    return next((environ[known] for known in (name, *ALIASES.get(name, ())) if environ.get(known)), "")
