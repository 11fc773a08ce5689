"""What the operator says of this installation: the hub file, YAML or JSON (spec flow-like section 3)."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import yaml

from libs.common.config import Config
from libs.common.errors import Invalid

HUB_FILE_BYTES_MAX = 1_048_576
UNLIMITED = -1
# When the template that ships was written.
SHIPPED_AT = datetime(2026, 11, 22, tzinfo=UTC)

Environment = Literal["Development", "Staging", "Production"]


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask about this installation."""

    name: str = "The operator of this installation"
    email: str = ""
    url: str = ""


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """What a user of one plan may have; -1 is as much as they like."""

    max_non_visible_projects: int = UNLIMITED
    max_remote_executions: int = UNLIMITED
    execution_tier: str = "standard"
    max_total_size: int = UNLIMITED
    max_llm_cost: int = UNLIMITED
    max_llm_calls: int = UNLIMITED
    llm_tiers: tuple[str, ...] = ()
    product_id: str | None = None


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """Which fields of a user others may see."""

    email: bool = False
    name: bool = True
    username: bool = True
    preferred_username: bool = True
    avatar: bool = True
    additional_information: bool = False
    description: bool = True
    created_at: bool = False


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an editor draws wires."""

    connection_mode: Literal["default", "straight", "step", "smoothstep", "simplebezier"] = "default"


class ProfileTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What a new profile may begin as."""

    id: str
    name: str
    description: str | None = None
    icon: str | None = None
    thumbnail: str | None = None
    interests: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    hub: str = ""
    secure: bool = True
    hubs: tuple[str, ...] = ()
    apps: tuple[Any, ...] | None = None
    shortcuts: tuple[Any, ...] | None = None
    theme: dict[str, Any] | None = None
    bits: tuple[str, ...] = ()
    settings: ProfileSettings = ProfileSettings()
    updated: datetime = SHIPPED_AT
    created: datetime = SHIPPED_AT


class OAuthProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may vouch for users: an OpenID `issuer`, or the addresses of an OAuth 2 server (override 6).

    The secret stands here or, better, in the environment variable that `client_secret_env` names.
    """

    client_id: str
    name: str = ""
    client_secret: str = ""
    client_secret_env: str = ""
    issuer: str = ""
    auth_url: str = ""
    token_url: str = ""
    userinfo_url: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")


class HubFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file, each field with a default that works."""

    name: str = "Headrace"
    description: str = "Workflows as event streams."
    thumbnail: str | None = None
    icon: str | None = None
    domain: str = ""
    region: str | None = None
    environment: Environment = "Development"
    provider: str | None = None
    terms_of_service: str = "The operator of this installation has published no terms of service."
    legal_notice: str = "The operator of this installation has published no legal notice."
    privacy_policy: str = "The operator of this installation has published no privacy policy."
    contact: Contact = Contact()
    unauthorized_read: bool = True
    store_review: bool = False
    hubs: tuple[str, ...] = ()
    signaling: tuple[str, ...] | None = None
    cdn: str | None = None
    app: str | None = None
    web: str | None = None
    max_users_prototype: int | None = None
    default_user_plan: str = "FREE"
    tiers: dict[str, Tier] = msgspec.field(default_factory=lambda: {"FREE": Tier()})
    lookup: Lookup = Lookup()
    oauth_providers: dict[str, OAuthProvider] = {}
    oauth_redirects: tuple[str, ...] = ()
    profiles: tuple[ProfileTemplate, ...] = (
        ProfileTemplate(id="default", name="Default Profile", description="What every user begins with."),
    )


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What this server can do."""

    model_hosting: bool = False
    flow_hosting: bool = True
    governance: bool = False
    ai_act: bool = False
    unauthorized_read: bool = True
    admin_interface: bool = False
    premium: bool = False
    wasm_registry: bool = False


class Hub:
    """This installation, as its file and environment describe it."""

    def __init__(self, file: HubFile, config: Config) -> None:
        self.file = file
        self.base_url = config.base_url
        self.domain = file.domain or urlsplit(self.base_url).netloc
        self.secure = self.base_url.startswith("https:")
        # Not what somebody wishes for, but what is there: publications are reviewed, or they are not.
        self.features = Features(governance=file.store_review, unauthorized_read=file.unauthorized_read)

    @property
    def profiles(self) -> tuple[ProfileTemplate, ...]:
        """Return the templates, each with the hub that it belongs to."""
        return tuple(
            msgspec.structs.replace(
                profile,
                hub=profile.hub or self.domain,
                hubs=profile.hubs or (self.domain,),
                secure=self.secure,
            )
            for profile in self.file.profiles
        )


def load(config: Config) -> Hub:
    """Read the hub file, if one is named. Raises Invalid with a sentence that names the file and the field."""
    return Hub(_read(Path(config.hub_file)) if config.hub_file else HubFile(), config)


def _read(path: Path) -> HubFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Invalid(f"HEADRACE_HUB_FILE: {path} cannot be read: {error.strerror}") from error
    if len(data) > HUB_FILE_BYTES_MAX:
        raise Invalid(f"HEADRACE_HUB_FILE: {path} is larger than {HUB_FILE_BYTES_MAX} bytes")
    try:
        content = yaml.safe_load(data)
        file = msgspec.convert({} if content is None else content, HubFile)
    except yaml.YAMLError as error:
        raise Invalid(f"HEADRACE_HUB_FILE: {path} is neither YAML nor JSON: {error}") from error
    except msgspec.ValidationError as error:
        raise Invalid(f"HEADRACE_HUB_FILE: {path}: {error}") from error
    for field in ("legal_notice", "privacy_policy", "terms_of_service", "name"):
        if not getattr(file, field).strip():
            raise Invalid(f"HEADRACE_HUB_FILE: {path}: {field} must not be empty")
    return file
