"""A client of the second surface: its tokens, and its error envelope."""

import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.api import Answer, Api, Json
from tests.fixtures.system import RunningSystem

PASSWORD = "correct-horse-battery"
_numbers = itertools.count(1)


class Door(Api):
    """A client that sends this token with each call; `account` is what its sign-in answered."""

    def __init__(self, base_url: str, token: str = "", *, scheme: str = "Bearer") -> None:
        super().__init__(base_url)
        self.token, self.scheme = token, scheme
        self.account: Json = None

    async def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make a call with the token and return whatever is answered."""
        own = {"Authorization": f"{self.scheme} {self.token}".strip()} if self.token else {}
        return await super().call(method, path, body, raw=raw, headers={**own, **(headers or {})})

    async def refused(
        self, method: str, path: str, body: Json = None, *, raw: bytes | None = None
    ) -> tuple[int, str]:
        """Return status and code of a call that must be refused, in this surface's envelope."""
        return refusal(await self.call(method, path, body, raw=raw))

    async def register(self, **fields: Json) -> Json:
        """Make an account and go on with it."""
        body = {"email": new_email(), "password": PASSWORD, **fields}
        return self.take(await self.post("/api/v1/auth/register", body, status=201))

    def take(self, account: Json) -> Json:
        """Go on with what a sign-in answered."""
        self.account, self.token = account, account["access_token"]
        return account


def refusal(answer: Answer) -> tuple[int, str]:
    """Return status and code of a refusal, which must be in this surface's envelope."""
    assert answer.status >= 400, answer
    assert set(answer.json) == {"error"}, answer
    assert {"code", "message"} <= set(answer.json["error"]) <= {"code", "message", "id"}, answer
    assert answer.json["error"]["message"], answer
    return answer.status, answer.json["error"]["code"]


def new_email() -> str:
    """Return an address that nobody has."""
    return f"person{next(_numbers)}-{secrets.token_hex(4)}@example.test"


@asynccontextmanager
async def registered(system: RunningSystem, **fields: Json) -> AsyncIterator[Door]:
    """Make an account with a company of its own and be it, until the end of the block."""
    async with Door(system.base_url) as door:
        await door.register(**fields)
        yield door
