"""What each service is told. A secret goes to those that need it and to nobody else."""

from collections.abc import Mapping

from deploy.local import secrets

POSTGRES_DSN = "HEADRACE_POSTGRES_DSN"
SERVICES = ("store", "gateway", "executor", "scheduler")
NEEDS = {
    # The store keeps what people define, so it alone opens the database, encrypts and issues keys.
    "store": (
        POSTGRES_DSN,
        secrets.ADMIN_EMAIL,
        secrets.ADMIN_PASSWORD,
        secrets.ENC_KEY_SECRET,
        secrets.ENC_KEY_SALT,
        secrets.JWT_SECRET,
        secrets.MCP_JWT_SECRET,
    ),
    # The gateway verifies keys.
    "gateway": (
        secrets.JWT_SECRET,
        secrets.MCP_JWT_SECRET,
        # Channels check callers against tokens that are stored encrypted.
        secrets.ENC_KEY_SECRET,
        secrets.ENC_KEY_SALT,
    ),
    "executor": (),
    "scheduler": (),
}


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that carries no secret of ours."""
    hidden = secrets.names() | {POSTGRES_DSN}
    return {name: value for name, value in environ.items() if name not in hidden}


def of_service(service: str, shared: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one service: what all are told, and of `values` what it needs."""
    return {**shared, **{name: values[name] for name in NEEDS[service]}}
