"""`headrace kv`: list, get, set and delete what flows remember."""

import argparse
import asyncio

from libs.cli import asking, files, naming
from libs.cli.client import Client, Json
from libs.cli.connect import client_of
from libs.cli.errors import OK, CommandFailed
from libs.cli.output import Printer, cell
from libs.cli.words import json_or_text

LIST = {
    "key": "KEY",
    "scope": "SCOPE",
    "scopeKey": "OF",
    "secret": "SECRET",
    "updatedAt": "UPDATED",
    "value": "VALUE",
}
ENTRIES = "/api/kv"


async def list_(arguments: argparse.Namespace) -> int:
    """List entries."""
    async with client_of(arguments) as client:
        scope = await _scope(client, arguments)
        query = scope if scope["scope"] != "global" or arguments.everybody else {}
        entries = await client.pages(ENTRIES, {**query, "prefix": arguments.prefix}, limit=arguments.limit)
    Printer.on_stdout(arguments.output).rows(entries, LIST)
    return OK


async def get(arguments: argparse.Namespace) -> int:
    """Print the value of an entry."""
    async with client_of(arguments) as client:
        entry = await _entry(client, arguments)
    printer = Printer.on_stdout(arguments.output)
    if not printer.table:
        printer.value(entry)
    elif entry["secret"]:
        raise CommandFailed(f"{entry['key']} is secret: flows can read it, and nobody else")
    elif isinstance(entry["value"], str):
        printer.line(entry["value"])
    else:
        printer.value(entry["value"])
    return OK


async def set_(arguments: argparse.Namespace) -> int:
    """Set an entry."""
    value = arguments.value
    if arguments.file is not None:
        content = await asyncio.to_thread(files.read, arguments.file)
        # A file that a shell wrote ends with a line end that nobody means.
        value = files.text(content, arguments.file).removesuffix("\n")
    body: Json = {"key": arguments.key, "value": value if arguments.text else json_or_text(value)}
    if arguments.secret is not None:
        body["secret"] = arguments.secret
    async with client_of(arguments) as client:
        entry = await client.call("POST", ENTRIES, {**body, **await _scope(client, arguments)})
    printer = Printer.on_stdout(arguments.output)
    if printer.table:
        shown = "a secret" if entry["secret"] else cell(entry["value"])
        printer.line(f"{entry['key']} = {shown}")
    else:
        printer.value(entry)
    return OK


async def delete(arguments: argparse.Namespace) -> int:
    """Delete an entry, once that was confirmed."""
    async with client_of(arguments) as client:
        entry = await _entry(client, arguments)
        if not arguments.yes:
            await asking.confirm(f"delete the entry {entry['key']} ({entry['scope']})? [y/N] ")
        await client.call("DELETE", f"{ENTRIES}/{entry['id']}")
    Printer.on_stdout("table").line(f"deleted {entry['key']}")
    return OK


async def _entry(client: Client, arguments: argparse.Namespace) -> Json:
    query = {**await _scope(client, arguments), "prefix": arguments.key}
    for entry in await client.pages(ENTRIES, query):
        if entry["key"] == arguments.key:
            return entry
    raise CommandFailed(f"KV_NOT_FOUND: no entry {arguments.key}; `headrace kv list` shows those there are")


async def _scope(client: Client, arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.flow is not None:
        return {"scope": "flow", "scopeKey": await naming.flow_id(client, arguments.flow)}
    if arguments.group is not None:
        group = await naming.find(client, "/api/groups", arguments.group, "name")
        return {"scope": "flow_group", "scopeKey": group["id"]}
    return {"scope": "global"}
