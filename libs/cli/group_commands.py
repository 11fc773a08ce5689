"""`headrace group`: list, make, change and delete groups."""

import argparse

from libs.cli import asking, naming
from libs.cli.connect import client_of
from libs.cli.errors import OK, USAGE, CommandFailed
from libs.cli.output import Printer

GROUPS = "/api/groups"
LIST = {"id": "ID", "index": "INDEX", "createdAt": "CREATED", "name": "NAME"}
SHOW = ("id", "name", "index", "createdAt", "updatedAt")


async def list_(arguments: argparse.Namespace) -> int:
    """List groups."""
    async with client_of(arguments) as client:
        groups = await client.pages(GROUPS)
    Printer.on_stdout(arguments.output).rows(groups, LIST)
    return OK


async def create(arguments: argparse.Namespace) -> int:
    """Make a group."""
    async with client_of(arguments) as client:
        made = await client.call("POST", GROUPS, _fields(arguments))
    Printer.on_stdout(arguments.output).fields(made, SHOW)
    return OK


async def update(arguments: argparse.Namespace) -> int:
    """Change a group."""
    body = _fields(arguments)
    if not body:
        raise CommandFailed("nothing to change: name at least one field", USAGE)
    async with client_of(arguments) as client:
        path = await naming.path_of(client, GROUPS, arguments.group, "name")
        changed = await client.call("PUT", path, body)
    Printer.on_stdout(arguments.output).fields(changed, SHOW)
    return OK


async def delete(arguments: argparse.Namespace) -> int:
    """Delete a group, once that was confirmed."""
    async with client_of(arguments) as client:
        path = await naming.path_of(client, GROUPS, arguments.group, "name")
        if not arguments.yes:
            await asking.confirm(f"delete the group {arguments.group} and its KV entries? [y/N] ")
        await client.call("DELETE", path)
    Printer.on_stdout("table").line(f"deleted {arguments.group}")
    return OK


def _fields(arguments: argparse.Namespace) -> dict[str, str | int]:
    given = {"name": arguments.name, "index": arguments.index}
    return {field: value for field, value in given.items() if value is not None}
