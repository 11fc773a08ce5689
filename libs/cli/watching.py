"""Watching plays: live frames from the socket, resumed where a connection broke, and what they say in a line."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

from libs.cli.client import Client, Json
from libs.cli.errors import FAILED, OK, UNREACHABLE, CommandFailed
from libs.cli.output import Printer, cell, note

FROM_THE_BEGINNING = "0"
ENDS = frozenset({"play:completed", "play:failed"})
STATES_ENDED = frozenset({"DONE", "FAIL", "SKIP", "FILTERED"})
RECONNECT_PAUSE_S = 0.2
RECONNECT_PAUSE_S_MAX = 5.0
RECONNECT_ATTEMPTS_MAX = 20
# How long the next event of a play that has ended is looked for in the log, which forgets after some days.
PAST_S_MAX = 5.0
STATE_CHARS = 8
EVENT_CHARS = 16
REF_CHARS = 16
SUMMARY = (
    "id",
    "flowId",
    "state",
    "startedAt",
    "completedAt",
    "duration",
    "failedRef",
    "errorCode",
    "error",
    "out",
)


class _Over(Exception):
    """The play has ended, in this state."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


def exit_code_of(state: str) -> int:
    """Return the exit code for a play's state: only FAIL is a failure."""
    return FAILED if state == "FAIL" else OK


async def watch(client: Client, printer: Printer, play_id: str) -> int:
    """Print a play's events, from its first to its last, and return the exit code for its end.

    Raises Answered when there is no such play, CommandFailed when the system stays away.
    """
    play = await client.call("GET", f"/api/plays/{play_id}")
    try:
        async with asyncio.timeout(None) as silence:

            def heard() -> None:
                if play["state"] in STATES_ENDED:
                    silence.reschedule(asyncio.get_running_loop().time() + PAST_S_MAX)

            heard()
            await _frames(client, printer, {"playId": play_id}, since=FROM_THE_BEGINNING, heard=heard)
    except _Over as over:
        return exit_code_of(over.state)
    except TimeoutError:
        note("the log holds no events of this play any more; this is its end")
        printer.fields(play, SUMMARY)
    return exit_code_of(play["state"])


async def watch_all(client: Client, printer: Printer, *, flow: str | None, since: str | None) -> int:
    """Print the events of all plays, or those of a flow, until interrupted. Raises as `watch`."""
    await _frames(client, printer, {"flowId": flow}, since=since)
    return OK


async def _frames(
    client: Client,
    printer: Printer,
    query: dict[str, str | None],
    *,
    since: str | None,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Print frames for ever; `since` moves on with each. Raises _Over with the end of a single watched play."""
    alone = query.get("playId") is not None
    # A single play was asked for before, so the system was there.
    was_there, attempts = alone, 0
    while True:
        try:
            async with client.socket({**query, "since": since}) as socket:
                was_there = True
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                    frame = message.json()
                    attempts, since = 0, str(frame["sequence"])
                    heard()
                    if printer.table:
                        printer.line(line_of(frame, printer, alone=alone))
                    else:
                        printer.entry(frame)
                    if alone and frame["type"] in ENDS:
                        raise _Over(frame["state"])
            reason = f"the connection ended ({socket.close_code})"
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        except CommandFailed as error:
            # Away, after it was there once, may mean that it starts again; a refusal is one for good.
            if error.exit_code != UNREACHABLE or not was_there:
                raise
            reason = error.message
        attempts += 1
        if attempts > RECONNECT_ATTEMPTS_MAX:
            raise CommandFailed(f"watching ended: {reason}", UNREACHABLE)
        note(f"reconnecting: {reason.splitlines()[0]}")
        await asyncio.sleep(min(RECONNECT_PAUSE_S * 2 ** (attempts - 1), RECONNECT_PAUSE_S_MAX))


def line_of(frame: Json, printer: Printer, *, alone: bool) -> str:
    """Return the line for a frame: when, of which play (unless it is the only one), what, which step, and what came."""
    kind = str(frame["type"]).removeprefix("play:").replace(":", " ")
    parts = [str(frame["timestamp"])]
    if not alone:
        parts.append(str(frame["playId"]))
    parts += [
        printer.state(str(frame["state"]), STATE_CHARS),
        kind.ljust(EVENT_CHARS),
        cell(frame.get("ref")).ljust(REF_CHARS),
        _detail(frame),
    ]
    return "  ".join(parts).rstrip()


def _detail(frame: Json) -> str:
    parts: list[Any] = []
    if frame.get("error"):
        parts.append(f"{frame.get('errorCode') or 'ERROR'}: {cell(frame['error'])}")
    if frame.get("out") is not None:
        parts.append(cell(frame["out"]))
    if "duration" in frame:
        parts.append(f"{frame['duration']} ms")
    return ", ".join(parts)
