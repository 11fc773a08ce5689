"""A client for tests: drives the HTTP API and the socket of a running system."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, Self
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from tests.waiting import POLL_S, WITHIN_S, eventually

TERMINAL = frozenset({"DONE", "FAIL", "SKIP", "FILTERED"})
Json = Any


class System(Protocol):
    """What the driver needs to know of a running system."""

    base_url: str
    email: str
    password: str


_SESSIONS: WeakKeyDictionary[System, str] = WeakKeyDictionary()


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    json: Json
    headers: Mapping[str, str]


class Api:
    """A logged-in client of one system. Calls that should succeed fail the test with the answer when they do not."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        # unsafe: cookies for an IP address, which is what tests connect to.
        self._session = aiohttp.ClientSession(base_url, cookie_jar=aiohttp.CookieJar(unsafe=True))

    @classmethod
    @asynccontextmanager
    async def logged_in(cls, system: System, *, anew: bool = False) -> AsyncIterator[Self]:
        """Be the system's admin until the end of the block: in the session of before, or `anew` in another."""
        async with cls(system.base_url) as api:
            # A login takes a quarter of a second of work, by intention.
            api.use_session("" if anew else _SESSIONS.get(system, ""))
            if anew or (await api.call("GET", "/api/auth/me")).status != 200:
                await api.login(system.email, system.password)
            if not anew:
                _SESSIONS[system] = api.session()
            yield api

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    # ── any call ────────────────────────────────────────────────────────────────────────────────────

    async def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make a call and return whatever is answered."""
        encoded = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        # aiohttp warns of a large body that is not a file.
        data = io.BytesIO(encoded) if encoded and len(encoded) > 1 << 20 else encoded
        async with self._session.request(
            method, path, data=data, headers=headers, allow_redirects=False
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(
                response.status,
                json.loads(text) if text and is_json else text or None,
                response.headers,
            )

    async def get(self, path: str) -> Json:
        """Return what a GET answers; while something does not answer in time (503), it is asked again."""
        deadline_s = time.monotonic() + WITHIN_S
        while True:
            answer = await self.call("GET", path)
            if answer.status != 503 or time.monotonic() > deadline_s:
                return _good(answer, 200)
            await asyncio.sleep(POLL_S)

    async def post(self, path: str, body: Json = None, *, status: int = 200) -> Json:
        """Return what a POST answers."""
        return _good(await self.call("POST", path, body), status)

    async def put(self, path: str, body: Json) -> Json:
        """Return what a PUT answers."""
        return _good(await self.call("PUT", path, body), 200)

    async def delete(self, path: str) -> Json:
        """Return what a DELETE answers."""
        return _good(await self.call("DELETE", path), 200)

    async def refused(
        self, method: str, path: str, body: Json = None, *, raw: bytes | None = None
    ) -> tuple[int, str]:
        """Return status and code of a call that must be refused, in the API's error format."""
        answer = await self.call(method, path, body, raw=raw)
        assert answer.status >= 400, answer
        assert set(answer.json) == {"error", "message", "statusCode"}, answer
        assert answer.json["statusCode"] == answer.status, answer
        assert answer.json["message"], answer
        return answer.status, answer.json["error"]

    # ── what tests do all the time ──────────────────────────────────────────────────────────────────

    async def login(self, email: str, password: str) -> Json:
        """Open a session; the cookie is kept."""
        return await self.post("/api/auth/login", {"email": email, "password": password})

    def use_session(self, secret: str) -> None:
        """Go on with a session that was opened elsewhere."""
        self._session.cookie_jar.update_cookies({"sid": secret}, URL(self.base_url))

    def session(self) -> str:
        """Return the secret of the session that is open."""
        (secret,) = (cookie.value for cookie in self._session.cookie_jar if cookie.key == "sid")
        return secret

    async def create_flow(self, name: str, *layers: Json, **fields: Json) -> Json:
        """Define a flow with these steps and return it. A step needs an `appId`; its `ref` is its name by default."""
        flow = await self.post("/api/flows", {"name": name, **fields}, status=201)
        for layer in layers:
            await self.add_layer(flow["id"], **layer)
        return await self.get(f"/api/flows/{flow['id']}")

    async def add_layer(self, flow_id: str, **fields: Json) -> Json:
        """Add a step to a flow."""
        fields.setdefault("name", fields.get("ref", "step"))
        return await self.post(f"/api/flows/{flow_id}/layers", fields, status=201)

    async def run(
        self, flow_id: str, args: Json = None, *, wait: float | None = None, **fields: Json
    ) -> Json:
        """Start a play and return the answer; with `wait`, when it ended."""
        body = {**fields} if args is None else {"args": args, **fields}
        query = "" if wait is None else f"?wait={wait:g}"
        return await self.post(f"/api/flows/{flow_id}/run{query}", body)

    async def wait_for(self, play_id: str, *states: str, within_s: float = WITHIN_S) -> Json:
        """Poll a play until it is in one of these states (any end, when none is named) and return it."""
        wanted = frozenset(states) or TERMINAL
        play: Json = None

        async def reached() -> Json:
            nonlocal play
            play = await self.get(f"/api/plays/{play_id}")
            return play if play["state"] in wanted else None

        return await eventually(reached, within_s=within_s, otherwise=lambda: str(play))

    async def finished(self, flow_id: str, args: Json = None, **fields: Json) -> Json:
        """Run a flow and return its play when it ended."""
        started = await self.run(flow_id, args, **fields)
        return await self.wait_for(started["playId"])

    async def layers_of(self, play_id: str) -> dict[str, Json]:
        """Return the recorded steps of a play by ref."""
        return {layer["ref"]: layer for layer in await self.get(f"/api/plays/{play_id}/layers")}

    async def rows(self, path: str, count: int) -> list[Json]:
        """Return the rows of a list once there are so many: it may be a moment behind what was done."""
        found: list[Json] = []

        async def there() -> bool:
            nonlocal found
            found = (await self.get(path))["data"]
            return len(found) >= count

        await eventually(there, otherwise=lambda: f"{len(found)} of {count} in {path}")
        assert len(found) == count, found
        return found

    async def keep(self, key: str, value: Json, **fields: Json) -> Json:
        """Set a KV entry and return it."""
        answer = await self.call("POST", "/api/kv", {"key": key, "value": value, **fields})
        assert answer.status in (200, 201), answer
        return answer.json

    async def waiting(self, flow_id: str) -> list[Json]:
        """Return the plays of a flow that wait."""
        found: list[Json] = (await self.get(f"/api/flows/{flow_id}/plays?state=WAIT"))["data"]
        return found

    @asynccontextmanager
    async def socket(self, query: str = "") -> AsyncIterator["Frames"]:
        """Open `/api/ws` until the end of the block."""
        async with self._session.ws_connect(f"/api/ws{query}") as connection:
            yield Frames(connection)

    @asynccontextmanager
    async def events(self, play_id: str, query: str = "", *, after: str = "") -> AsyncIterator["Events"]:
        """Open the Server-Sent Events of a play until the end of the block; `after` is the last id seen."""
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/api/plays/{play_id}/events{query}"
        # One line may be a large step.
        async with self._session.get(path, headers=headers, read_bufsize=1 << 22) as response:
            yield Events(response)


class Event(NamedTuple):
    """One Server-Sent Event, or a comment: then `comment` alone is set."""

    id: str = ""
    type: str = ""
    data: Json = None
    comment: str = ""


class Events:
    """The Server-Sent Events of one connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, within_s: float = WITHIN_S) -> Event | None:
        """Return the next event or comment, None when the server has ended the stream."""
        async with asyncio.timeout(within_s):
            while True:
                lines: list[str] = []
                while line := (await self.response.content.readline()).decode().rstrip("\n"):
                    lines.append(line)
                if not lines:
                    return None
                fields = dict(text.split(": ", 1) for text in lines)
                if "" in fields:
                    return Event(comment=fields[""])
                if "data" in fields:
                    return Event(fields["id"], fields["event"], json.loads(fields["data"]))

    async def rest(self) -> list[Event]:
        """Return the events up to the end of the stream, without comments."""
        events = []
        while (event := await self.next()) is not None:
            events += [] if event.comment else [event]
        return events


class Frames:
    """The frames of one socket."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection

    async def next(self, within_s: float = WITHIN_S) -> Json:
        """Return the next frame. Raises TimeoutError when none comes in time."""
        # Around the call, for its own timeout begins anew with each ping.
        async with asyncio.timeout(within_s):
            return await self.connection.receive_json()

    async def take(self, count: int) -> list[Json]:
        """Return the next so many frames."""
        return [await self.next() for _ in range(count)]

    async def until(self, kind: str, *, play_id: str = "", within_s: float = WITHIN_S) -> list[Json]:
        """Return all frames up to and including the first of this type (of this play)."""
        frames: list[Json] = []
        async with asyncio.timeout(within_s):
            while True:
                frame = await self.next(within_s)
                frames.append(frame)
                if frame["type"] == kind and play_id in ("", frame["playId"]):
                    return frames


def _good(answer: Answer, status: int) -> Json:
    assert answer.status == status, f"{answer.status} instead of {status}: {answer.json}"
    return answer.json
