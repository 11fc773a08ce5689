"""`headrace login`, `logout` and `whoami`."""

import argparse
import os

from libs.cli import asking
from libs.cli.client import Client
from libs.cli.connect import client_of
from libs.cli.errors import LOGGED_OUT, OK, USAGE, Answered, CommandFailed
from libs.cli.output import Printer
from libs.cli.places import COOKIE, Places

PASSWORD = "HEADRACE_PASSWORD"  # noqa: S105  # the name of a variable, not a password
LOCAL_EMAIL = "HEADRACE_ADMIN_EMAIL"
LOCAL_PASSWORD = "HEADRACE_ADMIN_PASSWORD"  # noqa: S105


async def log_in(arguments: argparse.Namespace) -> int:
    """Open a session and keep it for later calls."""
    places = Places(os.environ)
    url = places.url(arguments.url)
    # The secrets of this machine's system are told to that system and to no other.
    is_local = url == places.local_url()
    email = arguments.email or (places.local_secret(LOCAL_EMAIL) if is_local else "")
    if not email:
        raise CommandFailed(f"who logs in at {url}? Name them: headrace login --email you@example.com", USAGE)
    is_local_admin = is_local and email == places.local_secret(LOCAL_EMAIL)
    password = os.environ.get(PASSWORD) or (places.local_secret(LOCAL_PASSWORD) if is_local_admin else "")
    if not password:
        password = await asking.password(f"password of {email} at {url}", f"set {PASSWORD}")
    async with Client.connected(url, {}) as client:
        try:
            opened = await client.log_in(email, password)
        except Answered as error:
            if error.status != 401:
                raise
            raise CommandFailed(f"{error.code}: email or password is wrong at {url}", LOGGED_OUT) from error
    places.keep_session(url, opened.secret)
    Printer.on_stdout("table").line(f"logged in at {url} as {opened.user['email']}")
    return OK


async def log_out(arguments: argparse.Namespace) -> int:
    """End the session, at the system and here."""
    places = Places(os.environ)
    url = places.url(arguments.url)
    session = {"Cookie": f"{COOKIE}={places.session(url)}"}
    try:
        async with Client.connected(url, session) as client:
            await client.call("POST", "/api/auth/logout")
    except Answered as error:
        # A session that is over already is what was asked for.
        if error.status != 401:
            raise
    places.drop_session(url)
    Printer.on_stdout("table").line(f"logged out at {url}")
    return OK


async def who_am_i(arguments: argparse.Namespace) -> int:
    """Show the user of the session, and where."""
    async with client_of(arguments) as client:
        me = await client.call("GET", "/api/auth/me")
        names = ("url", "email", "name", "role", "permissions", "companyId", "id")
        Printer.on_stdout(arguments.output).fields({**me, "url": client.url}, names)
    return OK
