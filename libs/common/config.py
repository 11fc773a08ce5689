"""Configuration: a struct that the environment fills; a mistake stops the start with a sentence."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

PREFIX = "HEADRACE"
# What flow8 documents for the same thing (spec flow8 section 21), accepted where ours is not set.
ALIASES = {
    "HEADRACE_PORT": ("SERVER_PORT",),
    "HEADRACE_JWT_SECRET": ("EXTERNAL_JWT_SECRET",),
    "HEADRACE_MCP_JWT_SECRET": ("MCP_JWT_SECRET",),
    "HEADRACE_ENC_KEY_SECRET": ("ENC_KEY_SECRET",),
    "HEADRACE_ENC_KEY_SALT": ("ENV_KEY_SALT",),
    "HEADRACE_SESSION_COOKIE_SECURE": ("SESSION_COOKIE_SECURE",),
    "HEADRACE_SESSION_TTL_HOURS": ("SESSION_TTL_HOURS",),
    "HEADRACE_COOKIE_DOMAIN": ("COOKIE_DOMAIN",),
    "HEADRACE_ALLOWED_ORIGINS": ("ALLOWED_ORIGINS",),
    "HEADRACE_LOG_LEVEL": ("LOG_LEVEL",),
    "HEADRACE_OTLP_ENDPOINT": ("OTEL_EXPORTER_OTLP_ENDPOINT",),
    "HEADRACE_CHANNEL_PORTS": ("CHANNEL_PORT_RANGE",),
}

S = TypeVar("S", bound=msgspec.Struct)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a service needs to know before it starts. Each field is `HEADRACE_<NAME>`."""

    home: str = ".headrace"
    instance: str = "service-0"
    nats_url: str = "nats://127.0.0.1:4222"
    postgres_dsn: str = ""
    host: str = "127.0.0.1"
    port: int = 4454
    ops_port: int = 0
    reuse_port: bool = False
    shards: int = 1
    shards_change_allowed: bool = False
    replicas: int = 1
    durability: Literal["strict", "relaxed"] = "strict"
    log_days: float = 30
    log_level: Literal["debug", "info", "warn", "warning", "error"] = "info"
    ack_wait_s: float = 10.0
    drive_slots: int = 512
    control_slots: int = 64
    company_plays_max: int = 0
    body_bytes_max: int = 1_048_576
    payload_inline_bytes_max: int = 262_144
    output_bytes_max: int = 16_777_216
    admin_email: str = ""
    admin_password: str = ""
    company_name: str = "Headrace"
    jwt_secret: str = ""
    mcp_jwt_secret: str = ""
    enc_key_secret: str = ""
    enc_key_salt: str = ""
    session_cookie_secure: bool = False
    session_ttl_hours: float = 1.0
    cookie_domain: str = ""
    allowed_origins: str = ""
    channel_ports: str = "7701-7799"
    channel_host: str = "127.0.0.1"
    mcp_port: int = 4445
    outbound_allow: str = ""
    storage_root: str = ""
    storage_file_bytes_max: int = 104_857_600
    storage_company_bytes_max: int = 10_737_418_240
    jobs_auth: Literal["loopback", "required", "open"] = "loopback"
    registration: Literal["open", "closed"] = "open"
    access_token_s: int = 3_600
    refresh_token_days: float = 30.0
    sign_in_failures_account_max: int = 10
    sign_in_failures_address_max: int = 60
    sign_in_window_s: float = 600.0
    hub_file: str = ""
    public_url: str = ""
    otlp_endpoint: str = ""

    @property
    def home_path(self) -> Path:
        """Return the data directory as an absolute path."""
        return Path(self.home).absolute()

    @property
    def storage_path(self) -> Path:
        """Return where the files of flows are, as an absolute path."""
        return Path(self.storage_root).absolute() if self.storage_root else self.home_path / "storage"

    @property
    def base_url(self) -> str:
        """Return where people reach the gateway, without a slash at its end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def from_env(struct: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Fill a configuration struct from `HEADRACE_*`, or from a documented alias.

    Raises SystemExit with a sentence that names the variable when a value does not fit its type.
    """
    environ = os.environ if environ is None else environ
    given: dict[str, str] = {}
    for field in msgspec.structs.fields(struct):
        variable = f"{PREFIX}_{field.name}".upper()
        for name in (variable, *ALIASES.get(variable, ())):
            if environ.get(name, "") != "":
                given[field.name] = environ[name]
                break
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`").upper()
        raise SystemExit(f"configuration: {PREFIX}_{name}: {error}") from error
