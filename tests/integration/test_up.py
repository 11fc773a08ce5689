"""`headrace up`: everything starts, comes back when it is killed, and goes when it is told to."""

import json
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import until

SERVICES = ["executor-0", "gateway-0", "scheduler-0", "store-0"]
ALL = sorted([*SERVICES, "nats-0", "postgres-0"])
READY_S_MAX = 90.0


def all_ready(system: RunningSystem) -> bool:
    """Ask the operations port of each service, as a probe of Kubernetes would."""
    ports = json.loads((system.home / "run" / "ports.json").read_text())
    return ports.keys() == set(SERVICES) and all(_ready(told["ops"]) for told in ports.values())


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_every_process_runs_and_says_that_it_is_ready(own_system: RunningSystem) -> None:
    assert own_system.names() == ALL
    assert all_ready(own_system)


def test_the_gateway_answers_at_the_address_of_the_ready_line(own_system: RunningSystem) -> None:
    host, _, port = own_system.base_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    assert (own_system.home / "run" / "url").read_text().strip() == own_system.base_url


def test_tools_find_the_bus_and_the_database(own_system: RunningSystem) -> None:
    told = own_system.env()
    assert told["HEADRACE_NATS_URL"].startswith("nats://127.0.0.1:")
    assert told["HEADRACE_POSTGRES_DSN"].startswith("postgresql://")
    assert (own_system.home / "run" / "env.json").stat().st_mode & 0o077 == 0


def test_a_second_up_on_the_same_home_is_refused(own_system: RunningSystem) -> None:
    second = RunningSystem(own_system.home)
    assert second.process.wait(120) == 1
    assert "already runs" in second.said()
    assert second.stop() == 1


@pytest.mark.slow
def test_every_process_that_is_killed_comes_back(own_system: RunningSystem) -> None:
    killed = {name: own_system.kill(name) for name in ALL}
    again = {name: own_system.wait_restarted(name, pid) for name, pid in killed.items()}
    assert set(again.values()).isdisjoint(killed.values())
    until(lambda: all_ready(own_system), READY_S_MAX, lambda: f"not ready again\n{own_system.said()}")


@pytest.mark.slow
def test_nothing_survives_an_up_that_is_killed_and_the_next_one_starts(own_system: RunningSystem) -> None:
    own_system.crash()
    own_system.start_again()
    assert own_system.names() == ALL


@pytest.mark.slow
def test_several_gateways_share_the_port() -> None:
    with running_system("--gateways", "2", "--executors", "2") as system:
        assert system.names() == sorted([*ALL, "executor-1", "gateway-1"])
        system.kill("gateway-0", signal.SIGKILL)
        host, _, port = system.base_url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=5):
            pass


@pytest.mark.slow
def test_servers_of_ones_own_are_used_instead(nats_url: str, empty_database: str) -> None:
    environ = {"HEADRACE_NATS_URL": nats_url, "HEADRACE_POSTGRES_DSN": empty_database}
    with running_system(environ=environ, empty=True) as system:
        assert set(ALL) - set(system.names()) == {"nats-0", "postgres-0"}
        assert system.env()["HEADRACE_NATS_URL"] == nats_url


@pytest.mark.slow
def test_a_port_that_is_taken_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = RunningSystem(tmp_path, environ={"HEADRACE_PORT": str(port)})
        assert refused.process.wait(120) == 1
        assert refused.stop() == 1
    assert f"port {port} is taken" in refused.said()
