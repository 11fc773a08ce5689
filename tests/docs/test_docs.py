"""The examples on our pages run: the calls against a whole system, the programs beside it.

A block marked `run` is executed; all of a page in one shell, in order. A `json expect` block below it is the shape of
the last line that it prints: the same fields and values, but for ids, times and durations.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from libs.common import subjects, topology
from libs.common.bus import Bus
from libs.common.codec import Context, encode_commit
from libs.common.config import Config
from libs.common.messages import play as m
from tests.contract import examples
from tests.contract.example_plays import AT
from tests.docs import pages
from tests.fixtures.system import RunningSystem, running_system

PAGE_S_MAX = 180.0
PROGRAM_S_MAX = 90.0
END_OF_BLOCK = "@@ end of block @@"
VARYING = re.compile(r"[0-9a-f]{24}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NOBODY = {"HEADRACE_ADMIN_EMAIL": "", "HEADRACE_ADMIN_PASSWORD": ""}
VARYING_NUMBERS = frozenset({"duration"})


@pytest.fixture(scope="module")
def first_start() -> Iterator[RunningSystem]:
    """The system as a newcomer has it: its own admin, its own password."""
    with running_system(environ=NOBODY, empty=True) as system:
        yield system


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/api.md", "docs/flow-like.md", "docs/operations.md"])
def test_the_calls_of_a_page_work(page: str, first_start: RunningSystem, tmp_path: Path) -> None:
    # A page is read in the folder of `make run`.
    (tmp_path / ".headrace").symlink_to(first_start.home)
    blocks = [block for block in pages.blocks(page) if "run" in block.marks]
    script = "".join(f"{block.text}\necho '{END_OF_BLOCK}'\n" for block in blocks)
    shell = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PAGE_S_MAX,
        check=False,
    )
    assert shell.returncode == 0, shell.stdout + shell.stderr
    said = shell.stdout.split(f"{END_OF_BLOCK}\n")[:-1]
    assert len(said) == len(blocks)
    for answer in (line for text in said for line in text.splitlines()):
        assert "statusCode" not in json.loads(answer), answer
    for number, expected in expectations(page):
        assert different(expected, json.loads(said[number].splitlines()[-1])) == []


@pytest.mark.slow
def test_the_flows_of_the_page_do_what_it_says(first_start: RunningSystem, tmp_path: Path) -> None:
    (tmp_path / ".headrace").symlink_to(first_start.home)
    shell = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def said(script: str, given: str = "") -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=shell,
            input=given,
            capture_output=True,
            text=True,
            timeout=PAGE_S_MAX,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{script}{given}{done.stdout}"
        return done.stdout

    said("headrace login")
    answers = ""
    for block in pages.blocks("docs/flows.md"):
        if "flow" in block.marks:
            said("headrace flow apply -f -", block.text)
        elif "run" in block.marks:
            answers = said(block.text)
        elif "expect" in block.marks:
            last = answers.strip().rpartition("\n}\n")[2]
            assert different(json.loads(block.text), json.loads(last)) == [], block.text


def expectations(page: str) -> list[tuple[int, Any]]:
    """Return the shapes on a page, each with the number of the `run` block that it follows."""
    found, number = [], -1
    for block in pages.blocks(page):
        number += "run" in block.marks
        if "expect" in block.marks:
            found.append((number, json.loads(block.text)))
    return found


def different(expected: Any, got: Any, at: str = "") -> list[str]:
    """Return where two answers differ in what is the same at every run."""
    if isinstance(expected, dict) and isinstance(got, dict):
        if expected.keys() != got.keys():
            return [f"{at}: {sorted(expected.keys() ^ got.keys())}"]
        return [place for key in expected for place in different(expected[key], got[key], f"{at}.{key}")]
    if isinstance(expected, str) and isinstance(got, str):
        expected, got = (VARYING.sub("…", text) for text in (expected, got))
    same = type(expected) is type(got) if at.rpartition(".")[2] in VARYING_NUMBERS else expected == got
    return [] if same else [f"{at}: {expected!r}, not {got!r}"]


@pytest.mark.slow
def test_the_watcher_of_the_socket_sees_a_play_and_resumes(
    first_start: RunningSystem, tmp_path: Path
) -> None:
    program = program_of("docs/api.md", "watch.py", tmp_path)
    sid = logged_in(first_start, tmp_path)
    with Program(program, first_start.base_url, sid, "0") as watcher:
        api(tmp_path, first_start, "/api/flows", {"name": "Watched"})
        fields = {"name": "One", "ref": "one", "appId": "var", "args": {"values": {"a": 1}}}
        api(tmp_path, first_start, "/api/flows/watched/layers", fields)
        first = api(tmp_path, first_start, "/api/flows/watched/run?wait=60", {})["playId"]
        watcher.wait_for(f"{first} play:completed")
    last = watcher.lines[-1].split()[-1]
    second = api(tmp_path, first_start, "/api/flows/watched/run?wait=60", {})["playId"]
    with Program(program, first_start.base_url, sid, last) as again:
        again.wait_for(f"{second} play:completed")
    kinds = ["play:started", "play:layer:started", "play:layer:completed", "play:completed"]
    assert [line.split()[:2] for line in again.lines] == [[second, kind] for kind in kinds]


def logged_in(system: RunningSystem, folder: Path) -> str:
    """Log in with curl, as the pages do, and return the session's id."""
    password = json.loads((system.home / "secrets.json").read_text())["HEADRACE_ADMIN_PASSWORD"]
    api(folder, system, "/api/auth/login", {"email": "admin@headrace.local", "password": password})
    found = re.search(r"\tsid\t(\S+)", (folder / "cookies.txt").read_text())
    assert found is not None
    return found[1]


def api(folder: Path, system: RunningSystem, path: str, body: dict[str, Any]) -> Any:
    """Make a call that must succeed, and return its answer."""
    call = [
        "curl",
        "-fsS",
        "-b",
        "cookies.txt",
        "-c",
        "cookies.txt",
        system.base_url + path,
        "-d",
        json.dumps(body),
    ]
    done = subprocess.run(call, cwd=folder, check=True, capture_output=True, timeout=PROGRAM_S_MAX)
    return json.loads(done.stdout)


async def test_the_tap_and_the_reader_of_history_see_a_commit(nats_url: str, tmp_path: Path) -> None:
    tap = program_of("docs/bus.md", "tap.py", tmp_path)
    history = program_of("docs/bus.md", "history.py", tmp_path)
    bus = await Bus.connect(nats_url, name="docs")
    await topology.ensure(bus, Config())
    key = subjects.play_key(examples.COMPANY, examples.FLOW, examples.PLAY, shards=1)
    ended = m.PlayCompleted(at=AT, state="DONE", out={"result": "Hello Ada"})
    context = Context(source="/companies/c/flows/f", subject=examples.PLAY)
    with Program(tap, nats_url) as watcher:
        await asyncio.to_thread(watcher.wait_for, "tapping")
        data = encode_commit([ended], commit_id=examples.COMMIT, context=context)
        appended = await bus.append(key.event("DONE"), data, id=examples.COMMIT)
        await asyncio.to_thread(watcher.wait_for, examples.PLAY)
    assert watcher.lines[-1] == f'{examples.PLAY} DONE {{"result": "Hello Ada"}} at {appended.sequence}'
    with Program(history, nats_url, examples.PLAY) as reader:
        await asyncio.to_thread(reader.wait_for, "headrace.play.completed.v1")
        await asyncio.to_thread(reader.process.wait, PROGRAM_S_MAX)
    assert reader.process.returncode == 0
    assert reader.lines == [f"{appended.sequence} 2026-03-14T09:26:53.589000Z headrace.play.completed.v1 "]
    await bus.close()


def program_of(page: str, name: str, folder: Path) -> Path:
    """Write the program that a page shows under this name, and return where it is."""
    (text,) = [block.text for block in pages.blocks(page) if block.text.startswith(f"# {name}:")]
    path = folder / name
    path.write_text(text)
    return path


class Program:
    """A program of a page while it runs, and the lines that it prints."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, str(path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PROGRAM_S_MAX)
        self._reader.join(PROGRAM_S_MAX)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_for(self, words: str) -> None:
        """Wait for a line with these words."""
        with self._changed:
            seen = self._changed.wait_for(lambda: any(words in line for line in self.lines), PROGRAM_S_MAX)
        assert seen, f"{words} did not come: {self.lines}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
