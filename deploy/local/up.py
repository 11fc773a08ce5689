"""The embedded system: which processes it is made of, in which order they start, and how they end."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import environment, nats_server, ports, postgres_server, secrets
from deploy.local.errors import CannotStart, StartFailed, reason
from deploy.local.home import Home, write_secret_json
from deploy.local.stale import end_stale
from deploy.local.supervisor import Child, Spec, rotate_logs, trim_logs

PORT_USUAL = 4454
PORT_MAX = 65_535
ANY_HOST = "0.0.0.0"  # noqa: S104  # compared with, never chosen
MCP_PORT_USUAL = 4445
START_S_MAX = 60.0
WhenReady = Callable[["System"], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one `up` was asked for."""

    home: Path
    environ: Mapping[str, str]
    counts: Mapping[str, int]
    port: int = PORT_USUAL
    host: str = ports.LOOPBACK
    durability: str = "strict"
    nats_url: str = ""
    postgres_dsn: str = ""

    def free_port(self, usual: int) -> int:
        """Return the port where a server is usually found, if it is free and this is not one system of many."""
        # Who lets the gateway's port be any expects several systems: they would race for the usual ports.
        return ports.free_port(preferred=usual if self.port else None)


def settings(environ: Mapping[str, str], counts: Mapping[str, int]) -> Settings:
    """Read what was asked for from the environment. Raises CannotStart for a value that makes no sense."""
    port, durability = (
        environ.get("HEADRACE_PORT") or str(PORT_USUAL),
        environ.get("HEADRACE_DURABILITY") or "strict",
    )
    if not port.isdigit() or int(port) > PORT_MAX:
        raise CannotStart(f"HEADRACE_PORT is {port!r}; it is a number from 0 to {PORT_MAX}")
    if durability not in nats_server.SYNC:
        raise CannotStart(f"HEADRACE_DURABILITY is {durability!r}; it is strict or relaxed")
    return Settings(
        home=Path(environ.get("HEADRACE_HOME") or ".headrace"),
        environ=environ,
        counts=counts,
        port=int(port),
        host=environ.get("HEADRACE_HOST") or ports.LOOPBACK,
        durability=durability,
        nats_url=environ.get("HEADRACE_NATS_URL", ""),
        postgres_dsn=environ.get("HEADRACE_POSTGRES_DSN", ""),
    )


@dataclass
class System:
    """A running system: the processes, and the addresses that tools need."""

    settings: Settings
    home: Home
    secrets: dict[str, str]
    port: int
    mcp_port: int
    nats_url: str = ""
    postgres_dsn: str = ""
    children: list[Child] = field(default_factory=list)
    ops_ports: dict[str, int] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)
    began_s: float = field(default_factory=time.monotonic)

    @property
    def base_url(self) -> str:
        """Return where people and programs reach the gateway from this machine."""
        return f"http://{self.host}:{self.port}"

    @property
    def host(self) -> str:
        """Return the address under which the services are reached from this machine."""
        return ports.LOOPBACK if self.settings.host == ANY_HOST else self.settings.host

    def say(self, line: str) -> None:
        """Print a line of progress with the seconds since the start."""
        print(f"{time.monotonic() - self.began_s:6.2f} s  {line}", file=sys.stderr, flush=True)


async def up(settings: Settings, when_ready: WhenReady) -> None:
    """Run the whole system until SIGTERM or Ctrl-C; `when_ready` is awaited once, beside it.

    Raises CannotStart.
    """
    home = Home(settings.home)
    with home.locked():
        end_stale(home)
        rotate_logs(home)
        host = settings.host
        with ports.hold(settings.port, host) if settings.port else ports.hold_free(host) as held:
            port = held.getsockname()[1]
            mcp_port = int(settings.environ.get("HEADRACE_MCP_PORT") or settings.free_port(MCP_PORT_USUAL))
            system = System(settings, home, secrets.load(home, settings.environ), port, mcp_port)
            with system.held:
                await _run(system, when_ready)


async def _run(system: System, when_ready: WhenReady) -> None:
    stop = asyncio.Event()
    _on_stop_signals(system, stop)
    work = asyncio.create_task(_start_and_watch(system, when_ready))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    except BaseExceptionGroup as group:
        raise (reason(group) or group) from group
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        await _stop_in_order(system)
        for name in ("url", "nats.url", "mcp.url", "ports.json", "env.json"):
            (system.home.run / name).unlink(missing_ok=True)


async def _start_and_watch(system: System, when_ready: WhenReady) -> None:
    """Start everything, tell that it is ready, and watch over it for ever."""
    try:
        async with asyncio.timeout(START_S_MAX):
            await _start(system)
    except TimeoutError as error:
        raise StartFailed(
            f"not ready within {START_S_MAX:.0f} s; the logs are in {system.home.logs}"
        ) from error
    _write_addresses(system)
    print(f"ready {system.base_url}", flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(trim_logs(system.children))
        tasks.create_task(_beside(system, when_ready))


async def _start(system: System) -> None:
    """Start each process as soon as what it connects to is there: only the store waits for PostgreSQL."""
    async with asyncio.TaskGroup() as tasks:
        postgres = tasks.create_task(_start_postgres(system))
        await _start_nats(system)
        for service in ("gateway", "executor", "scheduler"):
            tasks.create_task(_start_service(system, service))
        await postgres
        await _start_service(system, "store")


async def _start_nats(system: System) -> None:
    settings, home = system.settings, system.home
    if settings.nats_url:
        system.nats_url = settings.nats_url
        return
    port = settings.free_port(nats_server.PORT_USUAL)
    values = nats_server.environment(port=port, store=home.nats, durability=settings.durability)
    spec = Spec(
        name="nats-0",
        argv=nats_server.argv(),
        env=_shared(system, "nats-0") | values,
        ready=lambda _: ports.accepts(port),
        orphan_signal=signal.SIGTERM,
    )
    system.nats_url = nats_server.url(port)
    await _start_child(system, spec)


async def _start_postgres(system: System) -> None:
    settings, home = system.settings, system.home
    if settings.postgres_dsn:
        system.postgres_dsn = settings.postgres_dsn
        return
    password = system.secrets[secrets.POSTGRES_PASSWORD]
    await asyncio.to_thread(postgres_server.initialise, home.postgres, password)
    # Chosen only now: making a cluster takes long enough for another `up` to take the same port.
    port = settings.free_port(postgres_server.PORT_USUAL)

    async def ready(pid: int) -> bool:
        return postgres_server.accepts(home.postgres, pid)

    spec = Spec(
        name="postgres-0",
        argv=postgres_server.argv(home.postgres, port),
        env=_shared(system, "postgres-0"),
        ready=ready,
        user=postgres_server.user(),
        # A fast shutdown. SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGINT,
    )
    await _start_child(system, spec)
    await asyncio.to_thread(postgres_server.create_database, port, password)
    system.postgres_dsn = postgres_server.dsn(port, password)


async def _start_service(system: System, service: str) -> None:
    """Start all processes of one service and wait until they are ready."""
    specs = [_service(system, service, number) for number in range(system.settings.counts[service])]
    await asyncio.gather(*(_start_child(system, spec) for spec in specs))


def _service(system: System, service: str, number: int) -> Spec:
    name = f"{service}-{number}"
    ops_port = system.held.enter_context(ports.hold_free(system.settings.host)).getsockname()[1]
    system.ops_ports[name] = ops_port
    shared = _shared(system, name) | {
        "HEADRACE_NATS_URL": system.nats_url,
        "HEADRACE_OPS_PORT": str(ops_port),
    }
    return Spec(
        name=name,
        argv=(sys.executable, "-m", f"services.{service}"),
        env=environment.of_service(service, shared, _values(system)),
        ready=lambda _: ports.is_ready(ops_port, system.host),
    )


async def _start_child(system: System, spec: Spec) -> None:
    child = Child(spec, system.home)
    system.children.append(child)
    await child.start()
    system.say(f"{spec.name} ready")


def _shared(system: System, name: str) -> dict[str, str]:
    """Return what every process is told."""
    return environment.without_secrets(system.settings.environ) | {
        "HEADRACE_HOME": str(system.home.root),
        "HEADRACE_INSTANCE": name,
        "HEADRACE_HOST": system.settings.host,
        "HEADRACE_PORT": str(system.port),
        "HEADRACE_MCP_PORT": str(system.mcp_port),
        # `up` holds the ports itself: any number of gateways can share theirs, and nobody takes one meanwhile.
        "HEADRACE_REUSE_PORT": "1",
        "HEADRACE_DURABILITY": system.settings.durability,
    }


def _values(system: System) -> dict[str, str]:
    """Return what only some services are told."""
    return {**system.secrets, environment.POSTGRES_DSN: system.postgres_dsn}


def _write_addresses(system: System) -> None:
    home = system.home
    home.write_run("url", system.base_url)
    home.write_run("nats.url", system.nats_url)
    if system.mcp_port:
        home.write_run("mcp.url", f"http://{system.host}:{system.mcp_port}/mcp")
    home.write_run("ports.json", json.dumps({name: {"ops": port} for name, port in system.ops_ports.items()}))
    told = {"HEADRACE_NATS_URL": system.nats_url, "HEADRACE_DURABILITY": system.settings.durability}
    write_secret_json(home.env, environment.of_service("store", told, _values(system)))


async def _beside(system: System, when_ready: WhenReady) -> None:
    """Run what was asked for after the start. Whatever becomes of it, the system goes on."""
    try:
        await when_ready(system)
    except Exception as error:  # noqa: BLE001  # the edge of somebody else's program; it is told, not hidden
        system.say(f"after the start: {type(error).__name__}: {error}")


def _on_stop_signals(system: System, stop: asyncio.Event) -> None:
    """The first signal stops in order, the second at once."""

    def stopping() -> None:
        if stop.is_set():
            for child in system.children:
                child.signal(signal.SIGKILL)
            return
        system.say("stopping (once more: at once)")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping)


async def _stop_in_order(system: System) -> None:
    """Services first, so that each can finish what it holds; then the servers they need for it."""
    servers = [child for child in system.children if child.spec.name in ("nats-0", "postgres-0")]
    services = [child for child in system.children if child not in servers]
    for group in (services, servers):
        await asyncio.gather(*(child.stop() for child in group))
    system.say("stopped")
