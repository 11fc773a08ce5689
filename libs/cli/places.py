"""Where the command line finds a system, and where it keeps its sessions."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from libs.cli.errors import LOGGED_OUT, UNREACHABLE, USAGE, CommandFailed

HOME_USUAL = ".headrace"
COOKIE = "sid"
NO_SYSTEM = (
    "no system found: start one with `headrace up`, or name one with --url or HEADRACE_URL "
    "({url_file} does not exist)"
)


class Places:
    """The files and variables of one call, read from its environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.home = Path(environ.get("HEADRACE_HOME") or HOME_USUAL)
        config = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config"
        self.sessions_file = Path(config) / "headrace" / "sessions.json"

    def url(self, given: str | None) -> str:
        """Return the system's URL: as given, HEADRACE_URL, the local system's, or that of the last login.

        Raises CommandFailed when none of them is there, or it is no HTTP URL.
        """
        url = given or self._environ.get("HEADRACE_URL") or self.local_url() or self._last_url()
        if not url:
            raise CommandFailed(NO_SYSTEM.format(url_file=self.home / "run" / "url"), UNREACHABLE)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CommandFailed(f"not a URL of a system: {url} (expected http://host:port)", USAGE)
        return url.rstrip("/")

    def local_url(self) -> str:
        """Return the URL of the system that runs in HEADRACE_HOME, empty when none does."""
        file = self.home / "run" / "url"
        return file.read_text().strip() if file.exists() else ""

    def local_secret(self, name: str) -> str:
        """Return a secret of the local system, empty when it keeps none of this name."""
        return str(_read(self.home / "secrets.json").get(name, ""))

    def nats_url(self) -> str:
        """Return the URL of the bus: HEADRACE_NATS_URL, or the local system's. Raises CommandFailed without one."""
        env_file = self.home / "run" / "env.json"
        name = "HEADRACE_NATS_URL"
        url = self._environ.get(name) or str(_read(env_file).get(name, ""))
        if not url:
            raise CommandFailed(
                f"{name} is not set, and no system runs here ({env_file} does not exist): "
                "start one with `headrace up`",
                UNREACHABLE,
            )
        return url

    def session(self, url: str) -> str:
        """Return the secret of the session at this URL. Raises CommandFailed when nobody has logged in."""
        kept = _read(self.sessions_file).get("sessions", {}).get(url)
        if not kept:
            raise CommandFailed(
                f"not logged in at {url}: run `headrace login`, or set HEADRACE_API_KEY", LOGGED_OUT
            )
        return str(kept)

    def credential(self, url: str) -> dict[str, str]:
        """Return the header that tells who calls: the API key of HEADRACE_API_KEY, or the session at this URL.

        Raises as `session`.
        """
        key = self._environ.get("HEADRACE_API_KEY")
        return {"Authorization": f"Bearer {key}"} if key else {"Cookie": f"{COOKIE}={self.session(url)}"}

    def keep_session(self, url: str, secret: str) -> None:
        """Write a session down where only its owner may read it; its URL becomes that of the last login."""
        kept = _read(self.sessions_file)
        self._write({"last": url, "sessions": {**kept.get("sessions", {}), url: secret}})

    def drop_session(self, url: str) -> None:
        """Forget the session at this URL."""
        kept = _read(self.sessions_file)
        sessions = {known: secret for known, secret in kept.get("sessions", {}).items() if known != url}
        self._write({"last": kept.get("last", ""), "sessions": sessions})

    def _last_url(self) -> str:
        return str(_read(self.sessions_file).get("last", ""))

    def _write(self, content: dict[str, Any]) -> None:
        file = self.sessions_file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(content, opened, indent=2)
            opened.write("\n")
        fresh.replace(file)


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CommandFailed(f"{file} cannot be read: it holds no object")
    return content
