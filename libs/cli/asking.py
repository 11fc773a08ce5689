"""Asking the person at the terminal, where there is one."""

import asyncio
import getpass
import sys

from libs.cli.errors import USAGE, CommandFailed


async def confirm(question: str) -> None:
    """Ask for a yes. Raises CommandFailed when it does not come, or nobody is there to ask."""
    if not sys.stdin.isatty():
        raise CommandFailed("no terminal to ask for confirmation: add --yes", USAGE)
    if (await asyncio.to_thread(input, question)).strip().lower() not in {"y", "yes"}:
        raise CommandFailed("nothing was deleted")


async def password(question: str, otherwise: str) -> str:
    """Ask for a password, unseen. Raises CommandFailed naming what to do `otherwise` when nobody is there to ask."""
    if not sys.stdin.isatty():
        raise CommandFailed(f"no terminal to ask for the {question}: {otherwise}", USAGE)
    return await asyncio.to_thread(getpass.getpass, f"{question}: ")
