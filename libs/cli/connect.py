"""From a command's arguments to a client with the session of whoever runs it."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.cli.client import Client
from libs.cli.places import Places


@asynccontextmanager
async def client_of(arguments: argparse.Namespace) -> AsyncIterator[Client]:
    """Call the system that the arguments name, as who logged in there. Raises CommandFailed when nobody did."""
    places = Places(os.environ)
    url = places.url(arguments.url)
    async with Client.connected(url, places.credential(url)) as client:
        yield client
