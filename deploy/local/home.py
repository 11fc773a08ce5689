"""The folder that holds everything of one embedded system: data, logs, secrets, and who runs right now."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.errors import HomeBusy

TAIL_BYTES_MAX = 64 * 1024


class Home:
    """Paths under HEADRACE_HOME, and the small files in them."""

    def __init__(self, root: Path) -> None:
        """Make the folder and its folders where they are missing."""
        self.root = root.absolute()
        self.run = self.root / "run"
        self.logs = self.root / "log"
        self.nats = self.root / "nats"
        self.postgres = self.root / "postgres"
        self.secrets = self.root / "secrets.json"
        self.env = self.run / "env.json"
        # PostgreSQL may run as another user and must pass through to its data; the rest is nobody else's to read.
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.run, self.logs, self.nats):
            folder.mkdir(mode=0o700, exist_ok=True)

    def pid_file(self, name: str) -> Path:
        """Return where the process id of a child stands while it lives."""
        return self.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        """Return the file a child writes to."""
        return self.logs / f"{name}.log"

    def log_bytes(self, name: str) -> int:
        """Return how much a child has written."""
        path = self.log(name)
        return path.stat().st_size if path.exists() else 0

    def log_tail(self, name: str, lines: int, *, after_bytes: int = 0) -> list[str]:
        """Return the last lines a child wrote, of those beyond a position."""
        written = self.log_bytes(name)
        if written == 0:
            return []
        with self.log(name).open("rb") as file:
            # A log that was cut since is read from its new beginning.
            file.seek(max(after_bytes if after_bytes <= written else 0, written - TAIL_BYTES_MAX))
            return file.read().decode(errors="replace").splitlines()[-lines:]

    def write_run(self, name: str, text: str) -> None:
        """Write a file of `run/` in one step: a reader sees the old one or the new one."""
        fresh = self.run / f".{name}.new"
        fresh.write_text(text + "\n")
        fresh.replace(self.run / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home against a second `up`. Raises HomeBusy when it is taken."""
        with (self.run / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise HomeBusy(
                    f"`headrace up` already runs on {self.root} (pid {file.read().strip() or 'unknown'}). "
                    "Stop it, or give this one another home: HEADRACE_HOME=/some/folder headrace up"
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield


def read_secret_json(path: Path) -> dict[str, Any]:
    """Return the object in a file, or an empty one."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write_secret_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object that only the owner may read, in one step."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        os.fsync(file.fileno())
    fresh.replace(path)
