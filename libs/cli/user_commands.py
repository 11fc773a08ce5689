"""`headrace user`: list and make users, change their role, disable them, reset their passwords."""

import argparse
import asyncio

from libs.cli import asking, files, naming
from libs.cli.client import Json
from libs.cli.connect import client_of
from libs.cli.errors import OK, USAGE, CommandFailed
from libs.cli.output import Printer

USERS = "/api/users"
LIST = {
    "email": "EMAIL",
    "role": "ROLE",
    "disabled": "DISABLED",
    "id": "ID",
    "createdAt": "CREATED",
    "name": "NAME",
}
SHOW = ("id", "email", "name", "role", "disabled", "password", "createdAt", "updatedAt")


async def list_(arguments: argparse.Namespace) -> int:
    """List users."""
    async with client_of(arguments) as client:
        query = {"role": arguments.role, "disabled": arguments.disabled}
        users = await client.pages(USERS, query, limit=arguments.limit)
    Printer.on_stdout(arguments.output).rows(users, LIST)
    return OK


async def create(arguments: argparse.Namespace) -> int:
    """Make a user, and print the password that was made up."""
    body = {"email": arguments.email, "name": arguments.name, "role": arguments.role}
    body |= await _password(arguments)
    async with client_of(arguments) as client:
        made = await client.call("POST", USERS, body)
    Printer.on_stdout(arguments.output).fields(made, SHOW)
    return OK


async def role(arguments: argparse.Namespace) -> int:
    """Give a user another role."""
    return await _change(arguments, "PUT", "", {"role": arguments.role})


async def disable(arguments: argparse.Namespace) -> int:
    """Let a user log in no more, once that was confirmed."""
    if not arguments.yes:
        await asking.confirm(f"let {arguments.user} log in no more? [y/N] ")
    return await _change(arguments, "PUT", "", {"disabled": True})


async def enable(arguments: argparse.Namespace) -> int:
    """Let a user log in again."""
    return await _change(arguments, "PUT", "", {"disabled": False})


async def reset_password(arguments: argparse.Namespace) -> int:
    """Give a user another password, and print it when it was made up."""
    return await _change(arguments, "POST", "/reset-password", await _password(arguments))


async def _change(arguments: argparse.Namespace, method: str, below: str, body: Json) -> int:
    async with client_of(arguments) as client:
        path = await naming.path_of(client, USERS, arguments.user, "email")
        answer = await client.call(method, path + below, body)
    Printer.on_stdout(arguments.output).fields(answer, SHOW)
    return OK


async def _password(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.password_file is None:
        return {}
    content = await asyncio.to_thread(files.read, arguments.password_file)
    first = files.text(content, arguments.password_file).partition("\n")[0].removesuffix("\r")
    if not first:
        raise CommandFailed(f"{arguments.password_file} holds no password", USAGE)
    return {"password": first}
