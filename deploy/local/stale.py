"""Ends what an earlier `up` on the same home left behind when it was killed where nothing ties children to parents."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from deploy.local.home import Home

END_S_MAX = 5.0
POLL_S = 0.02
STOP_SIGNALS = {"postgres": signal.SIGINT, "nats": signal.SIGTERM}


def end_stale(home: Home) -> None:
    """End every process that a pid file of this home names and that is what it says. Call with the home locked."""
    for pid_file in sorted(home.run.glob("*.pid")):
        name = pid_file.stem
        text = pid_file.read_text().strip()
        if text.isdigit() and is_ours(int(text), name, home):
            print(f"ending {name} (pid {text}), left behind by an earlier start", file=sys.stderr)
            _end(int(text), name, home)
        pid_file.unlink()


def is_ours(pid: int, name: str, home: Home) -> bool:
    """Tell whether a process is that child of this home; a process id may long belong to somebody else."""
    words = _words(pid)
    of_this_home = f"HEADRACE_HOME={home.root}" in words or str(home.postgres) in words
    noun = name.partition("-")[0]
    programs = {"nats": "nats-server", "postgres": "postgres"}
    program = programs.get(noun, f"services.{noun}")
    return of_this_home and any(word == program or Path(word).name == program for word in words)


def _words(pid: int) -> set[str]:
    """Return the command line and the environment of a process, or nothing when it is gone or not ours to see."""
    try:
        process = Path("/proc") / str(pid)
        if process.parent.joinpath("self").exists():
            raw = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
            return set(raw.decode(errors="replace").split("\0"))
    except OSError:
        return set()
    listed = subprocess.run(
        ["ps", "-Eww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return set(listed.stdout.split())


def _end(pid: int, name: str, home: Home) -> None:
    for number in (STOP_SIGNALS.get(name.partition("-")[0], signal.SIGKILL), signal.SIGKILL):
        deadline_s = time.monotonic() + END_S_MAX
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        # One that nobody has reaped yet still has its pid, but no words any more.
        while time.monotonic() < deadline_s:
            if not is_ours(pid, name, home):
                return
            time.sleep(POLL_S)
