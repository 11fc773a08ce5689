"""Runs the real `headrace` for tests, with a home and a configuration of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from deploy.local import cli
from libs.common.bus import Bus
from tests.e2e.api import Api
from tests.fixtures.system import EMAIL, PASSWORD, RunningSystem
from tests.waiting import WITHIN_S

HEADRACE = Path(sys.executable).with_name("headrace")


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs `headrace` with a home and a configuration of its own: in this process, which saves its start."""

    def __init__(self, system: RunningSystem, config: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        self.environ = {**kept, "HEADRACE_HOME": str(system.home), "XDG_CONFIG_HOME": str(config)}
        self.config = config

    def __call__(self, *arguments: str, said: str = "", environ: dict[str, str] | None = None) -> Said:
        before = dict(os.environ)
        streams = sys.stdin, sys.stdout, sys.stderr
        out, err = io.StringIO(), io.StringIO()
        os.environ.clear()
        os.environ.update(self.environ | (environ or {}))
        sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(said.encode())), out, err
        try:
            code = cli.main(list(arguments))
        except SystemExit as over:
            code = int(over.code or 0)
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            os.environ.clear()
            os.environ.update(before)
        return Said(code, out.getvalue(), err.getvalue())

    def apart(self, *arguments: str, said: str = "", environ: dict[str, str] | None = None) -> Said:
        """Run it as a process of its own, as people do."""
        done = subprocess.run(
            [HEADRACE, *arguments],
            input=said,
            env=self.environ | (environ or {}),
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def good(self, *arguments: str, said: str = "") -> Said:
        done = self(*arguments, said=said)
        assert done.code == 0, done
        return done

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [HEADRACE, *arguments],
            env=self.environ,
            # A test run in the background ignores Ctrl-C, and its children would too.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread of ours holds a lock over this
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def apply(self, name: str, *layers: Any, **fields: Any) -> None:
        self.good("flow", "apply", "-f", "-", said=json.dumps({"name": name, "layers": layers, **fields}))

    def play(self, flow: str, *arguments: str) -> str:
        return str(self.good("flow", "run", flow, "-o", "json", *arguments).json["playId"])

    def until(self, state: str, play: str) -> None:
        """Wait until readers see a play in this state."""
        deadline_s = time.monotonic() + WITHIN_S
        while (seen := self.good("play", "show", play, "-o", "json").json["state"]) != state:
            assert time.monotonic() < deadline_s, seen

    def until_listed(self, count: int, *arguments: str) -> None:
        """Wait until a list has this many entries."""
        deadline_s = time.monotonic() + WITHIN_S
        while len(seen := self.good(*arguments, "-o", "json").json) != count:
            assert time.monotonic() < deadline_s, seen

    def version(self, flow: str) -> int:
        return int(self.good("flow", "show", flow, "-o", "json").json["version"])


def copy_home(system: RunningSystem, home: Path) -> None:
    """Make a home as `up` leaves it when it made the admin itself."""
    (home / "run").mkdir(parents=True)
    for name in ("url", "env.json"):
        (home / "run" / name).write_text((system.home / "run" / name).read_text())
    secrets = {"HEADRACE_ADMIN_EMAIL": EMAIL, "HEADRACE_ADMIN_PASSWORD": PASSWORD}
    (home / "secrets.json").write_text(json.dumps(secrets))


async def api_key(system: RunningSystem) -> str:
    """Issue an API key to the admin and return its token."""
    async with Api.logged_in(system) as api:
        issued = await api.post("/api/auth/api-keys", {"name": "ci", "scopes": ["standard"]}, status=201)
    return str(issued["token"])


async def forget(system: RunningSystem, play_id: str) -> None:
    """Take a play out of the log, as its age would."""
    bus = await Bus.connect(system.env()["HEADRACE_NATS_URL"], name="test")
    answer = await bus.api("STREAM.PURGE.PLAYS_0", {"filter": f"evt.play.*.*.*.{play_id}.*"})
    await bus.close()
    assert answer["purged"] > 0, answer


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
