"""Processes are kept alive, stopped in order, and never outlive the one that started them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.errors import HomeBusy, PortTaken, StartFailed
from deploy.local.home import Home
from deploy.local.stale import end_stale
from deploy.local.supervisor import Child, Spec, rotate_logs
from tests.fixtures.system import ROOT
from tests.waiting import WITHIN_S, eventually

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, "up", sep="\\n", flush=True)
time.sleep(600)
"""
TETHERING_PARENT = """
import subprocess, sys, time
from deploy.local.tether import tethered
child = subprocess.Popen(tethered((sys.executable, "-c", "import time; time.sleep(600)"), 9))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def a_child(home: Home, program: str, *, name: str = "executor-0") -> Child:
    """A child that is ready once it has written a line."""

    async def ready(_pid: int) -> bool:
        return "up" in home.log_tail(name, 1)

    spec = Spec(
        name=name, argv=(sys.executable, "-c", program), env={"HEADRACE_HOME": str(home.root)}, ready=ready
    )
    return Child(spec, home)


@pytest.fixture
async def sleeper(home: Home) -> AsyncIterator[Child]:
    child = a_child(home, SLEEPER)
    await child.start()
    yield child
    await child.stop()


def pid_of(home: Home) -> int:
    path = home.pid_file("executor-0")
    return int(path.read_text()) if path.exists() else 0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_killed_process_comes_back_under_a_new_pid(home: Home, sleeper: Child) -> None:
    before = pid_of(home)
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: pid_of(home) not in (0, before))
    assert is_alive(pid_of(home))


async def test_a_stopped_process_stays_down_and_leaves_no_pid_file(home: Home) -> None:
    child = a_child(home, SLEEPER)
    await child.start()
    pid = pid_of(home)
    await child.stop()
    assert not is_alive(pid)
    assert not home.pid_file("executor-0").exists()


async def test_a_process_that_ignores_the_request_is_killed(home: Home) -> None:
    child = a_child(home, STUBBORN)
    await child.start()
    pid = pid_of(home)
    await child.stop(within_s=0.1)
    assert not is_alive(pid)


async def test_what_a_process_started_ends_with_it(home: Home) -> None:
    child = a_child(home, PARENT)
    await child.start()
    grandchild = int(home.log_tail("executor-0", 5)[0])
    await child.stop()
    await eventually(lambda: not is_alive(grandchild))


async def test_a_process_that_never_becomes_ready_fails_the_start_with_its_last_words(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    child = a_child(home, "import sys; sys.exit('the bus has no wheel')")
    with pytest.raises(StartFailed, match="executor-0 died 3 times"):
        await child.start()
    await child.stop()
    assert "executor-0 | the bus has no wheel" in capsys.readouterr().err


async def test_a_log_that_grew_too_long_is_cut_and_still_written_to(
    home: Home, sleeper: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.supervisor.LOG_BYTES_MAX", 1)
    sleeper.trim_log()
    os.kill(pid_of(home), signal.SIGKILL)
    await eventually(lambda: home.log_tail("executor-0", 5) == ["up"])
    assert home.log("executor-0").with_suffix(".log.1").read_text() == "up\n"


def test_the_log_of_the_last_run_is_put_aside(home: Home) -> None:
    home.log("store-0").write_text("yesterday\n")
    rotate_logs(home)
    assert not home.log("store-0").exists()
    assert (home.logs / "store-0.log.1").read_text() == "yesterday\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
async def test_a_child_does_not_outlive_a_parent_that_was_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TETHERING_PARENT, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not is_alive(child))


def a_running_executor(of_home: Path) -> "subprocess.Popen[bytes]":
    """A process that looks like the executor of that home, when it has come to run."""
    command = [sys.executable, "-c", SLEEPER, "services.executor"]
    process = subprocess.Popen(command, env={"HEADRACE_HOME": str(of_home)}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        said.readline()
    return process


def test_a_process_left_behind_is_ended(home: Home) -> None:
    left = a_running_executor(home.root)
    home.write_run("executor-0.pid", str(left.pid))
    end_stale(home)
    assert left.wait(WITHIN_S) == -signal.SIGKILL
    assert list(home.run.glob("*.pid")) == []


def test_a_stranger_that_got_the_old_pid_is_left_alone(home: Home) -> None:
    stranger = a_running_executor(Path("/somewhere/else"))
    home.write_run("executor-0.pid", str(stranger.pid))
    end_stale(home)
    alive = stranger.poll() is None
    stranger.kill()
    stranger.wait()
    assert alive


def test_a_home_is_for_one_system_at_a_time(home: Home) -> None:
    with home.locked(), pytest.raises(HomeBusy, match=f"pid {os.getpid()}"), Home(home.root).locked():
        pass


def test_a_held_port_is_refused_to_a_second_system() -> None:
    port = ports.free_port()
    with ports.hold(port), pytest.raises(PortTaken, match=str(port)):
        ports.hold(port)


def test_no_two_systems_hold_the_same_free_port() -> None:
    with ports.hold_free() as one, ports.hold_free() as other:
        held = {one.getsockname()[1], other.getsockname()[1]}
        assert len(held) == 2
        assert not any(map(ports.is_free, held))


async def test_a_held_port_takes_no_connection_by_itself() -> None:
    port = ports.free_port()
    with ports.hold(port):
        assert not await ports.accepts(port)
