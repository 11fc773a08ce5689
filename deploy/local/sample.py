"""A flow on real data, run before your eyes: `headrace up --sample`.

It asks which countries have the most time zones, of the tables that the IANA publishes: two steps fetch them side by
side, one of them has to try again, others count, sort and choose between a long and a short report.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local import sample_source

FLOW = Path(__file__).with_name("sample_flow.json")
OUTBOUND_ALLOW = "HEADRACE_OUTBOUND_ALLOW"
PLAY_S_MAX = 20
FLOWS_MAX = 100
NAMES_SHOWN = 3
# ANSI (ECMA-48) colours by what an event ends with.
COLOURS = {"started": "2", "completed": "32", "failed": "31", "waiting": "33"}

Json = dict[str, Any]
Say = Callable[[str], None]


class SampleFailed(Exception):
    """The sample could not be shown; the message is for the person who asked for it."""


async def run(
    base_url: str, email: str, password: str, *, nats_url: str = "", home: Path | None = None
) -> None:
    """Show the sample, then go on serving its data, so that the flow can be run again, until cancelled.

    A failure is told and leaves the system as it is.
    """
    began_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began_s:7.3f} s  {line}", flush=True)

    try:
        async with sample_source.serving(say) as source:
            flow = await show(base_url, email, password, source, say)
            print("\n".join(go_on(base_url, email, flow["id"], source, nats_url, home)), flush=True)
            await asyncio.Event().wait()
    except (SampleFailed, aiohttp.ClientError, OSError, TimeoutError) as error:
        print(f"sample: {error or type(error).__name__}", file=sys.stderr, flush=True)


async def show(base_url: str, email: str, password: str, source: str, say: Say) -> Json:
    """Run the sample flow once on the tables at the URL `source`; `say` gets a line per event. Returns the flow.

    Raises SampleFailed, aiohttp.ClientError.
    """
    # Cookies of addresses that are numbers count only in an unsafe jar.
    async with aiohttp.ClientSession(base_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as api:
        await _call(api, "POST", "/api/auth/login", {"email": email, "password": password})
        flow = await _flow(api, say)
        async with api.ws_connect("/api/ws", params={"flowId": flow["id"]}) as events:
            watching = asyncio.create_task(_watch(events, say))
            try:
                play = await _call(
                    api,
                    "POST",
                    f"/api/flows/{flow['id']}/run?wait={PLAY_S_MAX}",
                    {"args": {"source": source}},
                )
                await asyncio.wait_for(watching, PLAY_S_MAX)
            finally:
                watching.cancel()
        if play["state"] != "DONE":
            raise SampleFailed(_failure(play))
        layers = await _call(api, "GET", f"/api/plays/{play['playId']}/layers")
        print("\n".join(result(play, layers)), flush=True)
    return flow


def result(play: Json, layers: list[Json]) -> list[str]:
    """Return the lines that show what the play found."""
    out = play["out"]
    retried = [f"{layer['ref']} ({layer['attempts']} attempts)" for layer in layers if layer["attempts"] > 1]
    filtered = [layer["ref"] for layer in layers if layer["state"] == "FILTERED"]
    without = [row["name"] for row in out["without"]]
    summary = f"{len(layers)} steps in {play['duration']} ms; retried: {', '.join(retried) or 'none'}"
    return [
        "",
        f"{out['zones']} time zones in {out['countries']} countries; {out['several']} countries have several:",
        *(f"  {row['zones']:>3}  {row['name']}" for row in out["rows"]),
        f"  none: {', '.join(without[:NAMES_SHOWN]) or 'nobody'}",
        f"{summary}; filtered out: {', '.join(filtered) or 'none'}",
    ]


def go_on(
    base_url: str, email: str, flow_id: str, source: str, nats_url: str, home: Path | None
) -> list[str]:
    """Return the lines that show what to try next, for a shell."""
    kept = home / "secrets.json" if home else None
    name = "HEADRACE_ADMIN_PASSWORD"
    args = json.dumps({"args": {"source": source}})
    lines = ["", "go on in another shell:"]
    if kept is not None and not os.environ.get(name):
        lines.append(f"""  {name}=$(sed -nE 's/.*"{name}": "([^"]+)".*/\\1/p' {kept})""")
    login = f'{{\\"email\\":\\"{email}\\",\\"password\\":\\"${name}\\"}}'
    lines += [
        f'  curl -s -c cookies {base_url}/api/auth/login -d "{login}"',
        f"  curl -s -b cookies {base_url}/api/flows",
        f"  curl -s -b cookies '{base_url}/api/flows/{flow_id}/run?wait=10' -d '{args}'",
        f"  curl -s -b cookies '{base_url}/api/flows/{flow_id}/plays?size=3'",
    ]
    if nats_url:
        lines.append(f"  nats -s {nats_url} sub 'evt.play.>'    # every fact, as it is stored")
    return lines


def line(frame: Json, *, colours: bool) -> str:
    """Return one event of the socket as a line for people."""
    kind = frame["type"]
    what = kind.removeprefix("play:").removeprefix("layer:")
    name = frame["ref"] if kind.startswith("play:layer:") else "play"
    details = {
        "play:layer:completed": _size(frame.get("out")) if frame["state"] == "DONE" else frame["state"],
        "play:completed": f"{frame['state']} after {frame.get('duration')} ms",
        "play:layer:failed": str(frame.get("error")),
        "play:failed": str(frame.get("error")),
    }
    text = f"{name:<12} {what:<10} {details.get(kind, '')}".rstrip()
    colour = COLOURS.get(what)
    return f"\x1b[{colour}m{text}\x1b[0m" if colours and colour else text


async def _flow(api: aiohttp.ClientSession, say: Say) -> Json:
    """Return the sample flow: the one that is there, if nobody changed its steps, else a new one."""
    wanted = json.loads(FLOW.read_text())
    listed = await _call(api, "GET", f"/api/flows?category={wanted['category']}&size={FLOWS_MAX}")
    for flow in listed["data"]:
        layers = await _call(api, "GET", f"/api/flows/{flow['id']}/layers")
        if flow["name"] == wanted["name"] and _same(layers, wanted["layers"]):
            say(f"flow {flow['permanentId']} is there: {len(layers)} steps")
            return dict(flow)
    made: Json = await _call(api, "POST", "/api/flows", {name: wanted[name] for name in ("name", "category")})
    for layer in wanted["layers"]:
        await _call(api, "POST", f"/api/flows/{made['id']}/layers", layer)
    say(f"flow {made['permanentId']} made: {len(wanted['layers'])} steps")
    return made


def _same(layers: list[Json], wanted: list[Json]) -> bool:
    names = ("ref", "appId", "index", "args")
    return [[layer[name] for name in names] for layer in layers] == [
        [layer[name] for name in names] for layer in wanted
    ]


async def _watch(events: aiohttp.ClientWebSocketResponse, say: Say) -> None:
    """Say a line per event until a play has ended."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    async for message in events:
        frame = json.loads(message.data)
        say(line(frame, colours=colours))
        if frame["type"] in {"play:completed", "play:failed"}:
            return
    raise SampleFailed("the event socket was closed")


async def _call(api: aiohttp.ClientSession, method: str, path: str, body: Json | None = None) -> Any:
    async with api.request(method, path, json=body) as answer:
        content = await answer.json()
    if not answer.ok:
        raise SampleFailed(f"{method} {path}: {answer.status} {content.get('message', content)}")
    return content


def _failure(play: Json) -> str:
    error = str(play.get("error") or f"the play is in state {play['state']} after {PLAY_S_MAX} s")
    return f"{error}; add {sample_source.host()} to it" if OUTBOUND_ALLOW in error else error


def _size(out: Any) -> str:
    size = len(json.dumps(out))
    return f"{size / 1024:.1f} KiB" if size >= 1024 else f"{size} bytes"
