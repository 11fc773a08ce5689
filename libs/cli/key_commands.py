"""`headrace key`: list, make and revoke API keys."""

import argparse

from libs.cli import asking, naming
from libs.cli.connect import client_of
from libs.cli.errors import OK
from libs.cli.output import Printer

KEYS = "/api/auth/api-keys"
LIST = {
    "name": "KEY", "scopes": "SCOPES", "revoked": "REVOKED", "issuedAt": "ISSUED", "lastUsedAt": "USED", "id": "ID",
}  # fmt: skip
MADE = ("id", "name", "scopes", "issuedAt", "token")


async def list_(arguments: argparse.Namespace) -> int:
    """List keys."""
    async with client_of(arguments) as client:
        keys = await client.pages(KEYS)
    shown = [key for key in keys if arguments.all or not key["revoked"]]
    Printer.on_stdout(arguments.output).rows(shown, LIST)
    return OK


async def create(arguments: argparse.Namespace) -> int:
    """Make a key and print its token."""
    body = {"name": arguments.name, "scopes": arguments.scope or ["standard"]}
    async with client_of(arguments) as client:
        made = await client.call("POST", KEYS, body)
    Printer.on_stdout(arguments.output).fields(made, MADE)
    return OK


async def revoke(arguments: argparse.Namespace) -> int:
    """Let a key hold no longer, once that was confirmed."""
    async with client_of(arguments) as client:
        # A revoked key is no candidate for its name.
        key = await naming.find(client, KEYS, arguments.key, "name", among=lambda key: not key["revoked"])
        if not arguments.yes:
            await asking.confirm(f"revoke the key {key['name']} ({key['id']})? [y/N] ")
        await client.call("DELETE", f"{KEYS}/{key['id']}")
    Printer.on_stdout("table").line(f"revoked {key['name']}")
    return OK
