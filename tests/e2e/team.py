"""Two users of a company and one of another, and the apps that they make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.e2e.door import PASSWORD, Door, new_email
from tests.fixtures.system import RunningSystem

APPS = "/api/v1/apps"


class Team(NamedTuple):
    """Two users of one company, and one of another."""

    ada: Door
    bob: Door
    eve: Door

    @property
    def bob_id(self) -> str:
        return str(self.bob.account["user"]["id"])


@asynccontextmanager
async def colleague(system: RunningSystem, of: Door) -> AsyncIterator[Door]:
    """Make another user of somebody's company and be them."""
    email = new_email()
    fields = {"email": email, "name": "Bob", "role": "editor", "password": PASSWORD}
    user = await of.post("/api/users", fields, status=201)
    async with Door(system.base_url) as door:
        password = user.get("password", PASSWORD)
        door.take(await door.post("/api/v1/auth/login", {"email": email, "password": password}))
        yield door


@asynccontextmanager
async def remembered(system: RunningSystem, accounts: dict[str, Any]) -> AsyncIterator[Team]:
    """Be the team whose sign-ins `accounts` holds, made when it is empty: a password takes its time to check."""
    url = system.base_url
    async with Door(url) as ada, Door(url) as bob, Door(url) as eve:
        if not accounts:
            await ada.register(name="Ada")
            await eve.register(name="Eve")
            async with colleague(system, ada) as same:
                accounts.update(ada=ada.account, bob=same.account, eve=eve.account)
        for door, name in ((ada, "ada"), (bob, "bob"), (eve, "eve")):
            door.take(accounts[name])
        yield Team(ada, bob, eve)


async def made(door: Door, name: str = "Invoices", **fields: Any) -> Any:
    """Make an app and return it."""
    return await door.post(APPS, {"name": name, **fields}, status=201)


async def shown_as(door: Door, app_id: str, *steps: str) -> None:
    """Let others see an app, step by step."""
    for visibility in steps:
        answer = await door.call("PATCH", f"{APPS}/{app_id}/visibility", {"visibility": visibility})
        assert answer.status == 200, answer
