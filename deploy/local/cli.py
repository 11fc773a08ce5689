"""The `headrace` command line. Each command is a function that adds its parser; more are added in COMMANDS."""

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from libs.cli.commands import COMMANDS as CLIENT_COMMANDS

SERVICES = ("gateway", "executor", "scheduler", "store")
DESCRIPTION = """\
Headrace runs flows: people describe steps, calls and clocks start them, and every fact about every run is on a bus.

start here:
  headrace up --sample      the whole system on this machine, with sample flows, until Ctrl-C
  headrace login            then, in another terminal of the same folder: log in
  headrace flow list        what can run
  headrace play watch       what happens

exit codes:
  0  done                   3  the system cannot be reached
  1  failed, or refused     4  nobody is logged in, or the session is over
  2  wrong arguments
"""
UP = """\
Start the whole system on this machine: NATS, PostgreSQL and the four services. Prints `ready URL` when all of it
answers; Ctrl-C stops it. What dies is started again. Everything it keeps is in HEADRACE_HOME.
"""
UP_EXAMPLES = """\
environment:
  HEADRACE_HOME            where data, logs, secrets and pid files are (.headrace)
  HEADRACE_PORT            the gateway's port (4454; 0 takes any free one)
  HEADRACE_NATS_URL        a NATS server of your own instead of the embedded one
  HEADRACE_POSTGRES_DSN    a PostgreSQL of your own instead of the embedded one
  HEADRACE_ADMIN_EMAIL     the first user; made, with HEADRACE_ADMIN_PASSWORD, when absent
  HEADRACE_DURABILITY      strict (fsync before every answer, the default) or relaxed

examples:
  headrace up                                 four services, one process each
  headrace up --executors 3 --gateways 2      more of what is busy
  HEADRACE_PORT=0 HEADRACE_HOME=/tmp/try headrace up
  kill -9 $(cat .headrace/run/executor-0.pid) and watch it come back
"""
REBUILD = """\
Drop the read models and project them again from the log. Finds the running system's database and bus through
HEADRACE_HOME, unless HEADRACE_POSTGRES_DSN and HEADRACE_NATS_URL name others.
"""
HOME_USUAL = ".headrace"
OUTBOUND_ALLOW = "HEADRACE_OUTBOUND_ALLOW"
PROCESSES_MAX = 64
Subparsers = argparse._SubParsersAction  # noqa: SLF001  # argparse gives the type no public name
Command = Callable[["Subparsers[argparse.ArgumentParser]"], None]


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    words = argparse.ArgumentParser(prog="headrace", description=DESCRIPTION, formatter_class=_Raw)
    words.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = words.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return words


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Help text as it was written, with room for the names of options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class _Version(argparse.Action):
    """Prints the version of the installed distribution; looked up only when it is asked for."""

    def __call__(self, *_: object) -> None:
        from importlib.metadata import version

        print(f"headrace {version('headrace')}")
        sys.exit(0)


def _add_up(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    help_ = "start the whole system on this machine"
    words = commands.add_parser("up", help=help_, description=UP, epilog=UP_EXAMPLES, formatter_class=_Raw)
    for service in SERVICES:
        words.add_argument(
            f"--{service}s", type=_count, default=1, metavar="N", help=f"how many {service} processes (1)"
        )
    words.add_argument("--sample", action="store_true", help="add sample flows and run them")
    words.set_defaults(run=_up)


def _up(arguments: argparse.Namespace) -> int:
    import asyncio

    from deploy.local import sample_source, up
    from deploy.local.errors import CannotStart
    from deploy.local.secrets import ADMIN_EMAIL, ADMIN_PASSWORD

    async def when_ready(system: up.System) -> None:
        if arguments.sample:
            sample = import_module("deploy.local.sample")
            await sample.run(
                system.base_url,
                system.secrets[ADMIN_EMAIL],
                system.secrets[ADMIN_PASSWORD],
                nats_url=system.nats_url,
                home=system.home.root,
            )

    environ = dict(os.environ)
    if arguments.sample and not environ.get(OUTBOUND_ALLOW):
        # The sample's own data, and nothing else of this machine, is opened to its steps.
        environ[OUTBOUND_ALLOW] = sample_source.host()
    counts = {service: getattr(arguments, f"{service}s") for service in SERVICES}
    try:
        asyncio.run(up.up(up.settings(environ, counts), when_ready))
    except CannotStart as error:
        return _fail(str(error))
    return 0


def _add_service(service: str) -> Command:
    def add(commands: "Subparsers[argparse.ArgumentParser]") -> None:
        text = f"Run the {service} in this process, as the environment tells it."
        epilog = f"example:\n  HEADRACE_NATS_URL=nats://bus:4222 headrace {service}"
        words = commands.add_parser(
            service, help=f"run one {service}", description=text, epilog=epilog, formatter_class=_Raw
        )
        words.set_defaults(run=lambda _: _serve(service))

    return add


def _serve(service: str) -> int:
    code = import_module(f"services.{service}.__main__").main()
    return int(code or 0)


def _add_rebuild(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    words = commands.add_parser(
        "rebuild",
        help="project the read models again from the log",
        description=REBUILD,
        formatter_class=_Raw,
    )
    words.set_defaults(run=lambda _: _rebuild())


def _rebuild() -> int:
    import subprocess

    from deploy.local.home import read_secret_json

    env_file = Path(os.environ.get("HEADRACE_HOME", HOME_USUAL)) / "run" / "env.json"
    told = {**read_secret_json(env_file), **os.environ}
    missing = [name for name in ("HEADRACE_NATS_URL", "HEADRACE_POSTGRES_DSN") if not told.get(name)]
    if missing:
        return _fail(f"{' and '.join(missing)} not set, and no system runs here ({env_file} is missing)")
    return subprocess.run([sys.executable, "-m", "services.store.rebuild"], env=told, check=False).returncode


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= PROCESSES_MAX:
        raise argparse.ArgumentTypeError(f"between 1 and {PROCESSES_MAX}")
    return number


def _fail(message: str) -> int:
    print(f"headrace: {message}", file=sys.stderr)
    return 1


COMMANDS: list[Command] = [
    _add_up,
    *CLIENT_COMMANDS,
    *(_add_service(service) for service in SERVICES),
    _add_rebuild,
]


if __name__ == "__main__":
    sys.exit(main())
