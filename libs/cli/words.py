"""Parsers of commands: help as it was written, options that many share, and code that loads when it runs."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

from libs.cli.errors import INTERRUPTED, READER_GONE, CommandFailed

Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse gives the type no public name
Parser = argparse.ArgumentParser
LIMIT_MAX = 100_000
PLAYS_SHOWN = 25
# Those of libs.common.messages.play, spelled here so that `--help` imports nothing.
STATES = ("NEW", "RUN", "WAIT", "DEFERRED", "ON_HOLD", "DONE", "FAIL", "SKIP", "FILTERED")
FORMS = ("table", "json", "yaml")


class Raw(argparse.RawDescriptionHelpFormatter):
    """Help text as it was written, with room for the names of options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def command(commands: "Commands[Parser]", name: str, help_: str, text: str, examples: str) -> Parser:
    """Add a command: one line for the list, what it does, and examples."""
    return commands.add_parser(
        name,
        help=help_,
        description=text.strip(),
        epilog=f"examples:\n{examples.strip(chr(10))}",
        formatter_class=Raw,
    )


def family(
    commands: "Commands[Parser]", name: str, help_: str, text: str, examples: str
) -> "Commands[Parser]":
    """Add a command that has commands of its own, and return where they are added."""
    words = command(commands, name, help_, text, examples)
    return words.add_subparsers(title="commands", metavar="COMMAND", required=True)


def runs(words: Parser, module: str, function: str) -> None:
    """Let a parser run an async function of a module below libs.cli, imported no sooner than that."""

    async def later(arguments: argparse.Namespace) -> int:
        code: int = await getattr(import_module(f"libs.cli.{module}"), function)(arguments)
        return code

    words.set_defaults(run=lambda arguments: run(lambda: later(arguments)))


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a command to its exit code; what it cannot do is one sentence on standard error."""
    # Help and completion need no loop, and it takes half of their time to import.
    import asyncio

    try:
        return asyncio.run(main())
    except CommandFailed as error:
        print(f"headrace: {error.message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has gone; the interpreter must not try to flush what nobody takes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def with_url(words: Parser) -> None:
    """Add the option that names the system."""
    words.add_argument(
        "--url", metavar="URL", help="the system; else HEADRACE_URL, the local one, the last login"
    )


def with_output(words: Parser) -> None:
    """Add the option that chooses the form of what is printed."""
    words.add_argument("-o", "--output", choices=FORMS, default="table", help="table (default), json or yaml")


def remote(words: Parser, module: str, function: str) -> None:
    """Let a parser run a function that calls the system and prints what it answers."""
    with_output(words)
    with_url(words)
    runs(words, module, function)


def with_limit(words: Parser, shown: int | None = None) -> None:
    """Add the option that says how many to list: so many when it is not given, or all."""
    help_ = "at most so many (all)" if shown is None else f"at most ({shown})"
    words.add_argument("-n", "--limit", type=count, default=shown, metavar="N", help=help_)


def with_yes(words: Parser) -> None:
    """Add the option that asks no question."""
    words.add_argument("-y", "--yes", action="store_true", help="do not ask")


def json_or_text(text: str) -> object:
    """Read a value: JSON where it is JSON, text where it is not."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def pair(text: str) -> tuple[str, object]:
    """Read KEY=VALUE. Raises ArgumentTypeError where there is no key."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, not {text}")
    return key, json_or_text(value)


def count(text: str) -> int:
    """Read a number of things to show. Raises ArgumentTypeError outside 1 to LIMIT_MAX."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= LIMIT_MAX):
        raise argparse.ArgumentTypeError(f"expected a number between 1 and {LIMIT_MAX}")
    return int(text)


def _no_number(word: str) -> None:
    # NaN and Infinity are words in JSON, whatever Python makes of them.
    raise ValueError(word)
