"""`headrace play`: list, show, watch, cancel, approve and decline plays."""

import argparse
from urllib.parse import quote

from libs.cli import play_args
from libs.cli.connect import client_of
from libs.cli.errors import OK, CommandFailed
from libs.cli.output import Printer
from libs.cli.watching import SUMMARY, watch, watch_all

LIST = {
    "id": "PLAY", "state": "STATE", "createdAt": "CREATED", "duration": "MS", "flowId": "FLOW", "error": "ERROR",
}  # fmt: skip
TOLD = {"hold": "on hold", "resume": "resumed", "retry": "retried"}
STEPS = {
    "ref": "REF",
    "state": "STATE",
    "attempts": "ATTEMPTS",
    "duration": "MS",
    "error": "ERROR",
    "out": "OUT",
}


async def list_(arguments: argparse.Namespace) -> int:
    """List plays, newest first."""
    query = {
        "flowId": arguments.flow,
        "state": arguments.state,
        "from": arguments.from_,
        "to": arguments.to,
    }
    async with client_of(arguments) as client:
        plays = await client.pages("/api/plays", query, limit=arguments.limit)
    Printer.on_stdout(arguments.output).rows(plays, LIST)
    return OK


async def show(arguments: argparse.Namespace) -> int:
    """Show one play and its steps."""
    async with client_of(arguments) as client:
        play = await client.call("GET", _path_of(arguments.play))
        steps = await client.call("GET", f"{_path_of(arguments.play)}/layers")
    printer = Printer.on_stdout(arguments.output)
    if not printer.table:
        printer.value({**play, "layers": steps})
        return OK
    printer.fields(play, (*SUMMARY, "args", "flowVersion", "trigger"))
    printer.line("")
    printer.rows(steps, STEPS)
    return OK


async def watch_(arguments: argparse.Namespace) -> int:
    """Watch one play to its end, or all plays until interrupted."""
    printer = Printer.on_stdout(arguments.output)
    async with client_of(arguments) as client:
        if arguments.play is None:
            return await watch_all(client, printer, flow=arguments.flow, since=arguments.since)
        return await watch(client, printer, quote(arguments.play, safe=""))


async def cancel(arguments: argparse.Namespace) -> int:
    """End plays that have not ended."""
    printer = Printer.on_stdout("table")
    async with client_of(arguments) as client:
        for play in arguments.plays:
            answer = await client.call("DELETE", _path_of(play))
            printer.line(f"{answer['playId']}: cancelled, {answer['state']}")
    return OK


async def hold(arguments: argparse.Namespace) -> int:
    """Pause plays."""
    return await _tell(arguments, "hold")


async def resume(arguments: argparse.Namespace) -> int:
    """Let held plays go on."""
    return await _tell(arguments, "resume")


async def retry(arguments: argparse.Namespace) -> int:
    """Run failed plays again from where they failed."""
    return await _tell(arguments, "retry")


async def replay(arguments: argparse.Namespace) -> int:
    """Run a play again as a new one."""
    body: dict[str, object] = {"force": arguments.force}
    if arguments.from_ is not None:
        body["fromRef"] = arguments.from_
    if arguments.key is not None:
        body["idempotencyKey"] = arguments.key
    if arguments.args is not None or arguments.arg:
        body["args"] = play_args.args(arguments.args or "{}", arguments.arg or [])
    async with client_of(arguments) as client:
        answer = await client.call("POST", f"{_path_of(arguments.play)}/replay", body)
    Printer.on_stdout("table").line(f"{answer['playId']}: repeats {answer['replayOf']}, {answer['state']}")
    return OK


async def _tell(arguments: argparse.Namespace, verb: str) -> int:
    printer = Printer.on_stdout("table")
    async with client_of(arguments) as client:
        for play in arguments.plays:
            body = {"note": arguments.note}
            answer = await client.call("POST", f"{_path_of(play)}/{verb}", body)
            printer.line(f"{answer['playId']}: {TOLD[verb]}, {answer['state']}")
    return OK


async def approve(arguments: argparse.Namespace) -> int:
    """Let a waiting step run."""
    return await _decide(arguments, "approved")


async def decline(arguments: argparse.Namespace) -> int:
    """Let a waiting step fail."""
    return await _decide(arguments, "declined")


async def _decide(arguments: argparse.Namespace, decision: str) -> int:
    async with client_of(arguments) as client:
        step = arguments.step
        if step is None:
            waiting = await client.call("GET", f"{_path_of(arguments.play)}/layers")
            refs = [layer["ref"] for layer in waiting if layer["state"] == "WAIT"]
            if len(refs) != 1:
                found = f"these steps wait: {', '.join(refs)}; name one" if refs else "no step of it waits"
                raise CommandFailed(f"play {arguments.play}: {found}")
            step = refs[0]
        body = {"layerId": step, "decision": decision, "note": arguments.note}
        answer = await client.call("POST", f"{_path_of(arguments.play)}/approve", body)
    Printer.on_stdout("table").line(f"{answer['playId']}: {step} {decision}, {answer['state']}")
    return OK


def _path_of(play: str) -> str:
    return f"/api/plays/{quote(play, safe='')}"
